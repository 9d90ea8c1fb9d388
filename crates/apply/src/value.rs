//! Values as upstream compares and prints them.

use std::{cmp::Ordering, fmt::Write as _};

use knarr_meta::field::quote;
use serde_json::{Number, Value};

/// An integer or a float, as Go's JSON decoder sees the number.
enum Numeric {
    Int(i64),
    Float(f64),
}

fn numeric(number: &Number) -> Numeric {
    match number.as_i64() {
        Some(int) => Numeric::Int(int),
        None => Numeric::Float(number.as_f64().unwrap_or(f64::MAX)),
    }
}

/// The order of kinds of values: numbers, strings, booleans, lists, objects, null.
fn rank(value: &Value) -> u8 {
    match value {
        Value::Number(_) => 0,
        Value::String(_) => 1,
        Value::Bool(_) => 2,
        Value::Array(_) => 3,
        Value::Object(_) => 4,
        Value::Null => 5,
    }
}

/// A total order in which integers and floats of the same value are equal.
pub fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => numbers(left, right),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Array(left), Value::Array(right)) => {
            let pairs = left.iter().zip(right);
            pairs
                .map(|(left, right)| compare(left, right))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        (Value::Object(left), Value::Object(right)) => {
            let pairs = left.iter().zip(right);
            pairs
                .map(|((a, left), (b, right))| a.cmp(b).then_with(|| compare(left, right)))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| left.len().cmp(&right.len()))
        }
        _ => rank(left).cmp(&rank(right)),
    }
}

fn numbers(left: &Number, right: &Number) -> Ordering {
    match (numeric(left), numeric(right)) {
        (Numeric::Int(left), Numeric::Int(right)) => left.cmp(&right),
        (Numeric::Int(left), Numeric::Float(right)) => int_and_float(left, right),
        (Numeric::Float(left), Numeric::Int(right)) => int_and_float(right, left).reverse(),
        // JSON has no numbers that are none.
        (Numeric::Float(left), Numeric::Float(right)) => {
            left.partial_cmp(&right).unwrap_or(Ordering::Equal)
        }
    }
}

/// Exact, where upstream compares the nearest floats: sets are sorted by it, so it must be a total order.
fn int_and_float(int: i64, float: f64) -> Ordering {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if float >= LIMIT {
        return Ordering::Less;
    }
    if float < -LIMIT {
        return Ordering::Greater;
    }
    let whole = float.trunc();
    int.cmp(&(whole as i64))
        .then_with(|| whole.partial_cmp(&float).unwrap_or(Ordering::Equal))
}

/// Whether two values are the same; `1` and `1.0` are.
pub fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || numbers(left, right).is_eq()
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(l, r)| same(l, r))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(name, value)| right.get(name).is_some_and(|other| same(value, other)))
        }
        _ => left == right,
    }
}

/// As a path shows a value: `"name"`, `80`, `true`.
pub(crate) fn in_path(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Number(number) => number_as_go(number, out),
        Value::String(text) => out.push_str(&quote(text)),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Array(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                in_path(element, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            for (name, value) in map {
                out.push_str(name);
                out.push('=');
                in_path(value, out);
            }
        }
    }
}

/// `%v` of Go.
pub(crate) fn plain(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("<nil>"),
        Value::String(text) => out.push_str(text),
        Value::Array(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                plain(element, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push_str("map[");
            for (index, (name, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(name);
                out.push(':');
                plain(value, out);
            }
            out.push(']');
        }
        scalar => in_path(scalar, out),
    }
}

/// `%#v` of Go.
pub(crate) fn source(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("interface {}(nil)"),
        Value::Array(list) => {
            out.push_str("[]interface {}{");
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                source(element, out);
            }
            out.push('}');
        }
        Value::Object(map) => {
            out.push_str("map[string]interface {}{");
            for (index, (name, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                out.push_str(&quote(name));
                out.push(':');
                source(value, out);
            }
            out.push('}');
        }
        scalar => in_path(scalar, out),
    }
}

/// `%T` of Go.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(number) => match numeric(number) {
            Numeric::Int(_) => "int64",
            Numeric::Float(_) => "float64",
        },
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

fn number_as_go(number: &Number, out: &mut String) {
    match numeric(number) {
        Numeric::Int(int) => {
            let _ = write!(out, "{int}");
        }
        Numeric::Float(float) => float_as_go(float, (1e-4, 1e21), out),
    }
}

/// The shortest text that reads back as the float; with an exponent of two digits or more outside of `plain`.
fn float_as_go(float: f64, plain: (f64, f64), out: &mut String) {
    let size = float.abs();
    if size == 0.0 || (size >= plain.0 && size < plain.1) {
        let _ = write!(out, "{float}");
        return;
    }
    let text = format!("{float:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    let _ = write!(out, "{digits}e{sign}{exponent:0>2}");
}

/// JSON in the form that upstream writes path elements in: `<`, `>` and `&` are escaped, floats have no needless fraction.
pub(crate) fn json(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => json_string(text, out),
        Value::Number(number) => match numeric(number) {
            Numeric::Int(int) => {
                let _ = write!(out, "{int}");
            }
            Numeric::Float(float) => json_float(float, out),
        },
        Value::Array(list) => {
            out.push('[');
            for (index, element) in list.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json(element, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (name, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                json_string(name, out);
                out.push(':');
                json(value, out);
            }
            out.push('}');
        }
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
    }
}

/// As encoding/json: an exponent below 1e-6 and from 1e21 on, of one digit where one is enough.
fn json_float(float: f64, out: &mut String) {
    let mut text = String::new();
    float_as_go(float, (1e-6, 1e21), &mut text);
    if let Some((digits, exponent)) = text.split_once("e-0") {
        text = format!("{digits}e-{exponent}");
    }
    out.push_str(&text);
}

/// A string of JSON, with the escapes that upstream's encoder makes for HTML.
pub(crate) fn json_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
