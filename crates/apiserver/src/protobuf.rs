//! Protobuf bodies to object trees and back: what kubectl from 1.32 on and client-go's typed clients send, and ask for.
//!
//! A body is `k8s\0` and a `runtime.Unknown`: the type, and the object's bytes. Those are read along a table of field numbers
//! (`messages.txt`, by `cargo xtask generate-protobuf`) into the tree that the same client's JSON would have given: zero
//! values that Go's `omitempty` leaves out are left out, pointers to zero are kept. Answers are written along the same table.
//! Only the program's own kinds have messages; of custom resources there is no more than their metadata.

mod answer;
mod encode;
mod envelope;
mod special;
mod table;
mod wire;

use std::{collections::HashSet, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use knarr_meta::{patch, status::Status};
use serde_json::{Map, Value};

pub use self::{
    answer::decode_answer,
    encode::{body, knows, list_meta, metadata_only, object},
    envelope::{Envelope, watch_event},
};
use self::{
    table::{Field, Type, find, message},
    wire::{Reader, Wire},
};

/// What every body starts with.
const MAGIC: &[u8] = b"k8s\0";
/// Messages within messages, at most.
const MAX_DEPTH: usize = 64;

/// The media type of such bodies.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// Why bytes are not an object.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    Magic,
    #[error("unexpected end of protobuf data")]
    Truncated,
    #[error("malformed protobuf data in {0}")]
    Malformed(String),
    #[error("protobuf messages, or the JSON in them, are nested too deeply")]
    Depth,
    #[error("{message} has no field number {number} that this server knows")]
    UnknownField { message: String, number: u32 },
    #[error("this server cannot read {api_version} {kind} as protobuf")]
    UnknownType { api_version: String, kind: String },
    #[error(
        "object {api_version}, Kind={kind} does not implement the protobuf marshalling interface and cannot be encoded to a \
         protobuf message"
    )]
    NotMarshalable { api_version: String, kind: String },
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        match error {
            Error::UnknownType { .. } => Status::unsupported_media_type(error.to_string()),
            Error::NotMarshalable { .. } => Status::not_acceptable(error.to_string()),
            _ => Status::bad_request(error.to_string()),
        }
    }
}

/// Decodes a body. `default` is the apiVersion and kind of a body that does not say, as in JSON.
pub fn decode(body: &[u8], default: (&str, &str)) -> Result<Value, Error> {
    let bytes = body.strip_prefix(MAGIC).ok_or(Error::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    let mut unknown = Reader::new(bytes);
    while let Some((number, wire)) = unknown.next()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => (api_version, kind) = type_meta(bytes)?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            // Content encoding and type: empty for objects.
            _ => {}
        }
    }
    let or = |given: String, default: &str| {
        if given.is_empty() {
            default.to_owned()
        } else {
            given
        }
    };
    let (api_version, kind) = (or(api_version, default.0), or(kind, default.1));
    let found = message_name(&api_version, &kind).and_then(|name| find(&name));
    let (name, fields) = found.ok_or_else(|| Error::UnknownType {
        api_version: api_version.clone(),
        kind: kind.clone(),
    })?;
    let mut object = Map::new();
    read_message(name, fields, raw, &mut object, 0)?;
    object.insert("apiVersion".into(), Value::String(api_version));
    object.insert("kind".into(), Value::String(kind));
    let object = Value::Object(object);
    // Embedded JSON may be as deep as a whole object: within one it is deeper than what can be read again once it is stored.
    if patch::depth(&object) > patch::MAX_DEPTH {
        return Err(Error::Depth);
    }
    Ok(object)
}

/// Decodes what upstream's servers have stored, which says its type.
pub fn stored(value: &[u8]) -> Result<Value, String> {
    decode(value, ("", "")).map_err(|error| error.to_string())
}

fn type_meta(bytes: &[u8]) -> Result<(String, String), Error> {
    let (mut api_version, mut kind) = (String::new(), String::new());
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => api_version = utf8("TypeMeta", text)?,
            (2, Wire::Bytes(text)) => kind = utf8("TypeMeta", text)?,
            _ => {}
        }
    }
    Ok((api_version, kind))
}

/// What is of no version of a group: such types are one in every group that has them.
const OF_NO_GROUP: &[&str] = &[
    "APIGroup",
    "APIGroupList",
    "APIResourceList",
    "APIVersions",
    "DeleteOptions",
    "PartialObjectMetadata",
    "Status",
];

/// The message's name in the table: `apps/v1 Deployment` is `apps.v1.Deployment`. `None` for a group that is not the program's
/// own: a custom resource of `apps.example.com` is no Deployment.
fn message_name(api_version: &str, kind: &str) -> Option<String> {
    static GROUPS: LazyLock<HashSet<&str>> = LazyLock::new(|| {
        let kinds = knarr_api::built_in_kinds().iter();
        let groups = kinds.flat_map(|kind| {
            let aliases = kind.aliases.iter().map(|alias| alias.group);
            aliases.chain([&*kind.group])
        });
        groups.collect()
    });
    if OF_NO_GROUP.contains(&kind) {
        return Some(format!("meta.{kind}"));
    }
    let (group, version) = knarr_meta::types::split_api_version(api_version);
    let group = GROUPS.get(group)?;
    let package = match group.split('.').next().unwrap_or("") {
        "" => "core",
        first => first,
    };
    Some(format!("{package}.{version}.{kind}"))
}

fn read_message(
    name: &str,
    fields: &'static [Field],
    bytes: &[u8],
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Depth);
    }
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match fields.binary_search_by_key(&number, |f| f.number) {
            Ok(at) => read_field(name, &fields[at], wire, into, depth)?,
            // Clients of a later release write a field that is a struct even where nothing is in it.
            Err(_) if matches!(wire, Wire::Bytes([])) => {}
            Err(_) => {
                let message = name.to_owned();
                return Err(Error::UnknownField { message, number });
            }
        }
    }
    Ok(())
}

