//! The three kinds of patch a client may send: JSON patch (RFC 6902 and more), merge patch (RFC 7386) and Kubernetes' own strategic
//! merge patch. All of them work on JSON trees; the last one asks a [`PatchSchema`] how each list is merged.
//!
//! None of them looks at what the result means: the caller decodes it against the kind's schema, defaults and validates it.

use serde_json::Value;

use crate::status::{Reason, Status};

mod json;
mod strategic;
#[cfg(test)]
mod tests;

pub use self::{
    json::MAX_JSON_PATCH_OPERATIONS,
    strategic::{shown, strategic},
};

use self::json::{Failure, Operations, apply};

/// Most bytes that a patch may have as a body, and most that the `copy` operations of one JSON patch may add up to: without
/// the second limit a short patch could double a value again and again.
pub const MAX_PATCH_BYTES: usize = 3 * 1024 * 1024;

/// Deepest object that a JSON patch may make: what parsers of JSON take by default, those of stored objects included.
pub const MAX_DEPTH: usize = 127;

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

/// Applies a JSON patch by the rules of upstream's library. On an error the object is as it was. Returns what a strict decoder has to
/// say of the patch itself: `json patch unknown field "[0].note"`.
///
/// # Errors
/// As upstream's: 400 when the patch is no list of operations, 413 above [`MAX_JSON_PATCH_OPERATIONS`], 422 without
/// details when an operation cannot be applied (a failed `test`, a path that is not there).
pub fn json(object: &mut Value, patch: &[u8]) -> Result<Vec<String>, Status> {
    let patch = Operations::decode(parse(patch)?).map_err(undecodable)?;
    if let Err(why) = check_count(&patch) {
        return Err(Status::request_too_large(why));
    }
    apply(object, &patch.list).map_err(|_| unprocessable())?;
    let problems = patch.problems.into_iter();
    Ok(problems.map(|one| format!("json patch {one}")).collect())
}

/// Looks at the body of a patch: nothing at all is none, either.
///
/// # Errors
/// 413 where it is too large; 400 in upstream's words where it is no JSON.
pub fn check(body: &[u8]) -> Result<(), Status> {
    check_size(body.len())?;
    // What is skipped has no limits but the grammar's.
    match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        Ok(_) => Ok(()),
        Err(_) => Err(Status::bad_request("invalid JSON patch")),
    }
}

/// The body of a patch as a tree.
///
/// # Errors
/// As [`check`]; 400 for JSON that cannot be held, such as a number that is none of 64 bits.
pub fn parse(body: &[u8]) -> Result<Value, Status> {
    check(body)?;
    serde_json::from_slice(body).map_err(|error| undecodable(error.to_string()))
}

fn undecodable(why: String) -> Status {
    Status::bad_request(format!("error decoding patch: {why}"))
}

/// Applies a JSON patch, for whoever wants to know why it cannot be.
///
/// # Errors
/// Why an operation cannot be applied, as upstream's library says it: `add operation does not apply: doc is missing path: ...`.
pub fn json_or_why(object: &mut Value, patch: &[u8]) -> Result<(), String> {
    check_size(patch.len()).map_err(|status| status.message)?;
    let patch = serde_json::from_slice(patch).map_err(|error| error.to_string())?;
    explained(object, patch, false)
}

/// Applies a JSON patch, given as its operations. One whose `test` fails changes nothing, and is no error.
///
/// # Errors
/// As [`json_or_why`].
pub fn json_unless_test_fails(object: &mut Value, operations: Value) -> Result<(), String> {
    explained(object, operations, true)
}

fn explained(object: &mut Value, patch: Value, may_test_fail: bool) -> Result<(), String> {
    let patch = Operations::decode(patch)?;
    check_count(&patch)?;
    match apply(object, &patch.list) {
        Ok(()) => Ok(()),
        Err(Failure::Test(_)) if may_test_fail => Ok(()),
        Err(Failure::Test(why) | Failure::Path(why)) => Err(why),
        Err(Failure::Size) => Err("the result is too large".to_owned()),
    }
}

fn check_count(patch: &Operations) -> Result<(), String> {
    let count = patch.list.len();
    match count > MAX_JSON_PATCH_OPERATIONS {
        true => Err(format!(
            "The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {count}"
        )),
        false => Ok(()),
    }
}

/// Applies a merge patch (RFC 7386). 400 unless the patch is an object: one that is not would replace the whole object.
pub fn merge(object: &mut Value, patch: &Value) -> Result<(), Status> {
    let found = match patch {
        Value::Object(_) => None,
        Value::Null => return Err(Status::bad_request("Invalid JSON Patch")),
        Value::Array(_) => Some("array"),
        Value::String(_) => Some("string"),
        Value::Number(_) => Some("number"),
        Value::Bool(_) => Some("bool"),
    };
    if let Some(found) = found {
        return Err(Status::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        )));
    }
    merge_values(object, patch);
    Ok(())
}

fn merge_values(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else {
        return;
    };
    for (field, value) in fields {
        match value {
            Value::Null => drop(target.remove(field)),
            _ => merge_values(target.entry(field.as_str()).or_insert(Value::Null), value),
        }
    }
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

/// Whether an object that somebody made of a request's may take its place: what is deeper than a parser takes could not be read
/// again, what is larger than a body could not have been sent.
///
/// # Errors
/// Why it may not.
pub fn check_result(object: &Value) -> Result<(), String> {
    if depth(object) > MAX_DEPTH {
        return Err(format!(
            "the object would be nested deeper than {MAX_DEPTH} levels"
        ));
    }
    if size(object) > MAX_PATCH_BYTES {
        return Err(format!(
            "the object would be larger than {MAX_PATCH_BYTES} bytes"
        ));
    }
    Ok(())
}

/// How many values a value is made of, itself included.
fn count(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
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
    .with_no_details()
}
