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

/// Most values that the operations of one JSON patch may walk, copy or shift within lists: what it costs does not follow from its
/// length.
const MAX_JSON_PATCH_STEPS: usize = 4_000_000;
/// What a value takes in memory at least, whatever it is as JSON.
const VALUE_BYTES: usize = 32;

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
    apply(object, &patch).map_err(|_| unprocessable())
}

/// Applies a JSON patch, given as its operations. One whose `test` fails changes nothing, and is no error.
///
/// # Errors
/// Why an operation cannot be applied, as upstream's library says it: `add operation does not apply: doc is missing path: ...`.
pub fn json_unless_test_fails(object: &mut Value, operations: Value) -> Result<(), String> {
    let patch: json_patch::Patch =
        serde_json::from_value(operations).map_err(|error| error.to_string())?;
    if patch.len() > MAX_JSON_PATCH_OPERATIONS {
        let length = patch.len();
        return Err(format!(
            "The allowed maximum operations in a JSON patch is {MAX_JSON_PATCH_OPERATIONS}, got {length}"
        ));
    }
    match apply(object, &patch) {
        Ok(()) | Err(Failure::Test) => Ok(()),
        Err(Failure::Path(why)) => Err(why),
        Err(Failure::Size) => Err("the result is too large".to_owned()),
    }
}

/// Why a JSON patch cannot be applied.
enum Failure {
    /// A `test` that fails.
    Test,
    /// A path that is not there.
    Path(String),
    /// Copies that add up, or objects nested in themselves.
    Size,
}

/// On an error the object is as it was.
fn apply(object: &mut Value, patch: &json_patch::Patch) -> Result<(), Failure> {
    let mut result = object.clone();
    let mut copied = 0;
    let mut steps = 0_usize;
    // Never less than the depth of `result`. A few operations that nest an object in itself make it deeper than the stack.
    let mut depth_bound = depth(&result);
    for operation in patch.iter() {
        if let PatchOperation::Copy(copy) = operation
            && let Ok(value) = copy.from.resolve(&result)
        {
            let values = count(value);
            steps = steps.saturating_add(values);
            copied += size(value).max(values.saturating_mul(VALUE_BYTES));
            if copied > MAX_PATCH_BYTES {
                return Err(Failure::Size);
            }
        }
        steps = steps.saturating_add(shifted(operation, &result));
        if steps > MAX_JSON_PATCH_STEPS {
            return Err(Failure::Size);
        }
        depth_bound = depth_bound.max(depth_after(operation, depth_bound));
        if is_absent_as_wanted(operation, &result) {
            continue;
        }
        json_patch::patch_unsafe(&mut result, std::slice::from_ref(operation)).map_err(
            |error| match error.kind {
                json_patch::PatchErrorKind::TestFailed => Failure::Test,
                // What is not there is not what is wanted, where it could be.
                _ if matches!(operation, PatchOperation::Test(_))
                    && has_place(operation, &result) =>
                {
                    Failure::Test
                }
                _ => Failure::Path(missing(operation, &result)),
            },
        )?;
        if depth_bound > MAX_DEPTH_BETWEEN {
            steps = steps.saturating_add(count(&result));
            depth_bound = depth(&result);
            if depth_bound > MAX_DEPTH_BETWEEN {
                return Err(Failure::Size);
            }
        }
    }
    if depth_bound > MAX_DEPTH && depth(&result) > MAX_DEPTH {
        return Err(Failure::Size);
    }
    *object = result;
    Ok(())
}

/// Whether an operation tests that a field is null, and it is not there: upstream's library has it so, and clients test by it
/// that an object has no finalizers yet.
fn is_absent_as_wanted(operation: &PatchOperation, object: &Value) -> bool {
    let PatchOperation::Test(test) = operation else {
        return false;
    };
    let (Some(parent), Some(key)) = (test.path.parent(), test.path.last()) else {
        return false;
    };
    let parent = parent.resolve(object).ok().and_then(Value::as_object);
    test.value.is_null() && parent.is_some_and(|parent| !parent.contains_key(&*key.decoded()))
}

/// Whether the path of an operation is a field or an element of something that is there.
fn has_place(operation: &PatchOperation, object: &Value) -> bool {
    let parent = operation.path().parent();
    parent.is_some_and(|parent| parent.resolve(object).is_ok())
}

/// What an operation misses, in the words of upstream's library.
fn missing(operation: &PatchOperation, object: &Value) -> String {
    let path = operation.path();
    let parent = path.parent().and_then(|parent| parent.resolve(object).ok());
    let key = path.last().map(|token| token.decoded().into_owned());
    match (operation, parent) {
        (PatchOperation::Add(_), _) => {
            format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        (PatchOperation::Remove(_), None) => {
            format!(
                "remove operation does not apply: doc is missing path: \"{path}\": missing value"
            )
        }
        (PatchOperation::Remove(_), Some(_)) => {
            let key = key.unwrap_or_default();
            format!(
                "error in remove for path: '{path}': Unable to remove nonexistent key: {key}: missing value"
            )
        }
        (PatchOperation::Replace(_), None) => {
            format!("replace operation does not apply: doc is missing path: {path}: missing value")
        }
        (PatchOperation::Replace(_), Some(_)) => {
            format!("replace operation does not apply: doc is missing key: {path}: missing value")
        }
        (PatchOperation::Move(from), _) => {
            let from = &from.from;
            format!("error in move for path: '{from}': missing value")
        }
        (PatchOperation::Copy(from), _) => {
            let from = &from.from;
            format!("error in copy for from: '{from}': missing value")
        }
        (PatchOperation::Test(_), _) => {
            format!("test operation does not apply: is missing path: {path}: missing value")
        }
    }
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

/// How many elements of lists an operation moves by one place, at most.
fn shifted(operation: &PatchOperation, object: &Value) -> usize {
    let elements = |path: &json_patch::jsonptr::Pointer| {
        let parent = path.parent().and_then(|parent| parent.resolve(object).ok());
        parent.and_then(Value::as_array).map_or(0, Vec::len)
    };
    match operation {
        PatchOperation::Add(add) if add.path.as_str().ends_with("/-") => 1,
        PatchOperation::Add(_) | PatchOperation::Remove(_) | PatchOperation::Copy(_) => {
            elements(operation.path())
        }
        PatchOperation::Move(from) => elements(&from.from).saturating_add(elements(&from.path)),
        PatchOperation::Replace(_) | PatchOperation::Test(_) => 1,
    }
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
}
