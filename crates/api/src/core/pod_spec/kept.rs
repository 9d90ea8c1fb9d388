//! What new specs may not have, and stored ones keep: they were written when there was no such rule.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at},
};
use serde_json::Value;

use super::is_sidecar;

const RESTART: &str = "RestartContainer";
const NO_RESTART: &str = "must not be set to 'RestartContainer' for non-sidecar initContainers";

/// Where objects have specs of pods.
const SPECS: &[&[&str]] = &[
    &["spec"],
    &["spec", "template", "spec"],
    &["template", "spec"],
    &["spec", "jobTemplate", "spec", "template", "spec"],
];

/// An init container that ends by itself is not started anew to have other resources.
pub(super) fn validate_resize(container: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, policy) in list_at(container, &["resizePolicy"]).iter().enumerate() {
        let restart = str_at(policy, &["restartPolicy"]);
        if restart == RESTART {
            let path = path.index(index).child("restartPolicy");
            errors.push(Error::invalid(&path, restart, NO_RESTART));
        }
    }
}

/// Takes out of `errors` what `old` had already.
pub fn forgive(old: &Value, errors: &mut ErrorList) {
    if errors.iter().any(|error| error.detail == NO_RESTART) && SPECS.iter().any(|at| has(old, at))
    {
        errors.retain(|error| error.detail != NO_RESTART);
    }
}

fn has(object: &Value, at: &[&str]) -> bool {
    let path: Vec<&str> = at.iter().copied().chain(["initContainers"]).collect();
    let restarts = |policy: &Value| str_at(policy, &["restartPolicy"]) == RESTART;
    list_at(object, &path)
        .iter()
        .filter(|container| !is_sidecar(container))
        .any(|container| list_at(container, &["resizePolicy"]).iter().any(restarts))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(object: &Value, old: Option<&Value>) -> Vec<String> {
        let mut errors = ErrorList::new();
        let containers = list_at(object, &["spec", "template", "spec", "initContainers"]);
        for container in containers {
            validate_resize(container, &Path::new("resizePolicy"), &mut errors);
        }
        if let Some(old) = old {
            forgive(old, &mut errors);
        }
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_policy_that_was_there_may_stay() {
        let with = |policy: Value| {
            json!({"spec": {"template": {"spec": {"initContainers": [
                {"name": "i", "resizePolicy": [{"resourceName": "cpu", "restartPolicy": policy}]}
            ]}}}})
        };
        let (restarts, not) = (with(json!(RESTART)), with(json!("NotRequired")));
        let refused = [format!(
            "resizePolicy[0].restartPolicy: Invalid value: \"{RESTART}\": {NO_RESTART}"
        )];
        assert_eq!(told(&restarts, None), refused);
        assert_eq!(told(&restarts, Some(&not)), refused);
        assert!(told(&restarts, Some(&restarts)).is_empty());
        assert!(told(&not, None).is_empty());
    }
}
