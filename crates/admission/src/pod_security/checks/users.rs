//! As whom containers run.

use serde_json::Value;

use super::{
    Violation,
    pod::{Pod, containers, setters},
};

/// Every container may not run as root, by its own word or its pod's.
pub fn non_root(pod: &Pod<'_>) -> Option<Violation> {
    let field = "runAsNonRoot";
    let reason = "runAsNonRoot != true";
    let (yes, no) = (Some(&Value::Bool(true)), Some(&Value::Bool(false)));
    let refusing = pod.named(|container| container.security(field) == no);
    let setters = setters(pod.security(field) == no, &refusing);
    if !setters.is_empty() {
        let detail = format!("{setters} must not set securityContext.runAsNonRoot=false");
        return Some(Violation { reason, detail });
    }
    let of_pod = pod.security(field) == yes;
    let silent = pod.named(|container| !of_pod && container.security(field).is_none());
    (!silent.is_empty()).then(|| Violation {
        reason,
        detail: format!(
            "pod or {} must set securityContext.runAsNonRoot=true",
            containers(&silent)
        ),
    })
}

/// None asks to run as root.
pub fn user_zero(pod: &Pod<'_>) -> Option<Violation> {
    let root = |user: Option<&Value>| user.and_then(Value::as_i64) == Some(0);
    let bad = pod.named(|container| root(container.security("runAsUser")));
    let setters = setters(root(pod.security("runAsUser")), &bad);
    (!setters.is_empty()).then(|| Violation {
        reason: "runAsUser=0",
        detail: format!("{setters} must not set runAsUser=0"),
    })
}
