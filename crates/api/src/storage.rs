//! storage.k8s.io/v1.

pub mod csi_driver;
pub mod csi_node;
pub mod csi_storage_capacity;
pub mod storage_class;
pub mod volume_attachment;
pub mod volume_attributes_class;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{map_at, str_at},
};
use serde_json::{Map, Value};

use crate::validate;

const MAX_PARAMETERS: usize = 512;
const MAX_PARAMETERS_BYTES: usize = 256 * 1024;

/// Who makes or changes volumes: a qualified name, in any case.
fn validate_provisioner(object: &Value, field: &'static str, errors: &mut ErrorList) {
    let (path, name) = (Path::new(field), str_at(object, &[field]));
    if name.is_empty() {
        errors.push(Error::required(&path, ""));
        return;
    }
    let lower = name.to_lowercase();
    validate::each(errors, &path, &lower, names::qualified_name(&lower));
}

/// What a class says to whom it names.
fn validate_parameters(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("parameters");
    let parameters = map_at(object, &["parameters"]);
    if parameters.is_some_and(|parameters| parameters.len() > MAX_PARAMETERS) {
        errors.push(Error::too_long(&path, MAX_PARAMETERS));
        return;
    }
    let mut bytes = 0;
    for (key, value) in validate::entries(object.get("parameters")) {
        if key.is_empty() {
            errors.push(Error::invalid(&path, "", "field can not be empty."));
        }
        bytes += key.len() + value.len();
    }
    if bytes > MAX_PARAMETERS_BYTES {
        errors.push(Error::too_long(&path, MAX_PARAMETERS_BYTES));
    }
}

/// How many bytes a map of strings holds.
fn bytes(map: Option<&Map<String, Value>>) -> usize {
    let entries = map.into_iter().flatten();
    let sizes = entries.map(|(key, value)| key.len() + value.as_str().unwrap_or_default().len());
    sizes.sum()
}

#[cfg(test)]
mod tests;
