//! OpenAPI v2 as protobuf: the messages of `openapi.v2.Document`, the form that clients written in Go decode fastest.
//!
//! The messages mirror the JSON document, so they are described by tables ([`super::messages`]) and written straight from the JSON
//! pieces.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::messages::{self, Encoding as E, INFO, Message, NONE, PATH_ITEM, SCHEMA};

/// A document that grows piece by piece.
pub(super) struct Document {
    head: Vec<u8>,
    paths: Vec<u8>,
    definitions: Vec<u8>,
    parameters: Vec<u8>,
}

impl Document {
    pub(super) fn new(info: &Value) -> Self {
        let mut head = Vec::new();
        bytes(&mut head, 1, b"2.0");
        message(&mut head, 2, &INFO, info);
        Document {
            head,
            paths: Vec::new(),
            definitions: Vec::new(),
            parameters: Vec::new(),
        }
    }

    pub(super) fn path(&mut self, path: &str, item: &Value) {
        named(&mut self.paths, 2, path, 0, &PATH_ITEM, item);
    }

    pub(super) fn definition(&mut self, name: &str, schema: &Value) {
        named(&mut self.definitions, 1, name, 0, &SCHEMA, schema);
    }

    /// One that operations refer to.
    pub(super) fn parameter(&mut self, name: &str, value: &Value) {
        let mut inner = Vec::new();
        bytes(&mut inner, 1, name.as_bytes());
        bytes(&mut inner, 2, &parameter(value));
        bytes(&mut self.parameters, 1, &inner);
    }

    pub(super) fn write(mut self, out: &mut impl Write) -> io::Result<()> {
        for (number, part) in [
            (8, &self.paths),
            (9, &self.definitions),
            (10, &self.parameters),
        ] {
            tag(&mut self.head, number, 2);
            varint(&mut self.head, part.len() as u64);
            out.write_all(&std::mem::take(&mut self.head))?;
            out.write_all(part)?;
        }
        Ok(())
    }
}

fn encode(out: &mut Vec<u8>, of: &Message, map: &Map<String, Value>) {
    for (name, number, encoding) in of.fields.iter().filter(|field| field.1 != NONE) {
        if let Some(value) = map.get(*name) {
            field(out, *number, *encoding, value);
        }
    }
    for (name, value) in map.iter().filter(|(name, _)| name.starts_with("x-")) {
        let mut extension = Vec::new();
        bytes(&mut extension, 1, name.as_bytes());
        field(&mut extension, 2, E::Any, value);
        bytes(out, of.extension, &extension);
    }
}

fn field(out: &mut Vec<u8>, number: u32, encoding: E, value: &Value) {
    match encoding {
        E::String | E::Reference => bytes(out, number, text(value)),
        E::Bool => whole(out, number, u64::from(value.as_bool().unwrap_or_default())),
        E::Integer => whole(
            out,
            number,
            value.as_i64().unwrap_or_default().cast_unsigned(),
        ),
        E::Double => double(out, number, value.as_f64().unwrap_or_default()),
        E::Strings => {
            for element in value.as_array().into_iter().flatten() {
                bytes(out, number, text(element));
            }
        }
        E::TypeMessage => {
            let mut inner = Vec::new();
            for one in one_or_many(value) {
                bytes(&mut inner, 1, text(one));
            }
            bytes(out, number, &inner);
        }
        // JSON is YAML.
        E::Any => {
            let mut inner = Vec::new();
            bytes(&mut inner, 2, value.to_string().as_bytes());
            bytes(out, number, &inner);
        }
        E::Anys => {
            for element in value.as_array().into_iter().flatten() {
                field(out, number, E::Any, element);
            }
        }
        E::Message(of) => message(out, number, of, value),
        E::Messages(of) => {
            for element in value.as_array().into_iter().flatten() {
                message(out, number, of, element);
            }
        }
        E::Elements(of) => {
            let mut inner = Vec::new();
            for one in one_or_many(value) {
                message(&mut inner, 1, of, one);
            }
            bytes(out, number, &inner);
        }
        E::Additional(of) => {
            let mut inner = Vec::new();
            match value.as_bool() {
                Some(_) => field(&mut inner, 2, E::Bool, value),
                None => message(&mut inner, 1, of, value),
            }
            bytes(out, number, &inner);
        }
        E::Wrapped(depth, of) => wrapped(out, number, depth, of, value),
        E::Parameters => {
            for parameter in value.as_array().into_iter().flatten() {
                parameter_item(out, number, parameter);
            }
        }
        E::Named(depth, of) => {
            let mut inner = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                named(&mut inner, 1, name, depth, of, value);
            }
            bytes(out, number, &inner);
        }
    }
}

fn whole(out: &mut Vec<u8>, number: u32, value: u64) {
    tag(out, number, 0);
    varint(out, value);
}

fn double(out: &mut Vec<u8>, number: u32, value: f64) {
    tag(out, number, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn message(out: &mut Vec<u8>, number: u32, of: &Message, value: &Value) {
    let mut inner = Vec::new();
    if let Some(map) = value.as_object() {
        encode(&mut inner, of, map);
    }
    bytes(out, number, &inner);
}

fn wrapped(out: &mut Vec<u8>, number: u32, depth: u8, of: &Message, value: &Value) {
    match depth {
        0 => message(out, number, of, value),
        _ => {
            let mut inner = Vec::new();
            wrapped(&mut inner, 1, depth - 1, of, value);
            bytes(out, number, &inner);
        }
    }
}

/// A pair of name and value.
fn named(out: &mut Vec<u8>, number: u32, name: &str, depth: u8, of: &Message, value: &Value) {
    let mut inner = Vec::new();
    bytes(&mut inner, 1, name.as_bytes());
    wrapped(&mut inner, 2, depth, of, value);
    bytes(out, number, &inner);
}

/// ParametersItem > Parameter, or > JsonReference.
fn parameter_item(out: &mut Vec<u8>, number: u32, value: &Value) {
    let mut item = Vec::new();
    match value.get("$ref") {
        Some(reference) => {
            let mut inner = Vec::new();
            bytes(&mut inner, 1, text(reference));
            bytes(&mut item, 2, &inner);
        }
        None => bytes(&mut item, 1, &parameter(value)),
    }
    bytes(out, number, &item);
}

/// Parameter > body, or > NonBodyParameter > what it is by its place.
fn parameter(value: &Value) -> Vec<u8> {
    let mut parameter = Vec::new();
    let place = value["in"].as_str().unwrap_or_default();
    match messages::parameter(place) {
        Some((0, of)) => message(&mut parameter, 1, of, value),
        Some((number, of)) => {
            let mut other = Vec::new();
            message(&mut other, number, of, value);
            bytes(&mut parameter, 2, &other);
        }
        None => {}
    }
    parameter
}

fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Array(many) => many,
        one => std::slice::from_ref(one),
    }
}

fn text(value: &Value) -> &[u8] {
    value.as_str().unwrap_or_default().as_bytes()
}

/// A length-delimited field.
fn bytes(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    tag(out, number, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn tag(out: &mut Vec<u8>, number: u32, wire_type: u32) {
    varint(out, u64::from(number << 3 | wire_type));
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
