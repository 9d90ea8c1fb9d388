//! Pieces of other servers' v2 documents: whether they are what they should be, and what they refer to.
//!
//! Clients read the merged document as a whole. One piece that they cannot read would take everything from them, this server's own
//! kinds too, so what is not as the tables say is refused, and what they do not know is left out.

use serde_json::{Map, Value};

use super::messages::{self, Encoding as E, Message};

const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";

/// Whose name a reference has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Definition,
    Parameter,
}

impl Target {
    fn prefix(self) -> &'static str {
        match self {
            Target::Definition => DEFINITIONS,
            Target::Parameter => PARAMETERS,
        }
    }
}

/// Why a document is refused: where, and what is wrong there.
pub(super) type Fault = String;

fn at(place: &str, fault: &str) -> Fault {
    match fault.starts_with(' ') {
        true => format!("{place}{fault}"),
        false => format!("{place}.{fault}"),
    }
}

fn not(what: &str) -> Fault {
    format!(" is not {what}")
}

/// What is known of a message, and extensions.
pub(super) fn known(of: &Message, value: Value) -> Result<Value, Fault> {
    let Value::Object(all) = value else {
        return Err(not("an object"));
    };
    let mut kept = Map::new();
    for (name, value) in all {
        // As Go reads it: absent.
        if value.is_null() {
            continue;
        }
        if name.starts_with("x-") {
            kept.insert(name, value);
            continue;
        }
        match of.field(&name) {
            Some(encoding) => {
                let value = field(encoding, value).map_err(|fault| at(&name, &fault))?;
                kept.insert(name, value);
            }
            None if name == "$ref" => {
                return Err(at(&name, " is neither to a definition nor to a parameter"));
            }
            None => {}
        }
    }
    Ok(kept.into())
}

/// What is known of a parameter, or of the reference to one.
pub(super) fn known_parameter(value: Value) -> Result<Value, Fault> {
    if let Some(reference) = value.get("$ref") {
        let reference = reference.as_str().unwrap_or_default();
        return match reference.starts_with(PARAMETERS) {
            true => Ok(serde_json::json!({"$ref": reference})),
            false => Err(at("$ref", " is not to a parameter")),
        };
    }
    let place = value["in"].as_str().unwrap_or_default();
    let (_, of) = messages::parameter(place)
        .ok_or_else(|| at("in", &not("body, query, path, header or formData")))?;
    known(of, value)
}

fn field(encoding: E, value: Value) -> Result<Value, Fault> {
    let is = |right: bool, what: &str| match right {
        true => Ok(()),
        false => Err(not(what)),
    };
    match encoding {
        E::String => is(value.is_string(), "a string")?,
        E::Bool => is(value.is_boolean(), "true or false")?,
        E::Integer => is(value.is_i64(), "an integer")?,
        E::Double => is(value.is_number(), "a number")?,
        E::Strings => is(are_strings(&value), "a list of strings")?,
        E::Any => {}
        E::Anys => is(value.is_array(), "a list")?,
        E::TypeMessage => is(
            value.is_string() || are_strings(&value),
            "a string or a list of strings",
        )?,
        E::Reference => is(
            value
                .as_str()
                .is_some_and(|text| text.starts_with(DEFINITIONS)),
            "a reference to a definition",
        )?,
        E::Message(of) | E::Wrapped(_, of) => return known(of, value),
        E::Messages(of) => return each(value, |one| known(of, one)),
        E::Elements(of) if value.is_array() => return each(value, |one| known(of, one)),
        E::Additional(_) if value.is_boolean() => {}
        E::Elements(of) | E::Additional(of) => return known(of, value),
        E::Parameters => return each(value, known_parameter),
        E::Named(_, of) => {
            let Value::Object(all) = value else {
                return Err(not("an object"));
            };
            let all = all.into_iter().map(|(name, value)| {
                let value = known(of, value).map_err(|fault| at(&name, &fault))?;
                Ok((name, value))
            });
            return all.collect::<Result<Map<_, _>, Fault>>().map(Value::from);
        }
    }
    Ok(value)
}

