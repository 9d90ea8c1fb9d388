//! Makes an object wrong, or other, in one place: by what stands there, and by what the type of its kind allows.

use fastrand::Rng;
use knarr_api::schema::{Schema, Shape, Type};
use serde_json::{Map, Value, json};

/// How deep a made value goes.
const MADE_DEPTH: usize = 3;
const LONG_TEXT_BYTES: usize = 300;
const LONG_LIST_ITEMS: usize = 70;

const TEXTS: [&str; 22] = [
    "",
    " ",
    "x",
    "abc",
    "Upper",
    "under_score",
    "-start",
    "end-",
    "a.b.example.com",
    "a/b",
    "a//b",
    "/absolute",
    "../up",
    "ümlaut",
    "*",
    "10.0.0.1",
    "010.0.0.1",
    "::ffff:10.0.0.1",
    "10.0.0.0/33",
    "1Gi",
    "-1",
    "true",
];
const QUANTITIES: [&str; 8] = ["0", "-1", "1.5", "100m", "1Gi", "1e3", "abc", ""];
const TIMES: [&str; 4] = [
    "2026-01-01T00:00:00Z",
    "2026-01-01",
    "",
    "2026-01-01T00:00:00.123456+02:00",
];
const NUMBERS: [i64; 10] = [0, 1, 2, -1, 5, 100, 101, 65_535, 65_536, 2_147_483_648];

/// A step from an object to what is in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Field(String),
    Item(usize),
}

/// A change in one place.
#[derive(Clone, Debug)]
pub struct Mutation {
    pub path: Vec<Step>,
    /// What stands there now; `None`: nothing.
    pub value: Option<Value>,
    /// Whether something stood there.
    pub existed: bool,
}

impl Mutation {
    /// As a JSON patch.
    pub fn json_patch(&self) -> Value {
        let path = pointer(&self.path);
        match &self.value {
            None => json!([{"op": "remove", "path": path}]),
            Some(value) if self.existed => json!([{"op": "replace", "path": path, "value": value}]),
            Some(value) => json!([{"op": "add", "path": path, "value": value}]),
        }
    }

    /// As a merge patch to the `changed` object: a list is there as a whole.
    pub fn merge_patch(&self, changed: &Value) -> Value {
        let fields: Vec<&str> = self
            .path
            .iter()
            .map_while(|step| match step {
                Step::Field(name) => Some(name.as_str()),
                Step::Item(_) => None,
            })
            .collect();
        let pointer: String = fields
            .iter()
            .map(|name| format!("/{}", escaped(name)))
            .collect();
        let leaf = changed.pointer(&pointer).cloned().unwrap_or_default();
        fields
            .into_iter()
            .rev()
            .fold(leaf, |inner, name| json!({name: inner}))
    }

    /// For people.
    pub fn label(&self) -> String {
        let value = match &self.value {
            Some(value) => value.to_string(),
            None => "removed".to_owned(),
        };
        format!("{} = {value}", pointer(&self.path))
    }
}

/// RFC 6901.
pub fn pointer(path: &[Step]) -> String {
    path.iter()
        .map(|step| match step {
            Step::Field(name) => format!("/{}", escaped(name)),
            Step::Item(index) => format!("/{index}"),
        })
        .collect()
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A place in an object, and its type where that is known.
pub struct Place {
    pub path: Vec<Step>,
    schema: Option<&'static Schema>,
}

/// Changes a random place below `root`, a field of the object, or anywhere but its type.
pub fn mutate(
    rng: &mut Rng,
    object: &mut Value,
    schema: Option<&'static Schema>,
    root: Option<&str>,
) -> Option<Mutation> {
    let mut places = places(object, schema, root)?;
    if places.is_empty() {
        return None;
    }
    let place = places.swap_remove(rng.usize(..places.len()));
    let here = object.pointer(&pointer(&place.path))?.clone();
    let mutation = change(rng, place, &here);
    apply(object, &mutation)?;
    Some(mutation)
}

/// All places below `root`, a field of the object, or all but those of its type; `None` where the field is not there.
pub fn places(
    object: &Value,
    schema: Option<&'static Schema>,
    root: Option<&str>,
) -> Option<Vec<Place>> {
    let mut places = Vec::new();
    let mut path = Vec::new();
    let (mut schema, mut start) = (schema, object);
    if let Some(field) = root {
        schema = field_schema(schema, field);
        start = start.get(field)?;
        path.push(Step::Field(field.to_owned()));
    }
    visit(start, schema, &mut path, &mut places);
    Some(places)
}

fn visit(
    value: &Value,
    schema: Option<&'static Schema>,
    path: &mut Vec<Step>,
    places: &mut Vec<Place>,
) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map {
                let of_type = path.is_empty() && matches!(name.as_str(), "apiVersion" | "kind");
                let own = path.len() == 1 && matches!(name.as_str(), "resourceVersion" | "uid");
                // The status has requests of its own.
                let status = path.is_empty() && name == "status";
                if of_type || own || status {
                    continue;
                }
                path.push(Step::Field(name.clone()));
                visit(inner, field_schema(schema, name), path, places);
                path.pop();
            }
        }
        Value::Array(list) => {
            for (index, inner) in list.iter().enumerate() {
                path.push(Step::Item(index));
                visit(inner, element_schema(schema), path, places);
                path.pop();
            }
        }
        _ => {}
    }
    if !path.is_empty() {
        places.push(Place {
            path: path.clone(),
            schema,
        });
    }
}

