//! Quantities.

use std::cmp::Ordering;

use knarr_meta::Quantity;

use super::{Other, Result, other};
use crate::{eval::Error, value::Val};

pub fn call<'a>(name: &str, values: &[Val<'a>]) -> Option<Result<'a>> {
    if let [Val::Text(text)] = values {
        let parsed = Quantity::parse(text.as_str());
        return match name {
            "isQuantity" => Some(Ok(Val::Bool(parsed.is_ok()))),
            "quantity" => Some(
                parsed
                    .map(|quantity| other(Other::Quantity(quantity)))
                    .map_err(|error| Error::failed(error.to_string())),
            ),
            _ => None,
        };
    }
    let (first, rest) = values.split_first()?;
    let a = of(first)?;
    Some(match (name, rest) {
        ("sign", []) => Ok(Val::Int(match (a.is_zero(), a.is_negative()) {
            (true, _) => 0,
            (false, true) => -1,
            (false, false) => 1,
        })),
        ("isInteger", []) => Ok(Val::Bool(a.is_integer())),
        ("asInteger", []) => match a.is_integer() {
            true => Ok(Val::Int(a.value())),
            false => Err(Error::failed("cannot convert value to integer")),
        },
        ("asApproximateFloat", []) => Ok(Val::Double(a.as_f64())),
        ("compareTo", [b]) => Ok(Val::Int(match a.cmp(of(b)?) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        })),
        ("isLessThan", [b]) => Ok(Val::Bool(a < of(b)?)),
        ("isGreaterThan", [b]) => Ok(Val::Bool(a > of(b)?)),
        ("add" | "sub", [b]) => {
            let b = match b {
                Val::Int(number) => Quantity::new(*number, a.format()),
                b => *of(b)?,
            };
            #[expect(clippy::arithmetic_side_effects, reason = "quantities saturate")]
            let result = match name {
                "add" => *a + b,
                _ => *a - b,
            };
            Ok(other(Other::Quantity(result)))
        }
        _ => return None,
    })
}

fn of<'v>(value: &'v Val<'_>) -> Option<&'v Quantity> {
    match value {
        Val::Other(other) => match &**other {
            Other::Quantity(quantity) => Some(quantity),
            _ => None,
        },
        _ => None,
    }
}
