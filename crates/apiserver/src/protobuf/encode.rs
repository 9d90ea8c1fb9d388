//! Object trees to messages, field by field as upstream's generated code writes them.
//!
//! What is no pointer in Go is always written, zero or not; what is one only where it is there. Maps are written in the order of
//! their keys. Fields that the table does not know are left out, as they are by who reads JSON into a Go type.

use base64::{
    Engine, alphabet,
    engine::{GeneralPurpose, GeneralPurposeConfig},
};
use bytes::{BufMut, Bytes, BytesMut};
use knarr_meta::object::str_at;
use knarr_registry::cache::message::{Around, Message, Parts};
use serde_json::{Map, Value};

use super::{
    Envelope, Error, message_name, special,
    table::{Field, Presence, Type, message},
    wire,
};

/// As Go reads it: the idle bits of a last digit may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Messages within messages, at most: more than a tree that was read can have.
const MAX_DEPTH: usize = 256;

/// The field of `metadata` in every object.
const METADATA: u32 = 1;
/// The field of `resourceVersion` in its metadata.
const RESOURCE_VERSION: u32 = 6;

/// An object of a kind as a message, at hand as a whole body at a revision.
pub fn object(
    api_version: &str,
    kind: &str,
    tree: &Value,
    revision: u64,
) -> Result<Message, Error> {
    let (name, fields) = fields_of(api_version, kind)?;
    let (tree, empty) = (tree.as_object(), Map::new());
    let mut rest = Vec::with_capacity(1024);
    let after = fields.partition_point(|field| field.number <= METADATA);
    write_fields(name, &fields[after..], tree.unwrap_or(&empty), &mut rest, 0)?;
    let metadata = tree.and_then(|tree| tree.get("metadata"));
    let envelope = Envelope::new(api_version, kind);
    with_metadata(metadata, &rest, revision, Some(envelope.around()))
}

/// The metadata of an object of any kind as a message, at a revision.
pub fn metadata_only(metadata: &Value, revision: u64) -> Result<Message, Error> {
    with_metadata(Some(metadata), &[], revision, None)
}

fn with_metadata(
    metadata: Option<&Value>,
    rest: &[u8],
    revision: u64,
    around: Option<Around<'_>>,
) -> Result<Message, Error> {
    const NAME: &str = "meta.ObjectMeta";
    let malformed = || Error::Malformed(NAME.to_owned());
    let fields = message(NAME).ok_or_else(malformed)?;
    let empty = Map::new();
    let metadata = metadata.and_then(Value::as_object).unwrap_or(&empty);
    let version = fields.partition_point(|field| field.number < RESOURCE_VERSION);
    let mut out = Vec::with_capacity(256);
    write_fields(NAME, &fields[..version], metadata, &mut out, 0)?;
    let version_at = out.len();
    let after = fields.partition_point(|field| field.number <= RESOURCE_VERSION);
    write_fields(NAME, &fields[after..], metadata, &mut out, 0)?;
    let parts = Parts {
        metadata: &out,
        version_at,
        rest,
    };
    Message::new(parts, revision, around).ok_or_else(malformed)
}

/// Any tree that says its type, as the content of its message.
pub fn content(api_version: &str, kind: &str, tree: &Value) -> Result<Vec<u8>, Error> {
    let (name, fields) = fields_of(api_version, kind)?;
    let (mut out, empty) = (Vec::with_capacity(256), Map::new());
    let tree = tree.as_object().unwrap_or(&empty);
    write_fields(name, fields, tree, &mut out, 0)?;
    Ok(out)
}

/// A tree that says its type, as a whole body.
pub fn body(tree: &Value) -> Result<Bytes, Error> {
    let (api_version, kind) = (str_at(tree, &["apiVersion"]), str_at(tree, &["kind"]));
    let content = content(api_version, kind, tree)?;
    let envelope = Envelope::new(api_version, kind);
    let mut out = BytesMut::with_capacity(envelope.size(content.len()));
    envelope.open(&mut out, content.len());
    out.put_slice(&content);
    envelope.close(&mut out);
    Ok(out.freeze())
}

/// The metadata of a list as the content of its message.
pub fn list_meta(tree: &Value) -> Result<Vec<u8>, Error> {
    const NAME: &str = "meta.ListMeta";
    let fields = message(NAME).ok_or_else(|| Error::Malformed(NAME.to_owned()))?;
    let (mut out, empty) = (Vec::with_capacity(64), Map::new());
    write_fields(
        NAME,
        fields,
        tree.as_object().unwrap_or(&empty),
        &mut out,
        0,
    )?;
    Ok(out)
}

/// Whether there is a message of this type.
pub fn knows(api_version: &str, kind: &str) -> bool {
    fields_of(api_version, kind).is_ok()
}

fn fields_of(api_version: &str, kind: &str) -> Result<(&'static str, &'static [Field]), Error> {
    let found = message_name(api_version, kind).and_then(|name| super::table::find(&name));
    found.ok_or_else(|| Error::NotMarshalable {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    })
}

fn write_fields(
    name: &str,
    fields: &'static [Field],
    tree: &Map<String, Value>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Depth);
    }
    for field in fields {
        if field.name == "~" {
            // An embedded struct: its fields are this object's own.
            write_inner(field, tree, out, depth)?;
            continue;
        }
        match tree.get(field.name) {
            Some(value) if !value.is_null() => write_field(name, field, value, out, depth)?,
            _ if field.presence == Presence::Always => write_zero(field, out, depth)?,
            _ => {}
        }
    }
    Ok(())
}

