//! networking.k8s.io/v1: how clients from outside reach Services. Controllers that users choose act upon it.

mod cidr;
pub mod ingress;
pub mod ingress_class;
pub mod ip_address;
pub mod network_policy;
pub mod service_cidr;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::str_at,
};
use serde_json::Value;

use crate::validate;

/// The annotation that names an Ingress' class, from before there was a field.
pub const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
/// The annotation that makes an IngressClass the one of Ingresses without a class.
pub const DEFAULT_CLASS_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// A reference to an object of any kind: group, kind and name.
fn validate_reference(reference: &Value, path: &Path, errors: &mut ErrorList) {
    if reference.get("apiGroup").is_some_and(Value::is_string) {
        let group = str_at(reference, &["apiGroup"]);
        validate::each(
            errors,
            &path.child("apiGroup"),
            group,
            names::dns1123_subdomain(group),
        );
    }
    for field in ["kind", "name"] {
        let text = str_at(reference, &[field]);
        if text.is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        } else {
            let wrong = names::path_segment(text, false);
            validate::each(errors, &path.child(field), text, wrong);
        }
    }
}

#[cfg(test)]
mod tests;
