//! Bodies of answers to object trees, for who tells what was answered.

use serde_json::{Map, Value};

use super::{
    Error, MAGIC, decode, message_name, read_message,
    table::find,
    type_meta,
    wire::{Reader, Wire},
};

/// Decodes the body of an answer: an object, or a list, whose messages the table leaves out since they are all alike.
///
/// # Errors
/// As those of [`decode`].
pub fn decode_answer(body: &[u8]) -> Result<Value, Error> {
    let (api_version, kind, raw) = unwrapped(body)?;
    let of = |kind: &str| message_name(&api_version, kind).and_then(|name| find(&name));
    let item = kind.strip_suffix("List").filter(|_| of(&kind).is_none());
    let (Some(item), Some((meta, meta_fields))) = (item.and_then(of), find("meta.ListMeta")) else {
        return decode(body, ("", ""));
    };
    let (mut metadata, mut items) = (Map::new(), Vec::new());
    let mut list = Reader::new(raw);
    while let Some((number, wire)) = list.next()? {
        let read = |(name, fields), bytes: &[u8], into: &mut Map<String, Value>| {
            read_message(name, fields, bytes, into, 0)
        };
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => read((meta, meta_fields), bytes, &mut metadata)?,
            (2, Wire::Bytes(bytes)) => {
                let mut object = Map::new();
                read(item, bytes, &mut object)?;
                items.push(Value::Object(object));
            }
            _ => {}
        }
    }
    let mut tree = Map::new();
    tree.insert("kind".into(), kind.into());
    tree.insert("apiVersion".into(), api_version.into());
    tree.insert("metadata".into(), metadata.into());
    tree.insert("items".into(), items.into());
    Ok(Value::Object(tree))
}

/// Type and content of a body.
fn unwrapped(body: &[u8]) -> Result<(String, String, &[u8]), Error> {
    let mut unknown = Reader::new(body.strip_prefix(MAGIC).ok_or(Error::Magic)?);
    let (mut types, mut raw) = ((String::new(), String::new()), &[][..]);
    while let Some((number, wire)) = unknown.next()? {
        match (number, wire) {
            (1, Wire::Bytes(bytes)) => types = type_meta(bytes)?,
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    Ok((types.0, types.1, raw))
}
