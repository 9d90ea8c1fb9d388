//! Operators of values.

use std::sync::Arc;

use super::{Result, tenth};
use crate::{
    cost::Cost,
    eval::Error,
    value::{List, Map, Val, brief, compare, equal},
};

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    Some(match (name, values) {
        ("!_", [Val::Bool(flag)]) => Ok(Val::Bool(!flag)),
        ("-_", [Val::Int(number)]) => number.checked_neg().map(Val::Int).ok_or_else(overflow),
        ("-_", [Val::Double(number)]) => Ok(Val::Double(-number)),
        ("_==_", [a, b]) => equals(a, b, cost).map(Val::Bool),
        ("_!=_", [a, b]) => equals(a, b, cost).map(|same| Val::Bool(!same)),
        ("_<_" | "_<=_" | "_>_" | "_>=_", [a, b]) => order(name, a, b, cost),
        ("@in", [needle, hay]) => is_in(needle, hay, cost),
        ("_[_]", [of, index]) => at(of, index, cost),
        ("_[?_]", [of, index]) => optional_at(of, index, cost),
        ("size", [value]) => size(value, cost),
        ("_+_", [a, b]) => add(a, b, cost),
        ("_-_" | "_*_" | "_/_" | "_%_", [a, b]) => arithmetic(name, a, b),
        _ => return None,
    })
}

fn overflow() -> Error {
    Error::failed("integer overflow")
}

/// Whether two values are the same, for what upstream says that this costs: a tenth of the smaller one's size.
fn equals(a: &Val<'_>, b: &Val<'_>, cost: &mut Cost) -> std::result::Result<bool, Error> {
    cost.pay_units(match (a, b) {
        (Val::Other(_), _) => 1,
        _ => tenth(a.size().min(b.size())),
    })?;
    Ok(equal(a, b, cost)?)
}

