//! JSON patch as the library that upstream uses has it, which lets more pass than RFC 6902: `replace` sets what an object does not
//! have, indexes count from the end where they are negative and may begin with zeros, what is before a path's first slash is not
//! looked at, a missing `value` is null, what is absent can be copied, and a `test` finds null there.
//!
//! Rejected: a crate for the RFC. Patches that work with every other server were refused.

use serde_json::{Map, Value};

use super::{MAX_DEPTH, MAX_PATCH_BYTES, count, depth, size};

/// Most operations in one JSON patch.
pub const MAX_JSON_PATCH_OPERATIONS: usize = 10_000;
/// Most values that the operations of one JSON patch may walk, copy or shift within lists: what it costs does not follow from its
/// length.
const MAX_STEPS: usize = 4_000_000;
/// What a value takes in memory at least, whatever it is as JSON.
const VALUE_BYTES: usize = 32;
/// Deepest that an object may be in between: walks of it recurse.
const MAX_DEPTH_BETWEEN: usize = 1024;
/// What an operation can say.
const FIELDS: [&str; 4] = ["op", "from", "path", "value"];

/// One step of a patch, as it was sent: what it lacks is found out when it is its turn.
#[derive(Debug)]
pub struct Operation {
    op: Option<String>,
    path: Option<String>,
    from: Option<String>,
    value: Option<Value>,
}

/// Operations, and what is said twice or by nobody's name, in the words of a strict decoder.
#[derive(Debug)]
pub struct Operations {
    pub list: Vec<Operation>,
    pub problems: Vec<String>,
}

/// Why a patch cannot be applied.
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// A `test` that fails, with the words for it.
    Test(String),
    /// A path that is not there, or an operation that is none.
    Path(String),
    /// Copies that add up, or objects nested in themselves.
    Size,
}

impl Operations {
    /// Takes operations from a decoded patch.
    ///
    /// # Errors
    /// Where it is no list of objects, or their fields are of other types.
    pub fn decode(patch: Value) -> Result<Self, String> {
        let mut problems = Vec::new();
        let list = match patch {
            Value::Null => Vec::new(),
            Value::Array(list) => list,
            other => return Err(mismatch(&other, "[]handlers.jsonPatchOp")),
        };
        let list = list.into_iter().enumerate().map(|(at, value)| match value {
            Value::Object(map) => {
                let unknown = map.keys().filter(|key| !FIELDS.contains(&key.as_str()));
                problems.extend(unknown.map(|key| format!("unknown field \"[{at}].{key}\"")));
                Operation::decode(map)
            }
            Value::Null => Operation::decode(Map::new()),
            other => Err(mismatch(&other, "handlers.jsonPatchOp")),
        });
        let list = list.collect::<Result<_, String>>()?;
        Ok(Self { list, problems })
    }
}

fn mismatch(value: &Value, wanted: &str) -> String {
    let kind = match value {
        Value::Array(_) => "array",
        Value::Object(_) => "object",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) | Value::Null => "bool",
    };
    format!("json: cannot unmarshal {kind} into Go value of type {wanted}")
}

impl Operation {
    fn decode(mut map: Map<String, Value>) -> Result<Self, String> {
        let mut text = |field: &str| match map.remove(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(mismatch(&other, "string")),
        };
        Ok(Self {
            op: text("op")?,
            path: text("path")?,
            from: text("from")?,
            value: map.remove("value"),
        })
    }

    fn path(&self) -> Result<&str, Failure> {
        let op = self.op.as_deref().unwrap_or("unknown");
        let missing = || format!("{op} operation failed to decode path: missing value");
        self.path.as_deref().ok_or_else(|| Failure::Path(missing()))
    }

    fn from(&self) -> Result<&str, Failure> {
        let op = self.op.as_deref().unwrap_or("unknown");
        let missing = || format!("{op} operation failed to decode from: missing value");
        self.from.as_deref().ok_or_else(|| Failure::Path(missing()))
    }

    /// A bound of the depth at the place that is written to, in an object at most `bound` deep.
    fn depth_after(&self, bound: usize) -> usize {
        let length =
            |path: &Option<String>| path.as_deref().map_or(0, |path| path.matches('/').count());
        let at = length(&self.path);
        match self.op.as_deref() {
            Some("add" | "replace") => at.saturating_add(self.value.as_ref().map_or(0, depth)),
            Some("copy" | "move") => at.saturating_add(bound.saturating_sub(length(&self.from))),
            _ => 0,
        }
    }
}

/// What the operations so far have cost.
#[derive(Default)]
struct Costs {
    steps: usize,
    copied: usize,
}

impl Costs {
    fn walk(&mut self, values: usize) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(values);
        match self.steps > MAX_STEPS {
            true => Err(Failure::Size),
            false => Ok(()),
        }
    }

    fn copy(&mut self, value: &Value) -> Result<(), Failure> {
        let values = count(value);
        let bytes = size(value).max(values.saturating_mul(VALUE_BYTES));
        self.copied = self.copied.saturating_add(bytes);
        match self.copied > MAX_PATCH_BYTES {
            true => Err(Failure::Size),
            false => self.walk(values),
        }
    }
}

