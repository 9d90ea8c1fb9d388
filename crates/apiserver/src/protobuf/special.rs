//! Messages that are not objects in JSON: times, quantities, integers or strings, embedded JSON.

use jiff::Timestamp;
use knarr_meta::{duration, time};
use serde_json::Value;

use super::{
    Error,
    table::Type,
    utf8,
    wire::{Reader, Wire, put_bytes, put_number},
};

/// The JSON value of a special message; `None` where the type is none of these. Null: absent.
pub fn read(ty: Type, bytes: &[u8]) -> Option<Result<Value, Error>> {
    Some(match ty {
        Type::Time => read_time(bytes, time::format_seconds),
        Type::MicroTime => read_time(bytes, time::format_micro),
        Type::Duration => numbers(bytes).map(|[nanos, _, _]| go_duration(nanos)),
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
fn go_duration(nanos: i64) -> Value {
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

/// The message of a special type's JSON value: the reverse of [`read`]. `None` where it is no value of the type.
pub fn write(ty: Type, value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match ty {
        // Upstream writes whole seconds, also where JSON says more.
        Type::Time => put_time(&mut out, time::parse(value.as_str()?)?, 0),
        Type::MicroTime => {
            let at = time::parse(value.as_str()?)?;
            // Counted forward from the second before.
            let nanos = at.subsec_nanosecond().rem_euclid(1_000_000_000);
            put_time(&mut out, at, nanos);
        }
        Type::Duration => put_number(&mut out, 1, duration::parse(value.as_str()?).ok()? as u64),
        Type::Quantity => match value {
            Value::Number(number) => put_bytes(&mut out, 1, number.to_string().as_bytes()),
            value => put_bytes(&mut out, 1, value.as_str()?.as_bytes()),
        },
        Type::IntOrString => match value {
            Value::String(text) => put_int_or_string(&mut out, 1, 0, text),
            value => put_int_or_string(&mut out, 0, value.as_i64()?, ""),
        },
        Type::RawExtension | Type::Json => put_bytes(&mut out, 1, &serde_json::to_vec(value).ok()?),
        Type::Strings => {
            for element in value.as_array()? {
                put_bytes(&mut out, 1, element.as_str()?.as_bytes());
            }
        }
        _ => return None,
    }
    Some(out)
}

/// The message of a special type's zero; `None` where there is none: a list without elements.
pub fn zero(ty: Type) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match ty {
        Type::Time | Type::MicroTime | Type::RawExtension | Type::Json => {}
        Type::Duration => put_number(&mut out, 1, 0),
        Type::Quantity => put_bytes(&mut out, 1, b"0"),
        Type::IntOrString => put_int_or_string(&mut out, 0, 0, ""),
        _ => return None,
    }
    Some(out)
}

fn put_time(out: &mut Vec<u8>, at: Timestamp, nanos: i32) {
    // Times before 1970 are rounded down as well: their fractions count forward.
    let seconds = at.as_nanosecond().div_euclid(1_000_000_000);
    put_number(out, 1, seconds as u64);
    put_number(out, 2, nanos as u64);
}

fn put_int_or_string(out: &mut Vec<u8>, kind: u64, number: i64, text: &str) {
    put_number(out, 1, kind);
    put_number(out, 2, number as u64);
    put_bytes(out, 3, text.as_bytes());
}