fn are_strings(value: &Value) -> bool {
    let all = value.as_array();
    all.is_some_and(|all| all.iter().all(Value::is_string))
}

fn each(value: Value, of: impl Fn(Value) -> Result<Value, Fault>) -> Result<Value, Fault> {
    let Value::Array(all) = value else {
        return Err(not("a list"));
    };
    all.into_iter().map(of).collect()
}

/// Whether clients can read a definition: kubectl takes no document in which one is otherwise.
pub(super) fn readable(schema: &Value) -> Result<(), Fault> {
    let has = |name: &str| schema.get(name).is_some();
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.as_slice(),
        Some(one) => std::slice::from_ref(one),
        None => &[],
    };
    if has("$ref") {
        return match types.is_empty() && !has("properties") {
            true => Ok(()),
            false => Err(" has a type beside a reference".to_owned()),
        };
    }
    let of = match types {
        [] => "object",
        [one] => one.as_str().unwrap_or_default(),
        _ => return Err(at("type", &not("one"))),
    };
    let under = |name: &str| match schema.get(name).filter(|value| value.is_object()) {
        Some(value) => readable(value).map_err(|fault| at(name, &fault)),
        None => Ok(()),
    };
    match of {
        "string" | "number" | "integer" | "boolean" => Ok(()),
        "array" => match schema.get("items") {
            Some(Value::Array(items)) if items.len() != 1 => Err(at("items", &not("one"))),
            Some(Value::Array(items)) => items.iter().try_for_each(readable),
            Some(_) => under("items"),
            None => Err(" is a list without items".to_owned()),
        },
        "object" => {
            for (name, property) in schema["properties"].as_object().into_iter().flatten() {
                readable(property).map_err(|fault| at(name, &fault))?;
            }
            under("additionalProperties")
        }
        other => Err(format!(" has the type {other:?}")),
    }
}

/// Shows each reference in a message: whose name it is, and the name, which may be changed.
pub(super) fn references(
    of: &Message,
    value: &mut Value,
    show: &mut dyn FnMut(Target, &mut String),
) {
    let Some(map) = value.as_object_mut() else {
        return;
    };
    for (name, value) in map {
        let Some(encoding) = of.field(name) else {
            continue;
        };
        match encoding {
            E::Reference => reference(Target::Definition, value, show),
            E::Message(of) | E::Wrapped(_, of) | E::Additional(of) => references(of, value, show),
            E::Messages(of) | E::Elements(of) => match value {
                Value::Array(all) => all.iter_mut().for_each(|one| references(of, one, show)),
                one => references(of, one, show),
            },
            E::Named(_, of) => {
                let all = value.as_object_mut().into_iter().flatten();
                all.for_each(|(_, one)| references(of, one, show));
            }
            E::Parameters => {
                let all = value.as_array_mut().into_iter().flatten();
                all.for_each(|one| parameter_references(one, show));
            }
            _ => {}
        }
    }
}

/// The same for a parameter.
pub(super) fn parameter_references(value: &mut Value, show: &mut dyn FnMut(Target, &mut String)) {
    match value.get_mut("$ref") {
        Some(value) => reference(Target::Parameter, value, show),
        None => references(&messages::BODY_PARAMETER, value, show),
    }
}

