//! Values as texts.

use jiff::Timestamp;
use knarr_meta::time;

use super::Val;
use crate::cost::{Cost, Exceeded};

/// Longest text that is made of a value.
pub const MAX_TEXT_BYTES: usize = 4 << 20;

/// A value as Go prints it, for `string()` and `format()`.
///
/// # Errors
/// Where there is no work left, or the text is longer than [`MAX_TEXT_BYTES`].
pub fn show(value: &Val<'_>, cost: &mut Cost) -> Result<String, Exceeded> {
    let mut out = String::new();
    write(value, &mut out, cost)?;
    Ok(out)
}

fn write(value: &Val<'_>, out: &mut String, cost: &mut Cost) -> Result<(), Exceeded> {
    cost.steps(1)?;
    match value {
        Val::Text(text) => push(text.as_str(), out, cost),
        Val::Bytes(bytes) => {
            cost.make(bytes.len())?;
            push(&String::from_utf8_lossy(bytes), out, cost)
        }
        Val::List(list) => {
            push("[", out, cost)?;
            for index in 0..list.len() {
                if index > 0 {
                    push(", ", out, cost)?;
                }
                if let Some(item) = list.get(index, cost)? {
                    write(&item, out, cost)?;
                }
            }
            push("]", out, cost)
        }
        Val::Map(map) => {
            push("{", out, cost)?;
            for (index, (key, value)) in map.entries(cost)?.iter().enumerate() {
                if index > 0 {
                    push(", ", out, cost)?;
                }
                write(key, out, cost)?;
                push(": ", out, cost)?;
                write(value, out, cost)?;
            }
            push("}", out, cost)
        }
        Val::Optional(Some(value)) => {
            push("optional(", out, cost)?;
            write(value, out, cost)?;
            push(")", out, cost)
        }
        Val::Other(other) => {
            cost.make(other.bytes())?;
            push(&other.show(), out, cost)
        }
        simple => push(&show_simple(simple), out, cost),
    }
}

fn push(text: &str, out: &mut String, cost: &mut Cost) -> Result<(), Exceeded> {
    cost.make(text.len())?;
    if out.len().saturating_add(text.len()) > MAX_TEXT_BYTES {
        return Err(Exceeded::Cost);
    }
    out.push_str(text);
    Ok(())
}

/// A value for a message of an error. What may be long is told by its type.
pub fn brief(value: &Val<'_>) -> String {
    /// Characters of a text that are told.
    const MAX_CHARS: usize = 200;
    match value {
        Val::Text(text) => text.as_str().chars().take(MAX_CHARS).collect(),
        simple => show_simple(simple),
    }
}

/// A value that is short as a text; of others the name of their type.
fn show_simple(value: &Val<'_>) -> String {
    match value {
        Val::Null => "null".to_owned(),
        Val::Bool(flag) => flag.to_string(),
        Val::Int(number) => number.to_string(),
        Val::Uint(number) => number.to_string(),
        Val::Double(number) => show_double(*number),
        Val::Duration(nanos) => crate::times::show_duration(*nanos),
        Val::Timestamp(at) => show_timestamp(*at),
        Val::Optional(None) => "optional.none()".to_owned(),
        Val::Type(name) => name.to_string(),
        other => other.type_name().to_owned(),
    }
}

fn show_timestamp(at: Timestamp) -> String {
    match at.subsec_nanosecond() {
        0 => time::format_seconds(at),
        _ => at.to_string(),
    }
}

fn show_double(number: f64) -> String {
    if number.is_infinite() {
        return if number > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = number.abs();
    if number == 0.0 || (1e-4..1e21).contains(&size) {
        return format!("{number}");
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => match exponent.strip_prefix('-') {
            Some(exponent) => format!("{digits}e-{exponent:0>2}"),
            None => format!("{digits}e+{exponent:0>2}"),
        },
        None => text,
    }
}
