//! One schema, for both sides: JSON in the form of upstream's schemas, and types of knarr made of it.

use knarr_apply::{
    Deduced, Opaque, Schema, Versions,
    schema::{Atom, Field, ListType, MapType, Scalar},
};
use serde_json::{Map, Value, json};

const DEDUCED: &str = "__untyped_deduced_";
const OPAQUE: &str = "__untyped_atomic_";

/// The schema as the program reads it.
pub fn text() -> String {
    let scalar = |name: &str| json!({"scalar": name});
    let list = |element: Value, relation: &str, keys: &[&str]| {
        let mut list = json!({"elementType": element, "elementRelationship": relation});
        if !keys.is_empty() {
            list["keys"] = json!(keys);
        }
        json!({"list": list})
    };
    let field = |name: &str, ty: Value| json!({"name": name, "type": ty});
    let item = json!({"map": {"fields": [
        field("name", scalar("string")),
        field("value", scalar("string")),
        field("ports", list(json!({"namedType": "port"}), "associative", &["port", "protocol"])),
        field("args", list(scalar("string"), "atomic", &[])),
        field("env", json!({"map": {"elementType": scalar("string")}})),
    ]}});
    let port = json!({"map": {"fields": [
        field("port", scalar("numeric")),
        {"name": "protocol", "type": scalar("string"), "default": "TCP"},
        field("note", scalar("string")),
    ]}});
    let nested = json!({"map": {"fields": [
        field("text", scalar("string")),
        field("labels", json!({"map": {"elementType": scalar("string")}})),
        field("items", list(json!({"namedType": "item"}), "associative", &["name"])),
    ]}});
    let object = |renamed: &str| {
        json!({"map": {"fields": [
            field("name", scalar("string")),
            field("count", scalar("numeric")),
            field("flag", scalar("boolean")),
            field("any", json!({"namedType": DEDUCED})),
            field("raw", json!({"namedType": OPAQUE})),
            field(renamed, json!({"map": {"elementType": scalar("string")}})),
            field("fixed", json!({"map": {"elementType": scalar("string"), "elementRelationship": "atomic"}})),
            field("words", list(scalar("string"), "atomic", &[])),
            field("tags", list(scalar("string"), "associative", &[])),
            field("numbers", list(scalar("numeric"), "associative", &[])),
            field("items", list(json!({"namedType": "item"}), "associative", &["name"])),
            field("nested", json!({"namedType": "nested"})),
            field("whole", json!({"namedType": "nested", "elementRelationship": "atomic"})),
            field("status", json!({"namedType": "nested"})),
        ]}})
    };
    let named = |name: &str, mut ty: Value| {
        ty["name"] = json!(name);
        ty
    };
    let untyped = |name: &str, relation: &str| {
        json!({
            "name": name,
            "scalar": "untyped",
            "list": {"elementType": {"namedType": OPAQUE}, "elementRelationship": "atomic"},
            "map": {"elementType": {"namedType": name}, "elementRelationship": relation},
        })
    };
    json!({"types": [
        named("v1", object("alpha")),
        named("v2", object("beta")),
        named("item", item),
        named("port", port),
        named("nested", nested),
        untyped(DEDUCED, "separable"),
        untyped(OPAQUE, "atomic"),
    ]})
    .to_string()
}

/// The types of both versions.
pub struct Types {
    v1: Type,
    v2: Type,
}

/// A type, with all that it is made of.
enum Type {
    Deduced,
    Opaque,
    Known {
        atom: Atom,
        element: Option<Box<Type>>,
        keys: Vec<String>,
        fields: Vec<(String, Type, Option<Value>)>,
        undeclared: Option<Box<Type>>,
    },
}

impl Types {
    pub fn new() -> Types {
        let schema: Value = serde_json::from_str(&text()).expect("JSON");
        let types = schema["types"].as_array().expect("types");
        let named = |name: &str| json!({"namedType": name});
        Types {
            v1: Type::read(types, &named("v1")),
            v2: Type::read(types, &named("v2")),
        }
    }
}

