//! Capabilities that containers add and drop.

use knarr_meta::object::list_at;
use serde_json::Value;

use super::{
    Violation,
    pod::{Container, Pod, Values, containers, quoted},
};

/// Those that a container has by default.
const DEFAULT: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

fn named<'p>(container: &Container<'p>, change: &str) -> impl Iterator<Item = &'p str> + use<'p> {
    let list = list_at(
        container.value,
        &["securityContext", "capabilities", change],
    );
    list.iter().filter_map(Value::as_str)
}

/// The containers that add a capability which is not `allowed`, and what they add.
fn adding<'p>(pod: &Pod<'p>, allowed: &[&str]) -> (Vec<&'p str>, Values<'p>) {
    let mut bad = Vec::new();
    let mut added = Values::new();
    for container in pod.containers() {
        let forbidden: Vec<&str> = named(&container, "add")
            .filter(|capability| !allowed.contains(capability))
            .collect();
        if !forbidden.is_empty() {
            bad.push(container.name);
            added.extend(forbidden);
        }
    }
    (bad, added)
}

fn not_added(bad: &[&str], added: Values<'_>) -> String {
    format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(bad),
        quoted(added)
    )
}

/// None is added beyond the default ones.
pub fn baseline(pod: &Pod<'_>) -> Option<Violation> {
    let (bad, added) = adding(pod, &DEFAULT);
    (!bad.is_empty()).then(|| Violation {
        reason: "non-default capabilities",
        detail: not_added(&bad, added),
    })
}

/// All are dropped, and but `NET_BIND_SERVICE` is added.
pub fn restricted(pod: &Pod<'_>) -> Option<Violation> {
    let keeping = pod.named(|container| !named(container, "drop").any(|dropped| dropped == "ALL"));
    let (bad, added) = adding(pod, &["NET_BIND_SERVICE"]);
    let mut details = Vec::new();
    if !keeping.is_empty() {
        details.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&keeping)
        ));
    }
    if !bad.is_empty() {
        details.push(not_added(&bad, added));
    }
    (!details.is_empty()).then(|| Violation {
        reason: "unrestricted capabilities",
        detail: details.join("; "),
    })
}
