//! Single fields of containers: `privileged`, `allowPrivilegeEscalation`, `procMount`.

use serde_json::Value;

use super::{
    Violation,
    pod::{Pod, Values, containers, quoted},
};

/// No container is privileged.
pub fn privileged(pod: &Pod<'_>) -> Option<Violation> {
    let bad = pod.named(|container| container.security("privileged") == Some(&Value::Bool(true)));
    (!bad.is_empty()).then(|| Violation {
        reason: "privileged",
        detail: format!(
            "{} must not set securityContext.privileged=true",
            containers(&bad)
        ),
    })
}

/// Every container renounces privileges beyond its parent's.
pub fn privilege_escalation(pod: &Pod<'_>) -> Option<Violation> {
    let field = "allowPrivilegeEscalation";
    let bad = pod.named(|container| container.security(field) != Some(&Value::Bool(false)));
    (!bad.is_empty()).then(|| Violation {
        reason: "allowPrivilegeEscalation != false",
        detail: format!(
            "{} must set securityContext.allowPrivilegeEscalation=false",
            containers(&bad)
        ),
    })
}

/// No container sees what is masked of /proc.
pub fn proc_mount(pod: &Pod<'_>) -> Option<Violation> {
    let mut bad = Vec::new();
    let mut types = Values::new();
    for container in pod.containers() {
        let asked = container.security("procMount").and_then(Value::as_str);
        if let Some(asked) = asked.filter(|asked| *asked != "Default") {
            bad.push(container.name);
            types.insert(asked);
        }
    }
    (!bad.is_empty()).then(|| Violation {
        reason: "procMount",
        detail: format!(
            "{} must not set securityContext.procMount to {}",
            containers(&bad),
            quoted(types)
        ),
    })
}

/// As [`proc_mount`], of pods that share the node's users.
pub fn proc_mount_on_host(pod: &Pod<'_>) -> Option<Violation> {
    pod.on_host_users(proc_mount)
}
