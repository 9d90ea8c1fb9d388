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

use crate::{apps, kind::Part, tree};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// An update through this part keeps the other, and one of the status keeps the metadata as well.
fn prepare_update(new: &mut Value, old: &Value, part: Part) {
    apps::keep_other_part(new, old, part);
    if part == Part::Status {
        for field in ["labels", "annotations", "ownerReferences", "finalizers"] {
            tree::keep_metadata(new, old, field);
        }
    }
}

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
