//! What upstream evaluates once, or as a part of something else.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue},
};

/// Conversions that upstream does once where what they convert is a constant.
const CONVERSIONS: [&str; 7] = [
    "bytes",
    "double",
    "duration",
    "int",
    "string",
    "timestamp",
    "uint",
];

/// Whether a function makes a constant of one.
pub fn is_constant_call(name: &str, value: &IdedExpr) -> bool {
    match name {
        "dyn" => is_constant(value),
        name => CONVERSIONS.contains(&name) && matches!(value.expr, Expr::Literal(_)),
    }
}

/// The pattern that a call looks for, where it is a constant.
pub fn pattern(call: &CallExpr) -> Option<&str> {
    let pattern = match (&*call.func_name, &call.target, &call.args[..]) {
        ("matches" | "find", Some(_), [pattern]) | ("findAll", Some(_), [pattern, ..]) => pattern,
        ("matches", None, [_, pattern]) => pattern,
        _ => return None,
    };
    match &pattern.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// Whether an expression has the same value each time.
pub fn is_constant(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Literal(_) => true,
        Expr::List(list) => {
            list.optional_indices.is_empty() && list.elements.iter().all(is_constant)
        }
        Expr::Map(map) => map.entries.iter().all(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => {
                !entry.optional && is_constant(&entry.key) && is_constant(&entry.value)
            }
            EntryExpr::StructField(_) => false,
        }),
        Expr::Call(call) => match (&*call.func_name, &call.args[..]) {
            (name, [value]) if call.target.is_none() => is_constant_call(name, value),
            _ => false,
        },
        _ => false,
    }
}

/// Whether an expression names something: a variable, a field of it, an element.
pub fn is_attribute(expr: &IdedExpr) -> bool {
    match &expr.expr {
        Expr::Ident(_) => true,
        Expr::Select(select) => !select.test && is_attribute(&select.operand),
        Expr::Call(call) => match (&*call.func_name, &call.args[..]) {
            ("_[_]", [of, _]) => is_attribute(of),
            _ => false,
        },
        _ => false,
    }
}