fn read_field(
    name: &str,
    field: &'static Field,
    wire: Wire<'_>,
    into: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), Error> {
    if field.name == "~" {
        // An embedded struct: its fields are this object's own.
        let (Type::Message(inner), Wire::Bytes(bytes)) = (field.ty, wire) else {
            return Err(Error::Malformed(name.to_owned()));
        };
        let fields = message(inner).ok_or_else(|| Error::Malformed(inner.to_owned()))?;
        return read_message(inner, fields, bytes, into, depth + 1);
    }
    if field.map {
        let (key, value) = read_entry(field, wire, depth)?;
        if let Value::Object(map) = into
            .entry(field.name)
            .or_insert_with(|| Value::Object(Map::new()))
        {
            map.insert(key, value);
        }
        return Ok(());
    }
    let value = read_value(field, wire, depth)?;
    if field.repeated {
        if let Value::Array(list) = into
            .entry(field.name)
            .or_insert_with(|| Value::Array(Vec::new()))
        {
            list.push(value);
        }
        return Ok(());
    }
    let absent = value.is_null() || (field.omit_zero && zero(&value));
    if !absent {
        into.insert(field.name.to_owned(), value);
    }
    Ok(())
}

/// A map's entry: key 1, value 2.
fn read_entry(
    field: &'static Field,
    wire: Wire<'_>,
    depth: usize,
) -> Result<(String, Value), Error> {
    let malformed = || Error::Malformed(field.name.to_owned());
    let Wire::Bytes(bytes) = wire else {
        return Err(malformed());
    };
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (number, wire) {
            (1, Wire::Bytes(text)) => key = utf8(field.name, text)?,
            (2, wire) => value = Some(read_value(field, wire, depth)?),
            _ => return Err(malformed()),
        }
    }
    // An absent value is the type's zero.
    let value = match (value, field.ty) {
        (Some(value), _) => value,
        (None, Type::String | Type::Bytes) => Value::from(""),
        (None, _) => read_value(field, Wire::Bytes(&[]), depth)?,
    };
    Ok((key, value))
}

/// A number as JSON's readers have it: whole ones are no fractions.
fn number(value: f64) -> Value {
    // Beyond it a float skips whole numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value.fract() == 0.0 && value.abs() <= EXACT {
        // A cast of what was just looked at loses nothing.
        true => Value::from(value as i64),
        false => Value::from(value),
    }
}

fn read_value(field: &'static Field, wire: Wire<'_>, depth: usize) -> Result<Value, Error> {
    let malformed = || Error::Malformed(field.name.to_owned());
    Ok(match (field.ty, wire) {
        (Type::String, Wire::Bytes(text)) => Value::String(utf8(field.name, text)?),
        (Type::Bytes, Wire::Bytes(bytes)) => Value::String(STANDARD.encode(bytes)),
        (Type::Integer, Wire::Varint(number)) => Value::from(number as i64),
        (Type::Bool, Wire::Varint(number)) => Value::Bool(number != 0),
        (Type::Double, Wire::Fixed64(bits)) => number(f64::from_bits(bits)),
        (Type::Message(inner), Wire::Bytes(bytes)) => {
            let fields = message(inner).ok_or_else(malformed)?;
            let mut object = Map::new();
            read_message(inner, fields, bytes, &mut object, depth + 1)?;
            Value::Object(object)
        }
        (
            ty @ (Type::SchemaOrList | Type::SchemaOrBool | Type::SchemaOrNames),
            Wire::Bytes(bytes),
        ) => schema_or(ty, bytes, depth)?,
        (ty, Wire::Bytes(bytes)) => special::read(ty, bytes).ok_or_else(malformed)??,
        _ => return Err(malformed()),
    })
}

/// JSONSchemaProps, or what may stand in its place.
fn schema_or(ty: Type, bytes: &[u8], depth: usize) -> Result<Value, Error> {
    const PROPS: &str = "apiextensions.v1.JSONSchemaProps";
    let malformed = || Error::Malformed(PROPS.to_owned());
    let props = |bytes| {
        let mut object = Map::new();
        let fields = message(PROPS).ok_or_else(malformed)?;
        read_message(PROPS, fields, bytes, &mut object, depth + 1)?;
        Ok::<_, Error>(Value::Object(object))
    };
    let (mut schema, mut list, mut any) = (None, Vec::new(), false);
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        match (ty, number, wire) {
            (Type::SchemaOrBool, 1, Wire::Varint(flag)) => any = flag != 0,
            (Type::SchemaOrBool, 2, Wire::Bytes(bytes)) => schema = Some(props(bytes)?),
            (Type::SchemaOrList | Type::SchemaOrNames, 1, Wire::Bytes(bytes)) => {
                schema = Some(props(bytes)?);
            }
            (Type::SchemaOrList, 2, Wire::Bytes(bytes)) => list.push(props(bytes)?),
            (Type::SchemaOrNames, 2, Wire::Bytes(name)) => {
                list.push(Value::String(utf8(PROPS, name)?));
            }
            _ => return Err(malformed()),
        }
    }
    Ok(match (schema, ty) {
        (Some(schema), _) => schema,
        (None, Type::SchemaOrBool) => Value::Bool(any),
        (None, _) => Value::Array(list),
    })
}

fn utf8(name: &str, bytes: &[u8]) -> Result<String, Error> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Error::Malformed(name.to_owned()))
}

/// What Go's `omitempty` leaves out; structs stay.
fn zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(set) => !set,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
