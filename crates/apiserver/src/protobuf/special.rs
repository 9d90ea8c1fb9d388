//! Messages that are not objects in JSON: times, quantities, integers or strings, embedded JSON.

use jiff::Timestamp;
use knarr_meta::time;
use serde_json::Value;

use super::{
    Error,
    table::Type,
    utf8,
    wire::{Reader, Wire},
};

/// The JSON value of a special message; `None` where the type is none of these. Null: absent.
pub fn read(ty: Type, bytes: &[u8]) -> Option<Result<Value, Error>> {
    Some(match ty {
        Type::Time => read_time(bytes, time::format_seconds),
        Type::MicroTime => read_time(bytes, time::format_micro),
        Type::Duration => numbers(bytes).map(|[nanos, _, _]| duration(nanos)),
        Type::Quantity => text(bytes, 1).map(Value::String),
        Type::IntOrString => int_or_string(bytes),
        Type::RawExtension | Type::Json => json(bytes),
        Type::Strings => strings(bytes),
        _ => return None,
    })
}

fn malformed(what: &str) -> Error {
    Error::Malformed(what.to_owned())
}

/// The integers of fields 1 to 3.
fn numbers(bytes: &[u8]) -> Result<[i64; 3], Error> {
    let mut found = [0; 3];
    let mut reader = Reader::new(bytes);
    while let Some((number, wire)) = reader.next()? {
        if let (1..=3, Wire::Varint(value)) = (number, wire) {
            found[number as usize - 1] = value as i64;
        }
    }
    Ok(found)
}

fn text(bytes: &[u8], wanted: u32) -> Result<String, Error> {
    let mut reader = Reader::new(bytes);
    let mut found = String::new();
    while let Some((number, wire)) = reader.next()? {
        if let Wire::Bytes(bytes) = wire
            && number == wanted
        {
            found = utf8("a string", bytes)?;
        }
    }
    Ok(found)
}

/// Seconds and nanoseconds; an empty message is the zero time, which is null in JSON.
fn read_time(bytes: &[u8], format: fn(Timestamp) -> String) -> Result<Value, Error> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    let [seconds, nanos, _] = numbers(bytes)?;
    let nanos = i32::try_from(nanos).map_err(|_| malformed("a time"))?;
    let at = Timestamp::new(seconds, nanos).map_err(|_| malformed("a time"))?;
    Ok(Value::String(format(at)))
}

/// Go's text of a duration, in seconds: the form every Go program reads back.
fn duration(nanos: i64) -> Value {
    let whole = nanos / 1_000_000_000;
    let rest = (nanos % 1_000_000_000).abs();
    Value::String(match rest {
        0 => format!("{whole}s"),
        rest => format!("{whole}.{rest:09}s"),
    })
}

fn int_or_string(bytes: &[u8]) -> Result<Value, Error> {
    let [kind, number, _] = numbers(bytes)?;
    match kind {
        0 => Ok(Value::from(number)),
        _ => Ok(Value::String(text(bytes, 3)?)),
    }
}

/// Field 1 is JSON.
fn json(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let mut found = Value::Null;
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire)
            && !bytes.is_empty()
        {
            found = serde_json::from_slice(bytes).map_err(|_| malformed("embedded JSON"))?;
        }
    }
    Ok(found)
}

fn strings(bytes: &[u8]) -> Result<Value, Error> {
    let mut reader = Reader::new(bytes);
    let mut found = Vec::new();
    while let Some((number, wire)) = reader.next()? {
        if let (1, Wire::Bytes(bytes)) = (number, wire) {
            found.push(Value::String(utf8("a string", bytes)?));
        }
    }
    Ok(Value::Array(found))
}
