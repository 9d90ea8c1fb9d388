//! Validation of claims of devices: those of the pod, and what of them its containers use.

use std::collections::{BTreeMap, BTreeSet};

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at},
};
use serde_json::Value;

use crate::validate;

const CLAIM: &str = "resourceClaimName";
const TEMPLATE: &str = "resourceClaimTemplateName";

/// The pod's own, as upstream's `validatePodResourceClaims`. They go before those of containers, which name them.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("resourceClaims");
    let mut known = BTreeSet::new();
    for (index, claim) in list_at(spec, &["resourceClaims"]).iter().enumerate() {
        let path = path.index(index);
        let name = str_at(claim, &["name"]);
        if !name.is_empty() && known.contains(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        } else {
            validate::required(errors, claim, "name", &path, names::dns1123_label);
            known.insert(name);
        }
        let is_set = |field| claim.get(field).is_some_and(Value::is_string);
        match (is_set(CLAIM), is_set(TEMPLATE)) {
            (true, true) => errors.push(Error::invalid(
                &path,
                claim.clone(),
                "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            )),
            (false, false) => errors.push(Error::invalid(
                &path,
                claim.clone(),
                "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
            )),
            _ => {}
        }
        for field in [CLAIM, TEMPLATE] {
            if is_set(field) {
                let value = str_at(claim, &[field]);
                let wrong = names::dns1123_subdomain(value);
                validate::each(errors, &path.child(field), value, wrong);
            }
        }
    }
}

/// Those of all containers, as upstream's `validateResourceClaimNames`.
pub(super) fn validate_used(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let of_pod: BTreeSet<&str> = list_at(spec, &["resourceClaims"])
        .iter()
        .map(|claim| str_at(claim, &["name"]))
        .filter(|name| !name.is_empty())
        .collect();
    for list in ["initContainers", "containers"] {
        for (index, container) in list_at(spec, &[list]).iter().enumerate() {
            let path = path.child(list).index(index);
            let path = path.child("resources").child("claims");
            of_container(container, &of_pod, &path, errors);
        }
    }
    // Of a pod as a whole they are refused anyway; on Windows nothing more is said of its resources.
    if str_at(spec, &["os", "name"]) != "windows" {
        let path = path.child("resources").child("claims");
        of_container(spec, &of_pod, &path, errors);
    }
}

/// Of a container, or of a pod as a whole.
fn of_container(container: &Value, of_pod: &BTreeSet<&str>, path: &Path, errors: &mut ErrorList) {
    // Requests by claim; an empty one stands for all of them.
    let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (index, claim) in list_at(container, &["resources", "claims"])
        .iter()
        .enumerate()
    {
        let path = path.index(index);
        let name = str_at(claim, &["name"]);
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        let request = str_at(claim, &["request"]);
        let before = used.entry(name).or_default();
        if before.contains("") || (request.is_empty() && !before.is_empty()) {
            errors.push(Error::duplicate(&path, name));
        } else {
            if !request.is_empty() {
                let wrong = names::dns1123_label(request);
                validate::each(errors, &path.child("request"), request, wrong);
            }
            if before.contains(request) {
                errors.push(Error::duplicate(&path, format!("{name}/{request}")));
            }
        }
        before.insert(request);
        if !of_pod.contains(name) {
            let known: Vec<&str> = of_pod.iter().copied().collect();
            let rest = match known.is_empty() {
                true => " which is empty".to_owned(),
                false => format!(": {}", known.join(", ")),
            };
            errors.push(Error {
                detail: format!("must be one of the names in pod.spec.resourceClaims{rest}"),
                ..Error::not_found(&path, name)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::*;

    fn told(spec: &Value) -> String {
        let mut errors = ErrorList::new();
        validate(spec, &Path::new("spec"), &mut errors);
        validate_used(spec, &Path::new("spec"), &mut errors);
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    #[test]
    fn claims_name_one_source_and_containers_name_claims() {
        let claims = |claims: Value| json!([{"name": "c", "resources": {"claims": claims}}]);
        let good = json!({
            "resourceClaims": [{"name": "a", CLAIM: "x"}, {"name": "b", TEMPLATE: "y"}],
            "containers": claims(json!([{"name": "a", "request": "r"}, {"name": "a", "request": "s"}, {"name": "b"}])),
        });
        assert_eq!(told(&good), "");
        let bad = json!({
            "resourceClaims": [{"name": "a"}, {"name": "a", CLAIM: "x", TEMPLATE: "y"}, {"name": "B", CLAIM: "_"}, {CLAIM: "x"}],
            "containers": claims(json!([
                {"name": "a", "request": "r"}, {"name": "a", "request": "r"}, {"name": "a"}, {"name": "q"}, {"request": "r"},
            ])),
        });
        expect![[r#"
            spec.resourceClaims[0]: Invalid value: {"name":"a"}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`
            spec.resourceClaims[1].name: Duplicate value: "a"
            spec.resourceClaims[1]: Invalid value: {"name":"a","resourceClaimName":"x","resourceClaimTemplateName":"y"}: at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified
            spec.resourceClaims[2].name: Invalid value: "B": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')
            spec.resourceClaims[2].resourceClaimName: Invalid value: "_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')
            spec.resourceClaims[3].name: Required value
            spec.containers[0].resources.claims[1]: Duplicate value: "a/r"
            spec.containers[0].resources.claims[2]: Duplicate value: "a"
            spec.containers[0].resources.claims[3]: Not found: "q": must be one of the names in pod.spec.resourceClaims: B, a
            spec.containers[0].resources.claims[4]: Required value"#]]
        .assert_eq(&told(&bad));
        let whole =
            |os: &str| json!({"os": {"name": os}, "resources": {"claims": [{"name": "q"}]}});
        expect![[r#"spec.resources.claims[0]: Not found: "q": must be one of the names in pod.spec.resourceClaims which is empty"#]]
            .assert_eq(&told(&whole("linux")));
        assert_eq!(told(&whole("windows")), "");
        let none = json!({"containers": claims(json!([{"name": "q"}]))});
        expect![[r#"spec.containers[0].resources.claims[0]: Not found: "q": must be one of the names in pod.spec.resourceClaims which is empty"#]]
            .assert_eq(&told(&none));
    }
}