/// Applies operations in their order. On an error the object is as it was.
pub fn apply(object: &mut Value, operations: &[Operation]) -> Result<(), Failure> {
    let mut result = object.clone();
    let mut costs = Costs::default();
    // Never less than the depth of `result`. A few operations that nest an object in itself make it deeper than the stack.
    let mut depth_bound = depth(&result);
    for operation in operations {
        depth_bound = depth_bound.max(operation.depth_after(depth_bound));
        run(&mut result, operation, &mut costs)?;
        if depth_bound > MAX_DEPTH_BETWEEN {
            costs.walk(count(&result))?;
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

fn run(document: &mut Value, operation: &Operation, costs: &mut Costs) -> Result<(), Failure> {
    costs.walk(1)?;
    match operation.op.as_deref() {
        Some("add") => add(document, operation, costs),
        Some("remove") => remove(document, operation, costs),
        Some("replace") => replace(document, operation),
        Some("move") => relocate(document, operation, costs),
        Some("copy") => copy(document, operation, costs),
        Some("test") => test(document, operation),
        other => {
            let other = other.unwrap_or("unknown");
            Err(Failure::Path(format!("Unexpected kind: {other}")))
        }
    }
}

fn add(document: &mut Value, operation: &Operation, costs: &mut Costs) -> Result<(), Failure> {
    let path = operation.path()?;
    let Some((mut container, key)) = Container::of(document, path) else {
        return Err(Failure::Path(format!(
            "add operation does not apply: doc is missing path: \"{path}\": missing value"
        )));
    };
    let value = operation.value.clone().unwrap_or_default();
    let added = container.add(&key, value, costs)?;
    added.map_err(|why| Failure::Path(format!("error in add for path: '{path}': {why}")))
}

fn remove(document: &mut Value, operation: &Operation, costs: &mut Costs) -> Result<(), Failure> {
    let path = operation.path()?;
    let Some((mut container, key)) = Container::of(document, path) else {
        return Err(Failure::Path(format!(
            "remove operation does not apply: doc is missing path: \"{path}\": missing value"
        )));
    };
    let removed = container.remove(&key, costs)?;
    removed
        .map(drop)
        .map_err(|why| Failure::Path(format!("error in remove for path: '{path}': {why}")))
}

fn replace(document: &mut Value, operation: &Operation) -> Result<(), Failure> {
    let path = operation.path()?;
    let value = operation.value.clone().unwrap_or_default();
    if path.is_empty() {
        if !value.is_object() && !value.is_array() {
            let why = "replace operation value must be object or array: missing value";
            return Err(Failure::Path(why.to_owned()));
        }
        *document = value;
        return Ok(());
    }
    let Some((mut container, key)) = Container::of(document, path) else {
        return Err(Failure::Path(format!(
            "replace operation does not apply: doc is missing path: {path}: missing value"
        )));
    };
    container.set(&key, value).map_err(|_| {
        Failure::Path(format!(
            "replace operation does not apply: doc is missing key: {path}: missing value"
        ))
    })
}

/// `move`, which is a word of the language.
fn relocate(document: &mut Value, operation: &Operation, costs: &mut Costs) -> Result<(), Failure> {
    let from = operation.from()?;
    let Some((mut container, key)) = Container::of(document, from) else {
        return Err(Failure::Path(format!(
            "move operation does not apply: doc is missing from path: {from}: missing value"
        )));
    };
    let taken = container.remove(&key, costs)?;
    let value =
        taken.map_err(|why| Failure::Path(format!("error in move for path: '{key}': {why}")))?;
    let path = operation.path()?;
    let Some((mut container, key)) = Container::of(document, path) else {
        return Err(Failure::Path(format!(
            "move operation does not apply: doc is missing destination path: {path}: missing value"
        )));
    };
    let added = container.add(&key, value, costs)?;
    added.map_err(|why| Failure::Path(format!("error in move for path: '{path}': {why}")))
}

fn copy(document: &mut Value, operation: &Operation, costs: &mut Costs) -> Result<(), Failure> {
    let from = operation.from()?;
    let Some((container, key)) = Container::of(document, from) else {
        return Err(Failure::Path(format!(
            "copy operation does not apply: doc is missing from path: {from}: missing value"
        )));
    };
    let found = container
        .get(&key)
        .map_err(|why| Failure::Path(format!("error in copy for from: '{from}': {why}")))?;
    let value = match found {
        Some(found) => {
            costs.copy(found)?;
            found.clone()
        }
        None => Value::Null,
    };
    let path = operation.path()?;
    let Some((mut container, key)) = Container::of(document, path) else {
        return Err(Failure::Path(format!(
            "copy operation does not apply: doc is missing destination path: {path}: missing value"
        )));
    };
    let added = container.add(&key, value, costs)?;
    added.map_err(|why| Failure::Path(format!("error while adding value during copy: {why}")))
}

fn test(document: &mut Value, operation: &Operation) -> Result<(), Failure> {
    let path = operation.path()?;
    let wanted = operation.value.as_ref().unwrap_or(&Value::Null);
    let is_as_wanted = if path.is_empty() {
        document == wanted
    } else {
        let Some((container, key)) = Container::of(document, path) else {
            return Err(Failure::Path(format!(
                "test operation does not apply: is missing path: {path}: missing value"
            )));
        };
        let found = container
            .get(&key)
            .map_err(|why| Failure::Path(format!("error in test for path: '{path}': {why}")))?;
        found.unwrap_or(&Value::Null) == wanted
    };
    match is_as_wanted {
        true => Ok(()),
        false => Err(Failure::Test(format!(
            "testing value {path} failed: test failed"
        ))),
    }
}

/// What has fields or elements.
enum Container<'a> {
    Object(&'a mut Map<String, Value>),
    List(&'a mut Vec<Value>),
}

impl<'a> Container<'a> {
    /// What a path leads into, and the last of its keys. `None` where it leads nowhere.
    fn of(document: &'a mut Value, path: &str) -> Option<(Self, String)> {
        let (_, keys) = path.split_once('/')?;
        let (parents, last) = keys
            .rsplit_once('/')
            .map_or((None, keys), |(parents, last)| (Some(parents), last));
        let mut current = document;
        for key in parents.into_iter().flat_map(|parents| parents.split('/')) {
            let key = unescaped(key);
            current = match current {
                Value::Object(map) => map.get_mut(&key)?,
                Value::Array(list) => {
                    let at = place(&key, list.len()).ok()?;
                    list.get_mut(at)?
                }
                _ => return None,
            };
        }
        let container = match current {
            Value::Object(map) => Self::Object(map),
            Value::Array(list) => Self::List(list),
            _ => return None,
        };
        Some((container, unescaped(last)))
    }

    /// What is there; absent fields are no error, absent elements are.
    fn get(&self, key: &str) -> Result<Option<&Value>, String> {
        match self {
            Self::Object(map) => Ok(map.get(key)),
            Self::List(list) => place(key, list.len()).map(|at| list.get(at)),
        }
    }

    fn set(&mut self, key: &str, value: Value) -> Result<(), String> {
        match self {
            Self::Object(map) => drop(map.insert(key.to_owned(), value)),
            Self::List(list) => {
                let at = place(key, list.len())?;
                if let Some(element) = list.get_mut(at) {
                    *element = value;
                }
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        key: &str,
        value: Value,
        costs: &mut Costs,
    ) -> Result<Result<(), String>, Failure> {
        match self {
            Self::Object(map) => drop(map.insert(key.to_owned(), value)),
            Self::List(list) if key == "-" => list.push(value),
            Self::List(list) => {
                // One more place than there are elements.
                let at = match index(key) {
                    Err(why) => {
                        let why = format!("value was not a proper array index: '{key}': {why}");
                        return Ok(Err(why));
                    }
                    Ok(at) => match within(at, list.len().saturating_add(1)) {
                        Err(why) => return Ok(Err(why)),
                        Ok(at) => at,
                    },
                };
                costs.walk(list.len().saturating_sub(at))?;
                list.insert(at, value);
            }
        }
        Ok(Ok(()))
    }

    fn remove(&mut self, key: &str, costs: &mut Costs) -> Result<Result<Value, String>, Failure> {
        match self {
            Self::Object(map) => Ok(map
                .remove(key)
                .ok_or_else(|| format!("Unable to remove nonexistent key: {key}: missing value"))),
            Self::List(list) => match place(key, list.len()) {
                Err(why) => Ok(Err(why)),
                Ok(at) => {
                    costs.walk(list.len().saturating_sub(at))?;
                    Ok(Ok(list.remove(at)))
                }
            },
        }
    }
}

/// The element that a key names, of so many.
fn place(key: &str, length: usize) -> Result<usize, String> {
    within(index(key)?, length)
}

/// As Go's `strconv.Atoi`.
fn index(key: &str) -> Result<i64, String> {
    key.parse()
        .map_err(|_| format!("strconv.Atoi: parsing {key:?}: invalid syntax"))
}

/// A place that may be counted from the end.
fn within(index: i64, length: usize) -> Result<usize, String> {
    let invalid = || format!("Unable to access invalid index: {index}: invalid index referenced");
    let at = match usize::try_from(index) {
        Ok(at) => Some(at),
        Err(_) => usize::try_from(index.unsigned_abs())
            .ok()
            .and_then(|from_end| length.checked_sub(from_end)),
    };
    at.filter(|at| *at < length).ok_or_else(invalid)
}

/// A key as it is in the object.
fn unescaped(key: &str) -> String {
    // `~01` is `~1`: what has become a tilde is not looked at again.
    let mut text = String::with_capacity(key.len());
    let mut rest = key;
    while let Some(at) = rest.find('~') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("~1") {
            text.push('/');
            rest = after;
        } else if let Some(after) = rest.strip_prefix("~0") {
            text.push('~');
            rest = after;
        } else {
            text.push('~');
            rest = &rest[1..];
        }
    }
    text.push_str(rest);
    text
}
