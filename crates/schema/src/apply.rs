//! Structural schemas as server-side apply merges by them: upstream's conversion of OpenAPI documents (`schemaconv`).
//!
//! As there, everything below what keeps unknown fields may have such: a list that keeps them keeps those of its items. Pruning is
//! stricter in places; what it takes is gone from the object, not an error of who applied it.

use knarr_apply::{
    Deduced, Opaque,
    schema::{self as apply, Atom, Field, MapType, Scalar},
};

use crate::{Additional, ListType, Schema, Type};

impl Schema {
    fn scalar(&self) -> Option<Scalar> {
        let format = self.values.as_ref().map_or("", |values| &*values.format);
        match self.ty {
            None => Some(Scalar::Untyped),
            Some(Type::Boolean) => Some(Scalar::Boolean),
            Some(Type::Integer | Type::Number) => Some(Scalar::Numeric),
            Some(Type::String) if matches!(format, "" | "byte") => Some(Scalar::String),
            Some(Type::String) => Some(Scalar::Untyped),
            Some(Type::Array | Type::Object) => None,
        }
    }
}

impl apply::Schema for Schema {
    fn atom(&self) -> Atom {
        let may_be = |ty: Type| self.ty.is_none_or(|own| own == ty);
        Atom {
            scalar: self.scalar(),
            map: may_be(Type::Object).then_some(match self.atomic_map {
                true => MapType::Atomic,
                false => MapType::Granular,
            }),
            list: may_be(Type::Array).then_some(match self.list_type {
                ListType::Atomic => apply::ListType::Atomic,
                ListType::Set => apply::ListType::Set,
                ListType::Map => apply::ListType::Map,
            }),
        }
    }

    fn element(&self) -> &dyn apply::Schema {
        match &self.items {
            Some(items) => &**items,
            None => &Opaque,
        }
    }

    fn key(&self, index: usize) -> Option<&str> {
        self.list_map_keys.get(index).map(|key| &**key)
    }

    fn field(&self, name: &str) -> Option<Field<'_>> {
        let declared = |schema| Field {
            schema,
            default: None,
            absent: None,
        };
        match self.property(name) {
            Some(schema) => Some(Field {
                default: schema.default.as_ref().map(|default| &default.value),
                ..declared(schema)
            }),
            None if self.embedded && matches!(name, "apiVersion" | "kind" | "metadata") => {
                Some(declared(&Deduced))
            }
            None => None,
        }
    }

    fn undeclared(&self) -> Option<&dyn apply::Schema> {
        match &self.additional {
            Additional::Of(schema) => Some(&**schema),
            Additional::Any(true) => Some(&Deduced),
            Additional::Any(false) => None,
            Additional::Unsaid => {
                let any = self.within_unknown || self.properties().next().is_none();
                any.then_some(&Deduced)
            }
        }
    }

    fn is_deduced(&self) -> bool {
        let any = matches!(self.additional, Additional::Any(true) | Additional::Unsaid);
        any && self.properties().next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use knarr_apply::typed::{self, Duplicates};
    use serde_json::{Value, json};

    use super::*;

    fn schema() -> Schema {
        let string = json!({"type": "string"});
        let props = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
            "text": string,
            "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": string},
            "words": {"type": "array", "items": string},
            "ports": {
                "type": "array",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["port", "protocol"],
                "items": {"type": "object", "properties": {
                    "port": {"type": "integer"},
                    "protocol": {"type": "string", "default": "TCP"},
                }},
            },
            "labels": {"type": "object", "additionalProperties": string},
            "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "additionalProperties": string},
            "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            "either": {"x-kubernetes-int-or-string": true},
        }}}});
        Schema::parse(&props)
            .expect("a structural schema")
            .as_root()
    }

    fn object() -> Value {
        json!({
            "apiVersion": "example.com/v1",
            "kind": "Widget",
            "metadata": {"name": "a"},
            "spec": {
                "text": "a",
                "tags": ["a"],
                "words": ["a"],
                "ports": [{"port": 1}],
                "labels": {"a": "b"},
                "whole": {"a": "b"},
                "any": {"a": {"b": [1]}},
                "either": "25%",
            },
        })
    }

    #[test]
    fn fields_are_owned_as_the_marks_say() {
        let (schema, object) = (schema(), object());
        assert_eq!(
            typed::validate(&object, &schema, Duplicates::Refused),
            Ok(())
        );
        let set = typed::field_set(&object, &schema).expect("a valid object");
        assert_eq!(
            set.to_json()["f:spec"],
            json!({
                "f:text": {},
                "f:tags": {"v:\"a\"": {}},
                "f:words": {},
                "f:ports": {"k:{\"port\":1,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}},
                "f:labels": {"f:a": {}},
                "f:whole": {},
                "f:any": {"f:a": {".": {}, "f:b": {}}},
                "f:either": {},
            })
        );
    }

    #[test]
    fn below_what_keeps_unknown_fields_any_may_be() {
        let known = json!({"type": "object", "properties": {"a": {"type": "string"}}});
        let keeping = |mut schema: Value| {
            schema["x-kubernetes-preserve-unknown-fields"] = json!(true);
            schema
        };
        let props = json!({"type": "object", "properties": {
            "list": keeping(json!({"type": "array", "items": known})),
            "map": keeping(json!({"type": "object", "properties": {"inner": known}})),
            "strict": known,
        }});
        let schema = Schema::parse(&props).expect("a structural schema");
        let other = json!({"a": "x", "other": 1});
        for (object, refused) in [
            (json!({"list": [other]}), None),
            (json!({"map": {"inner": other}}), None),
            (
                json!({"list": [{"a": 1}]}),
                Some(".list[0].a: expected string"),
            ),
            (
                json!({"strict": other}),
                Some(".strict.other: field not declared in schema"),
            ),
        ] {
            let checked = typed::validate(&object, &schema, Duplicates::Refused);
            let why = checked.err().map(|why| why.to_string());
            assert_eq!(why.is_some(), refused.is_some(), "{object}: {why:?}");
            assert!(
                why.unwrap_or_default()
                    .starts_with(refused.unwrap_or_default())
            );
        }
    }

    #[test]
    fn what_the_schema_does_not_have_is_refused() {
        let mut object = object();
        object["spec"]["other"] = json!(1);
        let why = typed::validate(&object, &schema(), Duplicates::Refused).unwrap_err();
        assert_eq!(why.to_string(), ".spec.other: field not declared in schema");
    }
}