/// A field whose value is a message along the table.
fn write_inner(
    field: &'static Field,
    tree: &Map<String, Value>,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    let Type::Message(inner) = field.ty else {
        return Err(Error::Malformed(field.name.to_owned()));
    };
    let fields = message(inner).ok_or_else(|| Error::Malformed(inner.to_owned()))?;
    wire::put_message(out, field.number, |out| {
        write_fields(inner, fields, tree, out, depth + 1)
    })
}

fn write_field(
    name: &str,
    field: &'static Field,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    let malformed = || Error::Malformed(format!("{name} {}", field.name));
    if field.map {
        let map = value.as_object().ok_or_else(malformed)?;
        let mut entries: Vec<_> = map.iter().collect();
        entries.sort_unstable_by_key(|(key, _)| *key);
        for (key, value) in entries {
            wire::put_message(out, field.number, |out| {
                wire::put_bytes(out, 1, key.as_bytes());
                write_value(field, 2, value, out, depth)
            })?;
        }
        return Ok(());
    }
    if field.repeated {
        for element in value.as_array().ok_or_else(malformed)? {
            write_value(field, field.number, element, out, depth)?;
        }
        return Ok(());
    }
    write_value(field, field.number, value, out, depth)
}

/// A value as field `number`; null is its type's zero.
fn write_value(
    field: &'static Field,
    number: u32,
    value: &Value,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    let malformed = || Error::Malformed(field.name.to_owned());
    if value.is_null() {
        return write_zero_as(field, number, out, depth);
    }
    match field.ty {
        Type::String => {
            let text = value.as_str().ok_or_else(malformed)?;
            wire::put_bytes(out, number, text.as_bytes());
        }
        Type::Bytes => {
            let text = value.as_str().ok_or_else(malformed)?;
            let bytes = BASE64.decode(text).map_err(|_| malformed())?;
            wire::put_bytes(out, number, &bytes);
        }
        Type::Integer => {
            let integer = integer(value).ok_or_else(malformed)?;
            wire::put_number(out, number, integer as u64);
        }
        Type::Bool => {
            let set = value.as_bool().ok_or_else(malformed)?;
            wire::put_number(out, number, u64::from(set));
        }
        Type::Double => wire::put_double(out, number, value.as_f64().ok_or_else(malformed)?),
        Type::Message(inner) => {
            let fields = message(inner).ok_or_else(malformed)?;
            let tree = value.as_object().ok_or_else(malformed)?;
            wire::put_message(out, number, |out| {
                write_fields(inner, fields, tree, out, depth + 1)
            })?;
        }
        ty @ (Type::SchemaOrList | Type::SchemaOrBool | Type::SchemaOrNames) => {
            wire::put_message(out, number, |out| write_schema_or(ty, value, out, depth))?;
        }
        ty => {
            let content = special::write(ty, value).ok_or_else(malformed)?;
            wire::put_bytes(out, number, &content);
        }
    }
    Ok(())
}

/// A number that JSON may also have written with a fraction of zero.
fn integer(value: &Value) -> Option<i64> {
    let whole = || {
        let number = value.as_f64().filter(|number| number.fract() == 0.0)?;
        // Beyond this, neighbouring integers are one floating-point number.
        (number.abs() < 9e15).then_some(number as i64)
    };
    value.as_i64().or_else(whole)
}

fn write_zero(field: &'static Field, out: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
    write_zero_as(field, field.number, out, depth)
}

fn write_zero_as(
    field: &'static Field,
    number: u32,
    out: &mut Vec<u8>,
    depth: usize,
) -> Result<(), Error> {
    match field.ty {
        Type::String | Type::Bytes => wire::put_bytes(out, number, &[]),
        Type::Integer | Type::Bool => wire::put_number(out, number, 0),
        Type::Double => wire::put_double(out, number, 0.0),
        Type::Message(inner) => {
            let fields = message(inner).ok_or_else(|| Error::Malformed(inner.to_owned()))?;
            wire::put_message(out, number, |out| {
                write_fields(inner, fields, &Map::new(), out, depth + 1)
            })?;
        }
        ty => {
            if let Some(zero) = special::zero(ty) {
                wire::put_bytes(out, number, &zero);
            }
        }
    }
    Ok(())
}

/// JSONSchemaProps, or what may stand in its place: the reverse of how they are read.
fn write_schema_or(ty: Type, value: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), Error> {
    const PROPS: &str = "apiextensions.v1.JSONSchemaProps";
    let malformed = || Error::Malformed(PROPS.to_owned());
    let fields = message(PROPS).ok_or_else(malformed)?;
    let props = |out: &mut Vec<u8>, number: u32, tree: &Map<String, Value>| {
        wire::put_message(out, number, |out| {
            write_fields(PROPS, fields, tree, out, depth + 1)
        })
    };
    match (ty, value) {
        (Type::SchemaOrBool, Value::Bool(any)) => wire::put_number(out, 1, u64::from(*any)),
        (Type::SchemaOrBool, Value::Object(tree)) => {
            // Go says that anything goes wherever there is a schema.
            wire::put_number(out, 1, 1);
            props(out, 2, tree)?;
        }
        (Type::SchemaOrList | Type::SchemaOrNames, Value::Object(tree)) => props(out, 1, tree)?,
        (Type::SchemaOrList, Value::Array(list)) => {
            for schema in list {
                props(out, 2, schema.as_object().ok_or_else(malformed)?)?;
            }
        }
        (Type::SchemaOrNames, Value::Array(list)) => {
            for name in list {
                let name = name.as_str().ok_or_else(malformed)?;
                wire::put_bytes(out, 2, name.as_bytes());
            }
        }
        _ => return Err(malformed()),
    }
    Ok(())
}

#[cfg(test)]
mod tests;
