//! Conversions between types.

use super::Result;
use crate::{
    cost::Cost,
    eval::Error,
    value::{Val, show},
};

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    let [value] = values else { return None };
    Some(match (name, value) {
        ("dyn", value) => Ok(value.clone()),
        ("type", value) => Ok(Val::Type(value.type_name().into())),
        ("bool", Val::Bool(_))
        | ("double", Val::Double(_))
        | ("int", Val::Int(_))
        | ("uint", Val::Uint(_)) => Ok(value.clone()),
        ("bytes", Val::Bytes(_)) | ("string", Val::Text(_)) => Ok(value.clone()),
        ("duration", Val::Duration(_)) | ("timestamp", Val::Timestamp(_)) => Ok(value.clone()),
        ("bool", Val::Text(text)) => match text.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(Val::Bool(true)),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(Val::Bool(false)),
            _ => Err(failed(value, "bool")),
        },
        ("bytes", Val::Text(text)) => match cost.make(text.as_str().len()) {
            Ok(()) => Ok(Val::Bytes(text.as_str().as_bytes().into())),
            Err(exceeded) => Err(exceeded.into()),
        },
        ("double", Val::Int(number)) => Ok(Val::Double(*number as f64)),
        ("double", Val::Uint(number)) => Ok(Val::Double(*number as f64)),
        ("double", Val::Text(text)) => text
            .as_str()
            .parse()
            .map(Val::Double)
            .map_err(|_| failed(value, "double")),
        ("int", value) => int(value),
        ("uint", value) => uint(value),
        ("duration", Val::Text(text)) => crate::times::parse_duration(text.as_str())
            .map(Val::Duration)
            .ok_or_else(|| failed(value, "google.protobuf.Duration")),
        ("duration", Val::Int(nanos)) => Ok(Val::Duration(*nanos)),
        ("timestamp", Val::Text(text)) => crate::times::parse_timestamp(text.as_str())
            .map(Val::Timestamp)
            .ok_or_else(|| failed(value, "google.protobuf.Timestamp")),
        ("timestamp", Val::Int(seconds)) => jiff::Timestamp::from_second(*seconds)
            .map(Val::Timestamp)
            .map_err(|_| Error::failed("range error")),
        ("string", Val::Bytes(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => Val::text(text, cost).map_err(Into::into),
            Err(_) => Err(Error::failed(
                "invalid UTF-8 in bytes, cannot convert to string",
            )),
        },
        (
            "string",
            Val::Bool(_)
            | Val::Int(_)
            | Val::Uint(_)
            | Val::Double(_)
            | Val::Duration(_)
            | Val::Timestamp(_)
            | Val::Other(_),
        ) => show(value, cost).map(Val::made_text).map_err(Into::into),
        _ => return None,
    })
}

fn failed(value: &Val<'_>, to: &str) -> Error {
    Error::failed(format!(
        "type conversion error from '{}' to '{to}'",
        value.type_name()
    ))
}

fn range() -> Error {
    Error::failed("integer overflow")
}

fn int<'a>(value: &Val<'a>) -> Result<'a> {
    match value {
        Val::Uint(number) => i64::try_from(*number).map(Val::Int).map_err(|_| range()),
        Val::Double(number) if number.abs() < 9.223_372_036_854_775e18 => {
            Ok(Val::Int(*number as i64))
        }
        Val::Double(_) => Err(range()),
        Val::Text(text) => text
            .as_str()
            .parse()
            .map(Val::Int)
            .map_err(|_| failed(value, "int")),
        Val::Timestamp(at) => Ok(Val::Int(at.as_second())),
        Val::Duration(nanos) => Ok(Val::Int(*nanos)),
        _ => Err(Error::no_such_overload()),
    }
}

fn uint<'a>(value: &Val<'a>) -> Result<'a> {
    match value {
        Val::Int(number) => u64::try_from(*number).map(Val::Uint).map_err(|_| range()),
        Val::Double(number) if (0.0..1.8e19).contains(number) => Ok(Val::Uint(*number as u64)),
        Val::Double(_) => Err(range()),
        Val::Text(text) => text
            .as_str()
            .parse()
            .map(Val::Uint)
            .map_err(|_| failed(value, "uint")),
        _ => Err(Error::no_such_overload()),
    }
}