fn reference(target: Target, value: &mut Value, show: &mut dyn FnMut(Target, &mut String)) {
    let Value::String(text) = value else {
        return;
    };
    let prefix = target.prefix();
    let Some(mut name) = text.strip_prefix(prefix).map(str::to_owned) else {
        return;
    };
    show(target, &mut name);
    *text = format!("{prefix}{name}");
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use serde_json::json;

    use super::{
        super::messages::{PATH_ITEM, SCHEMA},
        *,
    };

    #[test]
    fn what_is_not_known_is_left_out() {
        let schema = json!({
            "type": "object", "x-kubernetes-group-version-kind": [{"kind": "A"}], "description": null, "contains": 5,
            "properties": {"a": {"type": ["string"], "minLength": 1, "default": {"$ref": 5}, "if": {}}},
            "additionalProperties": false, "items": [{}, {}], "anyOf": [{"not": {"nullable": true, "then": {}}}],
        });
        let wanted = json!({
            "type": "object", "x-kubernetes-group-version-kind": [{"kind": "A"}],
            "properties": {"a": {"type": ["string"], "minLength": 1, "default": {"$ref": 5}}},
            "additionalProperties": false, "items": [{}, {}], "anyOf": [{"not": {"nullable": true}}],
        });
        assert_eq!(known(&SCHEMA, schema), Ok(wanted));
    }

    #[test]
    fn what_is_of_another_type_is_refused() {
        let mut faults = String::new();
        let mut add = |result: Result<Value, Fault>| {
            faults.push_str(&result.expect_err("a fault"));
            faults.push('\n');
        };
        for schema in [
            json!(5),
            json!({"properties": {"a": {"items": {"type": 5}}}}),
            json!({"properties": []}),
            json!({"required": ["a", 1]}),
            json!({"maximum": "1", "type": "integer"}),
            json!({"minItems": 1.5}),
            json!({"additionalProperties": {"$ref": "https://example.com/x"}}),
            json!({"allOf": {"type": "string"}}),
            json!({"enum": "a"}),
        ] {
            add(known(&SCHEMA, schema));
        }
        for item in [
            json!({"$ref": "#/paths/~1apis"}),
            json!({"get": {"parameters": [{"in": "cookie", "name": "a"}]}}),
            json!({"get": {"parameters": [{"$ref": "#/definitions/a"}]}}),
            json!({"get": {"responses": {"200": {"$ref": "#/responses/a"}}}}),
        ] {
            add(known(&PATH_ITEM, item));
        }
        expect![[r#"
             is not an object
            properties.a.items.type is not a string or a list of strings
            properties is not an object
            required is not a list of strings
            maximum is not a number
            minItems is not an integer
            additionalProperties.$ref is not a reference to a definition
            allOf is not a list
            enum is not a list
            $ref is neither to a definition nor to a parameter
            get.parameters.in is not body, query, path, header or formData
            get.parameters.$ref is not to a parameter
            get.responses.200.$ref is neither to a definition nor to a parameter
        "#]]
        .assert_eq(&faults);
    }

    #[test]
    fn what_kubectl_cannot_read_is_refused() {
        for (schema, wanted) in [
            (json!({}), Ok(())),
            (json!({"properties": {"a": {"type": "string"}}}), Ok(())),
            (
                json!({"$ref": "#/definitions/a", "description": "b"}),
                Ok(()),
            ),
            (
                json!({"type": "array", "items": [{"type": "integer"}]}),
                Ok(()),
            ),
            (
                json!({"type": "object", "additionalProperties": true}),
                Ok(()),
            ),
            (json!({"anyOf": [{"type": "null"}]}), Ok(())),
            (json!({"type": "null"}), Err(" has the type \"null\"")),
            (
                json!({"type": ["string", "integer"]}),
                Err("type is not one"),
            ),
            (
                json!({"$ref": "#/definitions/a", "type": "object"}),
                Err(" has a type beside a reference"),
            ),
            (
                json!({"properties": {"a": {"type": "array"}}}),
                Err("a is a list without items"),
            ),
            (
                json!({"additionalProperties": {"items": [], "type": "array"}}),
                Err("additionalProperties.items is not one"),
            ),
        ] {
            assert_eq!(readable(&schema), wanted.map_err(str::to_owned), "{schema}");
        }
    }
}
