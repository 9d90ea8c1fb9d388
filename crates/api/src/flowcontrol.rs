//! flowcontrol.apiserver.k8s.io/v1: who is served when there are many requests.

pub mod flow_schema;
pub mod priority_level;
pub mod standard;

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at},
};
use serde_json::Value;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Conditions of either kind: each type is there once.
fn validate_conditions(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let mut seen = HashSet::new();
    for (index, condition) in list_at(object, &["status", "conditions"])
        .iter()
        .enumerate()
    {
        let path = path.index(index).child("type");
        let type_ = str_at(condition, &["type"]);
        if !seen.insert(type_) {
            errors.push(Error::duplicate(&path, type_));
        }
        if type_.is_empty() {
            errors.push(Error::required(&path, ""));
        }
    }
}

#[cfg(test)]
mod tests;
