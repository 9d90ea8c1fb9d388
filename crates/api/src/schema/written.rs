//! What upstream's objects have where nobody set anything: the zero of a field that its Go type always writes, null where that is a
//! list, a map, a time or a pointer; and what they leave out, empty as it is.
//!
//! A Go client that reads an object and writes it back makes exactly this of it, so that an object which lacks a field would change
//! by that; and managed fields name what is written. Hence objects are completed as soon as they have their defaults, and again when
//! strategies and admission are done with them.

use std::{borrow::Cow, sync::LazyLock};

use serde_json::{Map, Value, json};

use super::{Definition, DefinitionRef, Field, Shape, Type, empty::is_zero, table};

/// What becomes of an empty list or map in a field that is always there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Empty {
    /// As upstream stores it.
    Null,
    /// It stays what somebody has asked for, and is whoever's that is.
    Kept,
    /// So it is in every field.
    KeptEverywhere,
}

/// Completes an object of a definition, as `io.k8s.api.core.v1.Pod`. Of types that are not in the table nothing is known.
pub fn complete(definition: &str, object: &mut Value) {
    complete_with(Empty::Null, definition, object);
}

/// As [`complete`], of an object that is asked for: what is empty in a field that is always there is not yet as if nobody had set it.
pub fn complete_asked(definition: &str, object: &mut Value) {
    complete_with(Empty::Kept, definition, object);
}

/// As [`complete_asked`], of a type that tells all that is empty from what is not there (see [`super::empty`]).
pub fn complete_telling(definition: &str, object: &mut Value) {
    complete_with(Empty::KeptEverywhere, definition, object);
}

fn complete_with(empty: Empty, definition: &str, object: &mut Value) {
    if let Some(definition) = table::find(definition).map(DefinitionRef::get)
        && let Some(map) = object.as_object_mut()
    {
        complete_struct(empty, definition, map);
    }
}

/// An object of a definition in which nobody has set anything: `metadata` alone where nothing is known of its type.
pub fn empty(definition: &str) -> &'static Value {
    static UNKNOWN: LazyLock<Value> = LazyLock::new(|| json!({"metadata": {}}));
    let Some(definition) = table::find(definition).map(DefinitionRef::get) else {
        return &UNKNOWN;
    };
    definition.empty.get_or_init(|| {
        let mut map = Map::from_iter([("metadata".to_owned(), json!({}))]);
        complete_struct(Empty::Null, definition, &mut map);
        Value::Object(map)
    })
}

fn complete_struct(empty: Empty, definition: &'static Definition, map: &mut Map<String, Value>) {
    map.retain(|name, value| match definition.field(name) {
        Some(field) => is_written(empty, field, value),
        None => true,
    });
    for place in places(definition) {
        let field = &definition.fields()[usize::from(*place)];
        if !map.contains_key(field.name) {
            map.insert(field.name.to_owned(), unset(field));
        }
    }
}

/// Left out all the same where nobody has set it: `kubectl wait` fails at once on conditions that are null, so that who makes a
/// definition and waits for it would depend on luck, as with upstream's server.
const LEFT_OUT: (&str, &str) = (
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
    "conditions",
);

/// The kind whose status that is.
const LEFT_OUT_OF: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition";

/// A stored object with the null that is left out: who comes to own a field follows from what upstream has.
pub fn with_left_out<'v>(definition: &str, object: &'v Value) -> Cow<'v, Value> {
    if definition != LEFT_OUT_OF || object.pointer("/status/conditions").is_some() {
        return Cow::Borrowed(object);
    }
    let mut object = object.clone();
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.insert(LEFT_OUT.1.to_owned(), Value::Null);
    }
    Cow::Owned(object)
}