fn order<'a>(name: &str, a: &Val<'a>, b: &Val<'a>, cost: &mut Cost) -> Result<'a> {
    let not_a_number = |value: &Val<'_>| matches!(value, Val::Double(number) if number.is_nan());
    let Some(order) = compare(a, b, cost)? else {
        return match not_a_number(a) || not_a_number(b) {
            true => Ok(Val::Bool(false)),
            false => Err(Error::no_such_overload()),
        };
    };
    Ok(Val::Bool(match name {
        "_<_" => order.is_lt(),
        "_<=_" => order.is_le(),
        "_>_" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn is_in<'a>(needle: &Val<'a>, hay: &Val<'a>, cost: &mut Cost) -> Result<'a> {
    match hay {
        Val::List(list) => {
            cost.pay_units(list.len() as u64)?;
            Ok(Val::Bool(contains(list, needle, cost)?))
        }
        Val::Map(map) => {
            cost.pay(1)?;
            let found = match map {
                Map::Sparse(entries) => Map::Owned(entries.clone()).get(needle, cost)?,
                map => map.get(needle, cost)?,
            };
            Ok(Val::Bool(found.is_some()))
        }
        _ => Err(Error::no_such_overload()),
    }
}

/// Whether a list has an element.
pub fn contains(
    list: &List<'_>,
    wanted: &Val<'_>,
    cost: &mut Cost,
) -> std::result::Result<bool, Error> {
    for index in 0..list.len() {
        if let Some(item) = list.get(index, cost)?
            && equal(wanted, &item, cost)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn find<'a>(
    of: &Val<'a>,
    index: &Val<'a>,
    cost: &mut Cost,
) -> std::result::Result<Option<Val<'a>>, Error> {
    let list = match of {
        Val::List(list) => list,
        Val::Map(map) => return Ok(map.get(index, cost)?),
        // What is of no such type has nothing at any place.
        _ => return Ok(None),
    };
    let place = match index {
        Val::Int(index) => usize::try_from(*index).ok(),
        Val::Uint(index) => usize::try_from(*index).ok(),
        Val::Double(index) if index.fract() == 0.0 => (*index >= 0.0).then_some(*index as usize),
        Val::Double(_) => {
            let index = brief(index);
            return Err(Error::failed(format!(
                "unsupported index value {index} in list"
            )));
        }
        other => return Err(of_list(other.type_name())),
    };
    match place {
        Some(place) => Ok(list.get(place, cost)?),
        None => Ok(None),
    }
}

/// Of an index of this type, which no list has.
pub fn of_list(ty: &str) -> Error {
    Error::failed(format!("unsupported index type '{ty}' in list"))
}

fn at<'a>(of: &Val<'a>, index: &Val<'a>, cost: &mut Cost) -> Result<'a> {
    if let Val::Optional(_) = of {
        return optional_at(of, index, cost);
    }
    match find(of, index, cost)? {
        Some(value) => Ok(value),
        None => Err(Error::failed(match of {
            Val::List(_) => format!("index out of bounds: {}", brief(index)),
            _ => format!("no such key: {}", brief(index)),
        })),
    }
}

fn optional_at<'a>(of: &Val<'a>, index: &Val<'a>, cost: &mut Cost) -> Result<'a> {
    match of {
        Val::Optional(None) => Ok(Val::Optional(None)),
        Val::Optional(Some(value)) => Ok(Val::Optional(find(value, index, cost)?.map(Arc::new))),
        of => Ok(Val::Optional(find(of, index, cost)?.map(Arc::new))),
    }
}

fn size<'a>(value: &Val<'a>, cost: &mut Cost) -> Result<'a> {
    let size = match value {
        Val::Text(text) => {
            cost.compare(text.as_str().len())?;
            text.as_str().chars().count()
        }
        Val::Bytes(bytes) => bytes.len(),
        Val::List(list) => list.len(),
        Val::Map(map) => map.len(),
        _ => return Err(Error::no_such_overload()),
    };
    i64::try_from(size).map(Val::Int).map_err(|_| overflow())
}

fn add<'a>(a: &Val<'a>, b: &Val<'a>, cost: &mut Cost) -> Result<'a> {
    Ok(match (a, b) {
        (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_add(*b).ok_or_else(overflow)?),
        (Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_add(*b).ok_or_else(overflow)?),
        (Val::Double(a), Val::Double(b)) => Val::Double(a + b),
        (Val::Text(a), Val::Text(b)) => {
            cost.make(a.as_str().len().saturating_add(b.as_str().len()))?;
            Val::made_text([a.as_str(), b.as_str()].concat())
        }
        (Val::Bytes(a), Val::Bytes(b)) => {
            cost.make(a.len().saturating_add(b.len()))?;
            Val::Bytes([&**a, &**b].concat().into())
        }
        (Val::Duration(a), Val::Duration(b)) => {
            Val::Duration(a.checked_add(*b).ok_or_else(overflow)?)
        }
        (Val::Timestamp(at), Val::Duration(nanos)) | (Val::Duration(nanos), Val::Timestamp(at)) => {
            super::time::later(*at, *nanos)?
        }
        (Val::List(a), Val::List(b)) => {
            let mut joined = a.items(cost)?;
            joined.extend(b.items(cost)?);
            Val::list(joined)
        }
        _ => return Err(Error::no_such_overload()),
    })
}

/// Joins lists, where `map` and `filter` add to what nobody else has: it grows in place.
pub fn append<'a>(list: Val<'a>, added: Val<'a>, cost: &mut Cost) -> Result<'a> {
    let (Val::List(List::Owned(mut items)), Val::List(added)) = (list, added) else {
        return Err(Error::no_such_overload());
    };
    match Arc::get_mut(&mut items) {
        Some(items) => items.extend(added.items(cost)?),
        None => {
            return add(&Val::List(List::Owned(items)), &Val::List(added), cost);
        }
    }
    Ok(Val::List(List::Owned(items)))
}

fn arithmetic<'a>(name: &str, a: &Val<'a>, b: &Val<'a>) -> Result<'a> {
    let by_zero = || Error::failed("division by zero");
    let modulus_by_zero = || Error::failed("modulus by zero");
    Ok(match (name, a, b) {
        ("_-_", Val::Int(a), Val::Int(b)) => Val::Int(a.checked_sub(*b).ok_or_else(overflow)?),
        ("_-_", Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_sub(*b).ok_or_else(overflow)?),
        ("_-_", Val::Double(a), Val::Double(b)) => Val::Double(a - b),
        ("_-_", Val::Duration(a), Val::Duration(b)) => {
            Val::Duration(a.checked_sub(*b).ok_or_else(overflow)?)
        }
        ("_-_", Val::Timestamp(at), Val::Duration(nanos)) => {
            super::time::later(*at, nanos.checked_neg().ok_or_else(overflow)?)?
        }
        ("_-_", Val::Timestamp(a), Val::Timestamp(b)) => super::time::between(*a, *b)?,
        ("_*_", Val::Int(a), Val::Int(b)) => Val::Int(a.checked_mul(*b).ok_or_else(overflow)?),
        ("_*_", Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_mul(*b).ok_or_else(overflow)?),
        ("_*_", Val::Double(a), Val::Double(b)) => Val::Double(a * b),
        ("_/_", Val::Int(_), Val::Int(0)) => return Err(by_zero()),
        ("_/_", Val::Int(a), Val::Int(b)) => Val::Int(a.checked_div(*b).ok_or_else(overflow)?),
        ("_/_", Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_div(*b).ok_or_else(by_zero)?),
        ("_/_", Val::Double(a), Val::Double(b)) => Val::Double(a / b),
        ("_%_", Val::Int(_), Val::Int(0)) => return Err(modulus_by_zero()),
        ("_%_", Val::Int(a), Val::Int(b)) => Val::Int(a.checked_rem(*b).ok_or_else(overflow)?),
        ("_%_", Val::Uint(a), Val::Uint(b)) => {
            Val::Uint(a.checked_rem(*b).ok_or_else(modulus_by_zero)?)
        }
        _ => return Err(Error::no_such_overload()),
    })
}
