//! Whether values are the same, and their order.

use std::cmp::Ordering;

use super::{List, Map, Val};
use crate::{
    cost::{Cost, Exceeded},
    types::ListKind,
};

/// Whether two values are the same: numbers by value, lists of type set and map in any order.
///
/// # Errors
/// Where there is no work left.
pub fn equal(a: &Val<'_>, b: &Val<'_>, cost: &mut Cost) -> Result<bool, Exceeded> {
    cost.steps(1)?;
    Ok(match (a, b) {
        (Val::Null, Val::Null) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Text(a), Val::Text(b)) => {
            same_bytes(a.as_str().as_bytes(), b.as_str().as_bytes(), cost)?
        }
        (Val::Bytes(a), Val::Bytes(b)) => same_bytes(a, b, cost)?,
        (Val::Duration(a), Val::Duration(b)) => a == b,
        (Val::Timestamp(a), Val::Timestamp(b)) => a == b,
        (Val::List(a), Val::List(b)) => equal_lists(a, b, cost)?,
        (Val::Map(a), Val::Map(b)) => equal_maps(a, b, cost)?,
        (Val::Optional(a), Val::Optional(b)) => match (a, b) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(a, b, cost)?,
            _ => false,
        },
        (Val::Type(a), Val::Type(b)) => a == b,
        (Val::Other(a), Val::Other(b)) => {
            cost.compare(a.bytes())?;
            a.same(b)
        }
        _ => compare_numbers(a, b) == Some(Ordering::Equal),
    })
}

fn same_bytes(a: &[u8], b: &[u8], cost: &mut Cost) -> Result<bool, Exceeded> {
    if a.len() != b.len() {
        return Ok(false);
    }
    cost.compare(a.len())?;
    Ok(a == b)
}

fn equal_maps(a: &Map<'_>, b: &Map<'_>, cost: &mut Cost) -> Result<bool, Exceeded> {
    if !same_struct(a, b) || a.len() != b.len() {
        return Ok(false);
    }
    for (key, value) in a.entries(cost)? {
        match b.get(&key, cost)? {
            Some(other) if equal(&value, &other, cost)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Objects that expressions made are equal to those of their type only.
fn same_struct(a: &Map<'_>, b: &Map<'_>) -> bool {
    match (a, b) {
        (Map::Struct(a), Map::Struct(b)) => a.name == b.name,
        (Map::Struct(_), _) | (_, Map::Struct(_)) => false,
        _ => true,
    }
}

fn equal_lists(a: &List<'_>, b: &List<'_>, cost: &mut Cost) -> Result<bool, Exceeded> {
    if a.len() != b.len() {
        return Ok(false);
    }
    let kind = match a.kind().or(b.kind()) {
        None | Some(ListKind::Atomic) => None,
        Some(kind) => Some(kind),
    };
    for index in 0..a.len() {
        let (Some(one), Some(other)) = (a.get(index, cost)?, b.get(index, cost)?) else {
            return Ok(false);
        };
        if equal(&one, &other, cost)? {
            continue;
        }
        let elsewhere = match kind {
            None => false,
            Some(kind) => has_equal(b, &one, kind, cost)?,
        };
        if !elsewhere {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a list of type set or map has an element.
fn has_equal(
    list: &List<'_>,
    wanted: &Val<'_>,
    kind: &ListKind,
    cost: &mut Cost,
) -> Result<bool, Exceeded> {
    for index in 0..list.len() {
        let Some(item) = list.get(index, cost)? else {
            continue;
        };
        let comparable = match kind {
            ListKind::Map(keys) => same_key(wanted, &item, keys, cost)?,
            _ => true,
        };
        if comparable && equal(wanted, &item, cost)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether two elements of a list of type map are the same one.
fn same_key(
    a: &Val<'_>,
    b: &Val<'_>,
    keys: &[Box<str>],
    cost: &mut Cost,
) -> Result<bool, Exceeded> {
    fn json<'v>(value: &Val<'v>, key: &str) -> Option<Val<'v>> {
        match value {
            Val::Map(Map::Object(map, _) | Map::Json(map, _)) => map.get(key).map(Val::json),
            _ => None,
        }
    }
    for key in keys {
        cost.compare(key.len())?;
        let same = match (json(a, key), json(b, key)) {
            (None, None) => true,
            (Some(a), Some(b)) => equal(&a, &b, cost)?,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The order of two values; none where they have none.
///
/// # Errors
/// Where there is no work left.
pub fn compare(a: &Val<'_>, b: &Val<'_>, cost: &mut Cost) -> Result<Option<Ordering>, Exceeded> {
    let mut bytes = |a: &[u8], b: &[u8]| {
        cost.compare(a.len().min(b.len()))?;
        Ok(Some(a.cmp(b)))
    };
    match (a, b) {
        (Val::Text(a), Val::Text(b)) => bytes(a.as_str().as_bytes(), b.as_str().as_bytes()),
        (Val::Bytes(a), Val::Bytes(b)) => bytes(a, b),
        _ => {
            cost.steps(1)?;
            Ok(match (a, b) {
                (Val::Bool(a), Val::Bool(b)) => Some(a.cmp(b)),
                (Val::Duration(a), Val::Duration(b)) => Some(a.cmp(b)),
                (Val::Timestamp(a), Val::Timestamp(b)) => Some(a.cmp(b)),
                _ => compare_numbers(a, b),
            })
        }
    }
}

fn compare_numbers(a: &Val<'_>, b: &Val<'_>) -> Option<Ordering> {
    match (a, b) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Uint(a), Val::Uint(b)) => Some(a.cmp(b)),
        (Val::Double(a), Val::Double(b)) => a.partial_cmp(b),
        (Val::Int(a), Val::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Val::Uint(a), Val::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
        (Val::Int(a), Val::Double(b)) => (*a as f64).partial_cmp(b),
        (Val::Double(a), Val::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Val::Uint(a), Val::Double(b)) => (*a as f64).partial_cmp(b),
        (Val::Double(a), Val::Uint(b)) => a.partial_cmp(&(*b as f64)),
        _ => None,
    }
}