/// The places of the fields that are always there.
fn places(definition: &'static Definition) -> &'static [u16] {
    let written = &definition.written;
    written.get_or_init(|| written_of(definition.name, definition.fields()))
}

fn written_of(definition: &str, fields: &[Field]) -> Box<[u16]> {
    let places = (0u16..).zip(fields);
    places
        .filter(|(_, field)| is_always_there(field))
        .filter(|(_, field)| (definition, field.name) != LEFT_OUT)
        .map(|(place, _)| place)
        .collect()
}

/// The quantities that objects of a definition always have.
pub(super) fn quantities(definition: &'static Definition) -> impl Iterator<Item = &'static str> {
    let fields = places(definition)
        .iter()
        .map(|place| &definition.fields()[usize::from(*place)]);
    let is_quantity = |field: &&Field| match &field.schema.ty {
        Type::Ref(reference) => matches!(reference.get().shape, Shape::Quantity),
        _ => false,
    };
    fields.filter(is_quantity).map(|field| field.name)
}

fn is_always_there(field: &Field) -> bool {
    (field.present && !field.omits_zero) || field.written_null
}

/// Completes what is in a field. False: it is not written as it is.
fn is_written(empty: Empty, field: &Field, value: &mut Value) -> bool {
    complete_value(empty, &field.schema.ty, value);
    let keeps = match empty {
        Empty::Null => false,
        Empty::Kept => is_always_there(field),
        Empty::KeptEverywhere => true,
    };
    let is_empty = match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty() && !keeps,
        Value::Object(map) if keeps && map.is_empty() => false,
        Value::Object(map) => map.is_empty() && matches!(field.schema.ty, Type::Map(_)),
        value => field.omits_zero && is_zero(value),
    };
    !is_empty
}

fn complete_value(empty: Empty, ty: &Type, value: &mut Value) {
    match (ty, value) {
        (Type::List(element), Value::Array(list)) => {
            for value in list {
                complete_value(empty, &element.ty, value);
            }
        }
        (Type::Map(element), Value::Object(map)) => {
            for value in map.values_mut() {
                complete_value(empty, &element.ty, value);
            }
        }
        (Type::Ref(reference), Value::Object(map)) => {
            let definition = reference.get();
            if matches!(definition.shape, Shape::Struct(_)) {
                complete_struct(empty, definition, map);
            }
        }
        _ => {}
    }
}

/// What a field holds that is always there.
fn unset(field: &Field) -> Value {
    if field.written_null {
        return Value::Null;
    }
    match &field.schema.ty {
        Type::String | Type::Bytes => json!(""),
        Type::Int32 | Type::Int64 | Type::Double => json!(0),
        Type::Bool => json!(false),
        Type::List(_) | Type::Map(_) => Value::Null,
        Type::Ref(reference) => {
            let definition = reference.get();
            match definition.shape {
                Shape::Struct(_) => {
                    let mut map = Map::new();
                    complete_struct(Empty::Null, definition, &mut map);
                    Value::Object(map)
                }
                Shape::Quantity => json!("0"),
                Shape::IntOrString => json!(0),
                Shape::Time | Shape::MicroTime | Shape::AnyObject | Shape::Any => Value::Null,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_nothing_is_made_once() {
        let binding = "io.k8s.api.core.v1.Binding";
        assert_eq!(*empty(binding), json!({"metadata": {}, "target": {}}));
        assert!(std::ptr::eq(empty(binding), empty(binding)));
        assert_eq!(*empty("com.example.Thing"), json!({"metadata": {}}));
    }

    #[test]
    fn what_is_asked_for_is_empty_before_it_is_null() {
        let role = "io.k8s.api.rbac.v1.Role";
        for (asked, wanted) in [
            (json!({"rules": []}), json!({"metadata": {}, "rules": []})),
            (
                json!({"rules": null}),
                json!({"metadata": {}, "rules": null}),
            ),
            // Where it may be left out, it is.
            (
                json!({"rules": [{"verbs": [], "resources": []}]}),
                json!({"metadata": {}, "rules": [{"verbs": []}]}),
            ),
        ] {
            let mut object = asked;
            complete_asked(role, &mut object);
            assert_eq!(object, wanted);
        }
    }

    #[test]
    fn what_upstream_always_writes_is_there() {
        let cases = [
            (
                "io.k8s.api.core.v1.Event",
                json!({"involvedObject": {}}),
                json!({
                    "eventTime": null, "firstTimestamp": null, "lastTimestamp": null, "involvedObject": {},
                    "metadata": {}, "reportingComponent": "", "reportingInstance": "", "source": {},
                }),
            ),
            // A struct in a list, a list in a map, and what is left out as it is empty.
            (
                "io.k8s.api.rbac.v1.Role",
                json!({"metadata": {"labels": {}, "name": ""}, "rules": [{"resources": []}]}),
                json!({"metadata": {}, "rules": [{"verbs": null}]}),
            ),
            (
                "io.k8s.api.rbac.v1.Role",
                json!({"rules": []}),
                json!({"metadata": {}, "rules": null}),
            ),
            (
                "io.k8s.api.core.v1.Pod",
                json!({"spec": {"hostNetwork": false, "containers": [{"name": "a", "env": []}]}, "status": null}),
                json!({
                    "metadata": {}, "status": {},
                    "spec": {"containers": [{"name": "a", "resources": {}}]},
                }),
            ),
            (
                "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinitionStatus",
                json!({}),
                json!({"acceptedNames": {"kind": "", "plural": ""}, "storedVersions": null}),
            ),
            ("com.example.Thing", json!({"a": []}), json!({"a": []})),
        ];
        for (definition, mut object, wanted) in cases {
            complete(definition, &mut object);
            assert_eq!(object, wanted, "{definition}");
            complete(definition, &mut object);
            assert_eq!(object, wanted, "{definition}, again");
        }
    }
}
