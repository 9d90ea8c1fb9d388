//! What updates of a service may not change.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, list_at, str_at},
};
use serde_json::Value;

use super::{is_headless, kind_of, needs_health_check};
use crate::tree::same;

const ONCE: &str = "may not change once set";

/// The first address and family stay, unless the type goes to or comes from ExternalName or
/// headless.
pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    if kind_of(new) != "ExternalName" && kind_of(old) != "ExternalName" {
        let (headless, was_headless) = (is_headless(new), is_headless(old));
        if !(headless && was_headless) {
            validate_kept(new, old, "clusterIPs", "clusterIP", &path, errors);
        }
        if !headless && !was_headless {
            validate_kept(new, old, "ipFamilies", "ipFamily", &path, errors);
        }
    }
    if kind_of(new) == "LoadBalancer"
        && kind_of(old) == "LoadBalancer"
        && str_at(new, &["spec", "loadBalancerClass"])
            != str_at(old, &["spec", "loadBalancerClass"])
    {
        errors.push(Error::invalid(
            &path.child("loadBalancerClass"),
            at(new, &["spec", "loadBalancerClass"])
                .cloned()
                .unwrap_or_default(),
            ONCE,
        ));
    }
    if needs_health_check(new)
        && needs_health_check(old)
        && !same(
            at(new, &["spec", "healthCheckNodePort"]),
            at(old, &["spec", "healthCheckNodePort"]),
        )
    {
        errors.push(Error::forbidden(
            &path.child("healthCheckNodePort"),
            "field is immutable",
        ));
    }
}

/// Lists of which the second element may come and go, and the first may not change.
fn validate_kept(
    new: &Value,
    old: &Value,
    field: &'static str,
    one: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let (now, before) = (
        list_at(new, &["spec", field]),
        list_at(old, &["spec", field]),
    );
    let list_path = path.child(field);
    if now.len() == before.len() {
        for (index, (now_value, before_value)) in now.iter().zip(before).enumerate() {
            if now_value != before_value {
                errors.push(Error::invalid(&list_path.index(index), now.to_vec(), ONCE));
            }
        }
        return;
    }
    if now.is_empty() {
        errors.push(Error::invalid(
            &list_path.index(0),
            now.to_vec(),
            format!("primary {one} can not be unset"),
        ));
        return;
    }
    if !before.is_empty() && now[0] != before[0] {
        errors.push(Error::invalid(&list_path.index(0), now.to_vec(), ONCE));
    }
    let policy = str_at(new, &["spec", "ipFamilyPolicy"]);
    if now.len() < before.len() && now.len() == 1 && policy != "SingleStack" {
        errors.push(Error::invalid(
            &path.child("ipFamilyPolicy"),
            policy,
            format!("must be set to 'SingleStack' when releasing the secondary {one}"),
        ));
    }
}