pub fn field_schema(schema: Option<&'static Schema>, name: &str) -> Option<&'static Schema> {
    match &schema?.ty {
        Type::Map(element) => Some(&**element),
        Type::Ref(reference) => reference.get().field(name).map(|field| &field.schema),
        _ => None,
    }
}

pub fn element_schema(schema: Option<&'static Schema>) -> Option<&'static Schema> {
    match &schema?.ty {
        Type::List(element) => Some(&**element),
        _ => None,
    }
}

/// What becomes of the value `here`.
fn change(rng: &mut Rng, place: Place, here: &Value) -> Mutation {
    let Place { mut path, schema } = place;
    let replaced = |path, value| Mutation {
        path,
        value,
        existed: true,
    };
    match rng.u8(..100) {
        0..15 if path.len() > 1 => return replaced(path, None),
        15..20 => return replaced(path, Some(Value::Null)),
        20..24 => return replaced(path, Some(wrong_type(here))),
        _ => {}
    }
    match here {
        Value::Object(map) => {
            let (name, value) = added(rng, map, schema);
            let existed = map.contains_key(&name);
            path.push(Step::Field(name));
            Mutation {
                path,
                value: Some(value),
                existed,
            }
        }
        Value::Array(list) => {
            let list = other_list(rng, list, element_schema(schema));
            replaced(path, Some(list))
        }
        _ => {
            let value = match schema {
                Some(schema) if rng.u8(..100) < 70 => made(rng, schema, 0),
                _ => other_scalar(rng, here),
            };
            replaced(path, Some(value))
        }
    }
}

fn wrong_type(here: &Value) -> Value {
    match here {
        Value::String(_) => json!(7),
        Value::Number(_) => json!("seven"),
        Value::Bool(_) => json!("true"),
        Value::Array(_) => json!({"a": "b"}),
        Value::Object(_) | Value::Null => json!(["a"]),
    }
}

fn other_scalar(rng: &mut Rng, here: &Value) -> Value {
    match here {
        Value::Number(_) => json!(NUMBERS[rng.usize(..NUMBERS.len())]),
        Value::Bool(set) => json!(!set),
        _ => some_text(rng),
    }
}

fn some_text(rng: &mut Rng) -> Value {
    match rng.usize(..TEXTS.len() + 1) {
        n if n < TEXTS.len() => json!(TEXTS[n]),
        _ => json!("a".repeat(LONG_TEXT_BYTES)),
    }
}

/// A field or key more: one of the type that is not there, one that nobody knows, or a key of a map.
fn added(
    rng: &mut Rng,
    map: &Map<String, Value>,
    schema: Option<&'static Schema>,
) -> (String, Value) {
    if let Some(schema) = schema {
        if let Type::Map(element) = &schema.ty {
            let keys = [
                "key",
                "bad key!",
                "-a",
                "",
                "a/b/c",
                "example.com/",
                "UPPER.example.com/x",
            ];
            return (
                keys[rng.usize(..keys.len())].to_owned(),
                made(rng, element, 1),
            );
        }
        if let Some(definition) = schema.definition() {
            let absent: Vec<_> = definition
                .fields()
                .iter()
                .filter(|field| !map.contains_key(field.name))
                .filter(|field| !matches!(field.name, "managedFields" | "status" | "selfLink"))
                .collect();
            if !absent.is_empty() && rng.u8(..100) < 93 {
                let field = absent[rng.usize(..absent.len())];
                return (field.name.to_owned(), made(rng, &field.schema, 1));
            }
        }
    }
    ("bogus".to_owned(), json!(1))
}

fn other_list(rng: &mut Rng, list: &[Value], element: Option<&'static Schema>) -> Value {
    let mut list = list.to_vec();
    let first = list.first().cloned();
    match (rng.u8(..6), first) {
        (0, _) => list.clear(),
        (1, Some(first)) => list.push(first),
        (2, _) => list.push(Value::Null),
        (3, Some(first)) if rng.bool() => {
            list.extend(std::iter::repeat_n(first, LONG_LIST_ITEMS));
        }
        (_, first) => {
            let more = match (element, first) {
                (Some(element), _) => made(rng, element, 1),
                (None, Some(first)) => first,
                (None, None) => json!("x"),
            };
            list.push(more);
        }
    }
    Value::from(list)
}

/// A value of a type, valid or nearly so.
fn made(rng: &mut Rng, schema: &'static Schema, depth: usize) -> Value {
    let values = schema.values();
    match &schema.ty {
        Type::String if !values.is_empty() && rng.u8(..100) < 80 => {
            json!(values[rng.usize(..values.len())])
        }
        Type::String => some_text(rng),
        Type::Bytes => json!(["", "AAEC", "no base64!"][rng.usize(..3)]),
        Type::Int32 | Type::Int64 => json!(NUMBERS[rng.usize(..NUMBERS.len())]),
        Type::Double => json!(0.5),
        Type::Bool => json!(rng.bool()),
        Type::List(element) => match depth {
            MADE_DEPTH.. => json!([]),
            _ => (0..rng.usize(..3))
                .map(|_| made(rng, element, depth + 1))
                .collect(),
        },
        Type::Map(element) => json!({"key": made(rng, element, depth + 1)}),
        Type::Ref(reference) => made_definition(rng, *reference, depth),
    }
}

fn made_definition(
    rng: &mut Rng,
    reference: knarr_api::schema::DefinitionRef,
    depth: usize,
) -> Value {
    match &reference.get().shape {
        Shape::Struct(fields) => {
            let mut map = Map::new();
            for field in fields.iter() {
                let wanted = match field.required {
                    true => rng.u8(..100) < 90,
                    false => depth < MADE_DEPTH && rng.u8(..100) < 25,
                };
                if wanted && depth <= MADE_DEPTH {
                    map.insert(field.name.to_owned(), made(rng, &field.schema, depth + 1));
                }
            }
            Value::Object(map)
        }
        Shape::Time | Shape::MicroTime => json!(TIMES[rng.usize(..TIMES.len())]),
        Shape::Quantity => json!(QUANTITIES[rng.usize(..QUANTITIES.len())]),
        Shape::IntOrString => match rng.usize(..6) {
            0 => json!(0),
            1 => json!(-1),
            2 => json!(80),
            3 => json!("http"),
            4 => json!("150%"),
            _ => some_text(rng),
        },
        Shape::AnyObject | Shape::Any => json!({"a": 1}),
    }
}

fn apply(object: &mut Value, mutation: &Mutation) -> Option<()> {
    let (last, before) = mutation.path.split_last()?;
    let parent = object.pointer_mut(&pointer(before))?;
    match (last, &mutation.value) {
        (Step::Field(name), Some(value)) => {
            parent.as_object_mut()?.insert(name.clone(), value.clone());
        }
        (Step::Field(name), None) => {
            parent.as_object_mut()?.remove(name);
        }
        (Step::Item(index), Some(value)) => {
            *parent.as_array_mut()?.get_mut(*index)? = value.clone()
        }
        (Step::Item(index), None) => {
            let list = parent.as_array_mut()?;
            (*index < list.len()).then(|| list.remove(*index))?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> Value {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"},
            "spec": {"ports": [{"port": 80}], "selector": {"a/b": "c"}},
        })
    }

    #[test]
    fn a_seed_makes_the_same_changes() {
        let schema = knarr_api::schema::definition("io.k8s.api.core.v1.Service");
        let run = || -> Vec<String> {
            let mut rng = Rng::with_seed(7);
            let changes = (0..200).filter_map(|_| mutate(&mut rng, &mut object(), schema, None));
            changes.map(|change| change.label()).collect()
        };
        let labels = run();
        assert_eq!(labels, run());
        assert!(labels.len() > 190, "{}", labels.len());
        // Fields that the object has not are tried, too.
        assert!(
            labels
                .iter()
                .any(|label| label.starts_with("/spec/sessionAffinity"))
        );
        assert!(!labels.iter().any(|label| label.starts_with("/kind")));
    }

    #[test]
    fn a_change_is_the_same_as_a_patch() {
        let field = |name: &str| Step::Field(name.to_owned());
        let cases = [
            (
                vec![field("spec"), field("ports"), Step::Item(0), field("port")],
                Some(json!(0)),
                json!([{"op": "replace", "path": "/spec/ports/0/port", "value": 0}]),
                json!({"spec": {"ports": [{"port": 0}]}}),
            ),
            (
                vec![field("spec"), field("selector"), field("a/b")],
                None,
                json!([{"op": "remove", "path": "/spec/selector/a~1b"}]),
                json!({"spec": {"selector": {"a/b": null}}}),
            ),
        ];
        for (path, value, json_patch, merge_patch) in cases {
            let mutation = Mutation {
                path,
                value,
                existed: true,
            };
            let mut changed = object();
            apply(&mut changed, &mutation).unwrap();
            assert_eq!(mutation.json_patch(), json_patch);
            assert_eq!(mutation.merge_patch(&changed), merge_patch);
        }
    }
}