impl Versions for Types {
    fn schema(&self, version: &str) -> Option<&dyn Schema> {
        match version {
            "v1" => Some(&self.v1),
            "v2" => Some(&self.v2),
            _ => None,
        }
    }

    fn convert(&self, object: &Value, from: &str, to: &str) -> Result<Value, String> {
        let renamed = match (from, to) {
            ("v1", "v2") => ("alpha", "beta"),
            ("v2", "v1") => ("beta", "alpha"),
            _ => return Err(format!("from {from} to {to}")),
        };
        let mut converted = Map::new();
        for (name, value) in object.as_object().into_iter().flatten() {
            let name = if name == renamed.0 { renamed.1 } else { name };
            converted.insert(name.to_owned(), value.clone());
        }
        Ok(Value::Object(converted))
    }
}

impl Type {
    fn read(types: &[Value], reference: &Value) -> Type {
        let inlined = match reference["namedType"].as_str() {
            Some(DEDUCED) => return Type::Deduced,
            Some(OPAQUE) => return Type::Opaque,
            Some(name) => types.iter().find(|ty| ty["name"] == name).expect("a type"),
            None => reference,
        };
        let (map, list) = (&inlined["map"], &inlined["list"]);
        let relation = reference["elementRelationship"]
            .as_str()
            .or(map["elementRelationship"].as_str());
        let keys: Vec<String> = serde_json::from_value(list["keys"].clone()).unwrap_or_default();
        let atom = Atom {
            map: map.is_object().then_some(match relation {
                Some("atomic") => MapType::Atomic,
                _ => MapType::Granular,
            }),
            scalar: inlined["scalar"].as_str().map(|scalar| match scalar {
                "numeric" => Scalar::Numeric,
                "string" => Scalar::String,
                "boolean" => Scalar::Boolean,
                _ => Scalar::Untyped,
            }),
            list: list
                .is_object()
                .then_some(match list["elementRelationship"].as_str() {
                    Some("atomic") => ListType::Atomic,
                    _ if keys.is_empty() => ListType::Set,
                    _ => ListType::Map,
                }),
        };
        let boxed = |reference: &Value| {
            reference
                .is_object()
                .then(|| Box::new(Type::read(types, reference)))
        };
        let fields = map["fields"].as_array().into_iter().flatten();
        Type::Known {
            atom,
            element: boxed(&list["elementType"]),
            keys,
            fields: fields
                .map(|field| {
                    (
                        field["name"].as_str().expect("a name").to_owned(),
                        Type::read(types, &field["type"]),
                        field.get("default").cloned(),
                    )
                })
                .collect(),
            undeclared: boxed(&map["elementType"]),
        }
    }
}

impl Schema for Type {
    fn atom(&self) -> Atom {
        match self {
            Type::Deduced => Deduced.atom(),
            Type::Opaque => Opaque.atom(),
            Type::Known { atom, .. } => *atom,
        }
    }

    fn element(&self) -> &dyn Schema {
        match self {
            Type::Known {
                element: Some(element),
                ..
            } => &**element,
            _ => &Opaque,
        }
    }

    fn key(&self, index: usize) -> Option<&str> {
        match self {
            Type::Known { keys, .. } => keys.get(index).map(String::as_str),
            _ => None,
        }
    }

    fn field(&self, name: &str) -> Option<Field<'_>> {
        let Type::Known { fields, .. } = self else {
            return None;
        };
        let (_, schema, default) = fields.iter().find(|(field, ..)| field == name)?;
        Some(Field {
            schema,
            default: default.as_ref(),
            absent: None,
        })
    }

    fn undeclared(&self) -> Option<&dyn Schema> {
        match self {
            Type::Deduced => Deduced.undeclared(),
            Type::Opaque => Opaque.undeclared(),
            Type::Known { undeclared, .. } => undeclared.as_deref().map(|ty| ty as &dyn Schema),
        }
    }

    fn is_deduced(&self) -> bool {
        matches!(self, Type::Deduced)
    }
}
