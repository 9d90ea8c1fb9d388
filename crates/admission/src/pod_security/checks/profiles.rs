//! AppArmor and seccomp profiles.

use knarr_meta::{field::quote, object::str_at};
use serde_json::Value;

use super::{
    Violation,
    pod::{Pod, Values, containers, plural, quoted, setters},
};

/// Where profiles were set before they were fields.
const APP_ARMOR_PREFIX: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_PREFIX: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// A profile that confines.
fn confines(profile: &Value) -> bool {
    matches!(str_at(profile, &["type"]), "RuntimeDefault" | "Localhost")
}

/// What sets a profile that does not confine, and the types of those.
struct Unconfined<'p> {
    pod: bool,
    containers: Vec<&'p str>,
    types: Values<'p>,
}

impl<'p> Unconfined<'p> {
    fn of(pod: &Pod<'p>, field: &str) -> Unconfined<'p> {
        let mut found = Unconfined {
            pod: false,
            containers: Vec::new(),
            types: Values::new(),
        };
        let unconfined = |profile: &&Value| !confines(profile);
        if let Some(profile) = pod.security(field).filter(unconfined) {
            found.pod = true;
            found.types.insert(str_at(profile, &["type"]));
        }
        for container in pod.containers() {
            if let Some(profile) = container.security(field).filter(unconfined) {
                found.containers.push(container.name);
                found.types.insert(str_at(profile, &["type"]));
            }
        }
        found
    }
}

/// No AppArmor profile is switched off, by field or by annotation.
pub fn app_armor(pod: &Pod<'_>) -> Option<Violation> {
    let unconfined = Unconfined::of(pod, "appArmorProfile");
    let allowed = |value: &str| {
        value.is_empty() || value == "runtime/default" || value.starts_with("localhost/")
    };
    let mut annotations: Vec<String> = pod
        .annotations()
        .filter(|(key, value)| key.starts_with(APP_ARMOR_PREFIX) && !allowed(value))
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    annotations.sort();
    let by_fields = setters(unconfined.pod, &unconfined.containers);
    let by_annotations = match annotations.len() {
        0 => "",
        count => plural("annotation", "annotations", count),
    };
    let setters = [&by_fields, by_annotations];
    let setters: Vec<&str> = setters.into_iter().filter(|by| !by.is_empty()).collect();
    let values: Vec<&str> = unconfined
        .types
        .into_iter()
        .chain(annotations.iter().map(String::as_str))
        .collect();
    (!setters.is_empty()).then(|| Violation {
        reason: plural(
            "forbidden AppArmor profile",
            "forbidden AppArmor profiles",
            values.len(),
        ),
        detail: format!(
            "{} must not set AppArmor profile type to {}",
            setters.join(" and "),
            quoted(values)
        ),
    })
}

/// No annotation of before 1.19 switches seccomp off.
pub fn seccomp_annotations(pod: &Pod<'_>) -> Option<Violation> {
    let allowed = |value: &str| {
        matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/")
    };
    let of_containers = pod
        .containers()
        .map(|container| format!("{SECCOMP_PREFIX}{}", container.name));
    let mut forbidden: Vec<String> = std::iter::once(SECCOMP_POD.to_owned())
        .chain(of_containers)
        .filter_map(|key| {
            let value = pod.annotation(&key).filter(|value| !allowed(value))?;
            Some(format!("{key}={}", quote(value)))
        })
        .collect();
    forbidden.sort();
    forbidden.dedup();
    (!forbidden.is_empty()).then(|| Violation {
        reason: "seccompProfile",
        detail: format!(
            "forbidden {} {}",
            plural("annotation", "annotations", forbidden.len()),
            forbidden.join(", ")
        ),
    })
}

/// No seccomp profile is switched off.
pub fn seccomp_baseline(pod: &Pod<'_>) -> Option<Violation> {
    let unconfined = Unconfined::of(pod, "seccompProfile");
    let setters = setters(unconfined.pod, &unconfined.containers);
    (!setters.is_empty()).then(|| Violation {
        reason: "seccompProfile",
        detail: format!(
            "{setters} must not set securityContext.seccompProfile.type to {}",
            quoted(unconfined.types)
        ),
    })
}

/// Every container has a seccomp profile, its own or its pod's.
pub fn seccomp_restricted(pod: &Pod<'_>) -> Option<Violation> {
    let field = "seccompProfile";
    seccomp_baseline(pod).or_else(|| {
        let of_pod = pod.security(field).is_some();
        let without = pod.named(|container| !of_pod && container.security(field).is_none());
        (!without.is_empty()).then(|| Violation {
            reason: "seccompProfile",
            detail: format!(
                "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
                containers(&without)
            ),
        })
    })
}
