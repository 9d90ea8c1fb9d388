//! OpenAPI v2 as protobuf: the messages of `openapi.v2.Document`, the form that clients written in Go decode fastest.
//!
//! The messages mirror the JSON document, so they are described by tables (JSON name, field number, how the value is encoded)
//! and written straight from the JSON pieces. Structs generated from the 650 lines of upstream's definition were rejected: they
//! are needed in one direction only, and a fifth of their fields.

use std::io::{self, Write};

use serde_json::{Map, Value};

/// How a JSON value becomes a protobuf field.
#[derive(Clone, Copy)]
enum Encoding {
    String,
    Bool,
    /// A list as a repeated string.
    Strings,
    /// One string in a message of its own (field 1), where there could be several: `type`.
    TypeMessage,
    /// Any value, as text.
    Any,
    /// A list of such values.
    Anys,
    Message(&'static Message),
    /// A message inside this many wrappers, in field 1 of each.
    Wrapped(u8, &'static Message),
    /// A list of parameters.
    Parameters,
    /// An object as a message with a repeated name and value (field 1), each value wrapped so often.
    Named(u8, &'static Message),
}

/// Fields of a message by JSON name; `extension` is the number of the repeated vendor extensions.
struct Message {
    fields: &'static [(&'static str, u32, Encoding)],
    extension: u32,
}

use Encoding as E;

static INFO: Message = Message {
    fields: &[("title", 1, E::String), ("version", 2, E::String)],
    extension: 7,
};

static SCHEMA: Message = Message {
    fields: &[
        ("$ref", 1, E::String),
        ("format", 2, E::String),
        ("description", 4, E::String),
        ("default", 5, E::Any),
        ("required", 19, E::Strings),
        ("enum", 20, E::Anys),
        ("additionalProperties", 21, E::Wrapped(1, &SCHEMA)),
        ("type", 22, E::TypeMessage),
        ("items", 23, E::Wrapped(1, &SCHEMA)),
        ("properties", 25, E::Named(0, &SCHEMA)),
    ],
    extension: 31,
};

static PATH_ITEM: Message = Message {
    fields: &[
        ("get", 2, E::Message(&OPERATION)),
        ("put", 3, E::Message(&OPERATION)),
        ("post", 4, E::Message(&OPERATION)),
        ("delete", 5, E::Message(&OPERATION)),
        ("options", 6, E::Message(&OPERATION)),
        ("head", 7, E::Message(&OPERATION)),
        ("patch", 8, E::Message(&OPERATION)),
        ("parameters", 9, E::Parameters),
    ],
    extension: 10,
};

static OPERATION: Message = Message {
    fields: &[
        ("tags", 1, E::Strings),
        ("description", 3, E::String),
        ("operationId", 5, E::String),
        ("produces", 6, E::Strings),
        ("consumes", 7, E::Strings),
        ("parameters", 8, E::Parameters),
        ("responses", 9, E::Named(1, &RESPONSE)),
        ("schemes", 10, E::Strings),
    ],
    extension: 13,
};

static RESPONSE: Message = Message {
    fields: &[
        ("description", 1, E::String),
        ("schema", 2, E::Wrapped(1, &SCHEMA)),
    ],
    extension: 5,
};

static BODY_PARAMETER: Message = Message {
    fields: &[
        ("description", 1, E::String),
        ("name", 2, E::String),
        ("in", 3, E::String),
        ("required", 4, E::Bool),
        ("schema", 5, E::Message(&SCHEMA)),
    ],
    extension: 6,
};

static QUERY_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, E::Bool),
        ("in", 2, E::String),
        ("description", 3, E::String),
        ("name", 4, E::String),
        ("type", 6, E::String),
        ("uniqueItems", 20, E::Bool),
    ],
    extension: 23,
};

static PATH_PARAMETER: Message = Message {
    fields: &[
        ("required", 1, E::Bool),
        ("in", 2, E::String),
        ("description", 3, E::String),
        ("name", 4, E::String),
        ("type", 5, E::String),
        ("uniqueItems", 19, E::Bool),
    ],
    extension: 22,
};

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
    for (name, number, encoding) in of.fields {
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

fn field(out: &mut Vec<u8>, number: u32, encoding: Encoding, value: &Value) {
    match encoding {
        E::String => bytes(out, number, text(value)),
        E::Bool => {
            tag(out, number, 0);
            varint(out, u64::from(value.as_bool().unwrap_or_default()));
        }
        E::Strings => {
            for element in value.as_array().into_iter().flatten() {
                bytes(out, number, text(element));
            }
        }
        E::TypeMessage => {
            let mut inner = Vec::new();
            bytes(&mut inner, 1, text(value));
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

/// Parameter > body, or > NonBodyParameter > query or path.
fn parameter(value: &Value) -> Vec<u8> {
    let mut parameter = Vec::new();
    match value["in"].as_str() {
        Some("body") => message(&mut parameter, 1, &BODY_PARAMETER, value),
        place => {
            let mut other = Vec::new();
            match place {
                Some("path") => message(&mut other, 4, &PATH_PARAMETER, value),
                _ => message(&mut other, 3, &QUERY_PARAMETER, value),
            }
            bytes(&mut parameter, 2, &other);
        }
    }
    parameter
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
