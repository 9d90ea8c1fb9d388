//! Values that may not be there.

use super::Result;
use crate::{eval::Error, value::Val};

pub fn call<'a>(name: &str, values: &[Val<'a>]) -> Option<Result<'a>> {
    Some(match (name, values) {
        ("optional.of", [value]) => Ok(Val::some(value.clone())),
        ("optional.none", []) => Ok(Val::Optional(None)),
        ("optional.ofNonZeroValue", [value]) => Ok(match value.is_zero() {
            true => Val::Optional(None),
            false => Val::some(value.clone()),
        }),
        ("hasValue", [Val::Optional(value)]) => Ok(Val::Bool(value.is_some())),
        ("value", [Val::Optional(value)]) => match value {
            Some(value) => Ok((**value).clone()),
            None => Err(Error::failed("optional.none() dereference")),
        },
        ("orValue", [Val::Optional(value), other]) => Ok(match value {
            Some(value) => (**value).clone(),
            None => other.clone(),
        }),
        ("or", [Val::Optional(value), other @ Val::Optional(_)]) => Ok(match value {
            Some(_) => values[0].clone(),
            None => other.clone(),
        }),
        _ => return None,
    })
}
