//! The three kinds of patch a client may send: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' own strategic
//! merge patch. All of them work on JSON trees; the last one asks a [`PatchSchema`] how each list is merged.
//!
//! None of them looks at what the result means: the caller decodes it against the kind's schema, defaults and validates it.

use json_patch::PatchOperation;
use serde_json::Value;

use crate::status::{Reason, Status};

mod strategic;
#[cfg(test)]
mod tests;

pub use strategic::strategic;

/// Most operations in one JSON patch.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;
/// Most bytes that a patch may have as a body, and most that the `copy` operations of one JSON patch may add up to: without
/// the second limit a short patch could double a value again and again.
pub const MAX_PATCH_BYTES: usize = 3 * 1024 * 1024;

/// Deepest object that a JSON patch may make: what parsers of JSON take by default, those of stored objects included.
pub const MAX_DEPTH: usize = 127;
/// Deepest that it may be in between: walks of it recurse.
const MAX_DEPTH_BETWEEN: usize = 1024;

/// How a field takes part in a strategic merge: the values of `x-kubernetes-patch-strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// The patch's elements are merged into the list, by merge key where elements are objects.
    Merge,
    /// The patch's value takes the place of the old one; what lists do that say nothing.
    Replace,
    /// The patch may list, under `$retainKeys`, the only keys that survive.
    RetainKeys,
}

/// What a strategic merge must know of a type. Lists and objects are the same trait, so that a walk needs one reference.
pub trait PatchSchema {
    /// The schema of a field of an object, or of every value of a map. `None`: no such field.
    fn field(&self, name: &str) -> Option<&dyn PatchSchema>;
    /// The schema of a list's elements. `None`: not a list.
    fn element(&self) -> Option<&dyn PatchSchema>;
    /// The field that tells elements of this list apart.
    fn merge_key(&self) -> Option<&str>;
    /// Strategies of this field; empty means that objects are merged and lists replaced.
    fn strategies(&self) -> &[Strategy];
}

/// Applies a JSON patch (RFC 6902). On an error the object is as it was.
///
/// Errors as upstream's: 400 when the patch is no list of operations, 413 above [`MAX_JSON_PATCH_OPERATIONS`], 422 without
/// details when an operation cannot be applied (a failed `test`, a path that is not there).
pub fn json(object: &mut Value, patch: &[u8]) -> Result<(), Status> {
    check_size(patch.len())?;
    let patch: json_patch::Patch = serde_json::from_slice(patch)
        .map_err(|error| Status::bad_request(format!("error decoding patch: {error}")))?;
    if patch.len() > MAX_JSON_PATCH_OPERATIONS {
        return Err(Status::request_too_large(format!(
            "The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {}",
            patch.len()
        )));
    }
    let mut result = object.clone();
    let mut copied = 0;
    // Never less than the depth of `result`. A few operations that nest an object in itself make it deeper than the stack.
    let mut depth_bound = depth(&result);
    for operation in patch.iter() {
        if let PatchOperation::Copy(copy) = operation {
            copied += copy.from.resolve(&result).map_or(0, size);
            if copied > MAX_PATCH_BYTES {
                return Err(unprocessable());
            }
        }
        depth_bound = depth_bound.max(depth_after(operation, depth_bound));
        json_patch::patch_unsafe(&mut result, std::slice::from_ref(operation))
            .map_err(|_| unprocessable())?;
        if depth_bound > MAX_DEPTH_BETWEEN {
            depth_bound = depth(&result);
            if depth_bound > MAX_DEPTH_BETWEEN {
                return Err(unprocessable());
            }
        }
    }
    if depth_bound > MAX_DEPTH && depth(&result) > MAX_DEPTH {
        return Err(unprocessable());
    }
    *object = result;
    Ok(())
}

/// Applies a merge patch (RFC 7386). 400 unless the patch is an object: one that is not would replace the whole object.
pub fn merge(object: &mut Value, patch: &Value) -> Result<(), Status> {
    if !patch.is_object() {
        return Err(Status::bad_request("Invalid JSON Patch"));
    }
    json_patch::merge(object, patch);
    Ok(())
}

/// 413 when a patch has more than [`MAX_PATCH_BYTES`].
pub fn check_size(bytes: usize) -> Result<(), Status> {
    if bytes > MAX_PATCH_BYTES {
        return Err(Status::request_too_large(format!(
            "limit is {MAX_PATCH_BYTES}"
        )));
    }
    Ok(())
}

/// A bound of the depth at the place an operation writes to, in an object at most `bound` deep.
fn depth_after(operation: &PatchOperation, bound: usize) -> usize {
    let at = operation.path().tokens().count();
    match operation {
        PatchOperation::Add(add) => at + depth(&add.value),
        PatchOperation::Replace(replace) => at + depth(&replace.value),
        PatchOperation::Copy(copy) => at + bound.saturating_sub(copy.from.tokens().count()),
        PatchOperation::Move(from) => at + bound.saturating_sub(from.from.tokens().count()),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => 0,
    }
}

/// How many values are nested in each other.
pub fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Roughly the bytes of a value as JSON.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) => 4,
        Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(list) => 2 + list.iter().map(|element| size(element) + 1).sum::<usize>(),
        Value::Object(map) => {
            2 + map
                .iter()
                .map(|(key, value)| key.len() + 4 + size(value))
                .sum::<usize>()
        }
    }
}

/// Upstream's answer to a well-formed patch that does not fit the object: it drops the reason.
fn unprocessable() -> Status {
    Status::new(
        422,
        Reason::Invalid,
        "the server rejected our request due to an error in our request",
    )
}
