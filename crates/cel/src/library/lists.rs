//! Lists and sets.

use std::cmp::Ordering;

use super::{Result, operators::contains};
use crate::{
    cost::Cost,
    eval::Error,
    value::{List, Val, compare, equal},
};

/// Longest list that is made of a number.
const MAX_RANGE: i64 = 1_000_000;
/// What a call costs that makes a list, beside its elements.
const LIST_CALL: u64 = 11;
/// What a call costs, as cel-go's `ext` libraries count it.
const CALL: u64 = 1;
/// Functions of lists whose price follows from their length.
const PAYING: [&str; 13] = [
    "isSorted",
    "sum",
    "min",
    "max",
    "indexOf",
    "lastIndexOf",
    "slice",
    "flatten",
    "distinct",
    "sort",
    "sets.contains",
    "sets.equivalent",
    "sets.intersects",
];

/// Whether a function pays for itself when it is called on a list.
pub fn is_paying(name: &str) -> bool {
    PAYING.contains(&name)
}

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    if let ("lists.range", [Val::Int(end)]) = (name, values) {
        return Some(range(*end, cost));
    }
    let (Val::List(list), arguments) = values.split_first()? else {
        return None;
    };
    Some(match (name, arguments) {
        ("isSorted", []) => is_sorted(list, cost),
        ("sum", []) => sum(list, cost),
        ("min", []) => extreme(list, Ordering::Less, "min", cost),
        ("max", []) => extreme(list, Ordering::Greater, "max", cost),
        ("indexOf", [value]) => position(list, 0..list.len(), value, cost),
        ("lastIndexOf", [value]) => position(list, (0..list.len()).rev(), value, cost),
        ("slice", [Val::Int(from), Val::Int(to)]) => slice(list, *from, *to, cost),
        ("flatten", []) => flatten(list, 1, cost),
        ("flatten", [Val::Int(depth)]) => flatten(list, *depth, cost),
        ("distinct", []) => distinct(list, cost),
        ("sort", []) => sort(list, cost),
        ("reverse", []) => reverse(list, cost),
        ("first", []) => first(list, Some(0), cost),
        ("last", []) => first(list, list.len().checked_sub(1), cost),
        ("sets.contains", [Val::List(other)]) => sets(list, other, 1, cost, all_in),
        ("sets.equivalent", [Val::List(other)]) => sets(list, other, 2, cost, |a, b, cost| {
            Ok(all_in(a, b, cost)? && all_in(b, a, cost)?)
        }),
        ("sets.intersects", [Val::List(other)]) => sets(list, other, 1, cost, intersects),
        _ => return None,
    })
}

fn range<'a>(end: i64, cost: &mut Cost) -> Result<'a> {
    if end > MAX_RANGE {
        return Err(Error::Cost);
    }
    let length = usize::try_from(end).unwrap_or(0);
    // The call itself has been paid.
    cost.pay((length as u64).saturating_add(LIST_CALL - CALL))?;
    cost.make_elements(length)?;
    Ok(Val::list((0..end).map(Val::Int).collect()))
}

/// Pays for going through a list once: a tenth a character, one for what has none. Upstream goes into lists in the list as well.
fn traverse(list: &List<'_>, cost: &mut Cost) -> std::result::Result<(), Error> {
    for index in 0..list.len() {
        let units = match list.get(index, cost)? {
            Some(item @ (Val::Text(_) | Val::Bytes(_))) => item.size() / 10,
            _ => 1,
        };
        cost.pay_units(units)?;
    }
    Ok(())
}

fn is_sorted<'a>(list: &List<'a>, cost: &mut Cost) -> Result<'a> {
    traverse(list, cost)?;
    let mut before: Option<Val<'a>> = None;
    for index in 0..list.len() {
        let Some(item) = list.get(index, cost)? else {
            break;
        };
        if let Some(before) = &before
            && compare(before, &item, cost)?
                .ok_or_else(Error::no_such_overload)?
                .is_gt()
        {
            return Ok(Val::Bool(false));
        }
        before = Some(item);
    }
    Ok(Val::Bool(true))
}

fn sum<'a>(list: &List<'a>, cost: &mut Cost) -> Result<'a> {
    traverse(list, cost)?;
    let overflow = || Error::failed("integer overflow");
    let mut total = Val::Int(0);
    for index in 0..list.len() {
        let Some(item) = list.get(index, cost)? else {
            break;
        };
        total = match (total, item) {
            (Val::Int(0), item @ (Val::Uint(_) | Val::Double(_) | Val::Duration(_))) => item,
            (Val::Int(a), Val::Int(b)) => Val::Int(a.checked_add(b).ok_or_else(overflow)?),
            (Val::Uint(a), Val::Uint(b)) => Val::Uint(a.checked_add(b).ok_or_else(overflow)?),
            (Val::Double(a), Val::Double(b)) => Val::Double(a + b),
            (Val::Duration(a), Val::Duration(b)) => {
                Val::Duration(a.checked_add(b).ok_or_else(overflow)?)
            }
            _ => return Err(Error::no_such_overload()),
        };
    }
    Ok(total)
}

fn extreme<'a>(list: &List<'a>, wanted: Ordering, name: &str, cost: &mut Cost) -> Result<'a> {
    traverse(list, cost)?;
    let empty = || Error::failed(format!("{name} called on empty list"));
    let mut best = list.get(0, cost)?.ok_or_else(empty)?;
    for index in 1..list.len() {
        let Some(item) = list.get(index, cost)? else {
            break;
        };
        if compare(&item, &best, cost)?.ok_or_else(Error::no_such_overload)? == wanted {
            best = item;
        }
    }
    Ok(best)
}

fn position<'a>(
    list: &List<'a>,
    places: impl Iterator<Item = usize>,
    value: &Val<'a>,
    cost: &mut Cost,
) -> Result<'a> {
    traverse(list, cost)?;
    for index in places {
        if let Some(item) = list.get(index, cost)?
            && equal(&item, value, cost)?
        {
            return Ok(Val::Int(index as i64));
        }
    }
    Ok(Val::Int(-1))
}

fn slice<'a>(list: &List<'a>, from: i64, to: i64, cost: &mut Cost) -> Result<'a> {
    let place = |index: i64| {
        usize::try_from(index)
            .ok()
            .filter(|index| *index <= list.len())
    };
    match (place(from), place(to)) {
        (Some(start), Some(end)) if start <= end => {
            let length = end.saturating_sub(start) as u64;
            cost.pay(length.saturating_add(LIST_CALL))?;
            Ok(Val::list(list.part(start..end, cost)?))
        }
        (Some(_), Some(_)) => Err(Error::failed(format!(
            "cannot slice({from}, {to}), start index must be less than or equal to end index"
        ))),
        _ => Err(Error::failed(format!(
            "cannot slice({from}, {to}), list is length {}",
            list.len()
        ))),
    }
}

fn reverse<'a>(list: &List<'a>, cost: &mut Cost) -> Result<'a> {
    // The call itself has been paid.
    cost.pay((list.len() as u64).saturating_add(LIST_CALL - CALL))?;
    let mut items = list.items(cost)?;
    items.reverse();
    Ok(Val::list(items))
}

fn first<'a>(list: &List<'a>, place: Option<usize>, cost: &mut Cost) -> Result<'a> {
    let item = match place {
        Some(place) => list.get(place, cost)?,
        None => None,
    };
    Ok(Val::Optional(item.map(Into::into)))
}

fn flatten<'a>(list: &List<'a>, depth: i64, cost: &mut Cost) -> Result<'a> {
    let Ok(levels) = u64::try_from(depth) else {
        return Err(Error::failed("level must be non-negative"));
    };
    let elements = (list.len() as u64).saturating_mul(levels);
    cost.pay_units(elements.saturating_add(LIST_CALL))?;
    let mut items = list.items(cost)?;
    for _ in 0..levels {
        let mut next = Vec::new();
        let mut deeper = false;
        for item in items {
            match item {
                Val::List(inner) => {
                    deeper = true;
                    cost.steps(1)?;
                    next.extend(inner.items(cost)?);
                }
                other => {
                    cost.make_elements(1)?;
                    next.push(other);
                }
            }
        }
        items = next;
        if !deeper {
            break;
        }
    }
    Ok(Val::list(items))
}

/// Pays for comparing each element with each, as upstream does.
fn compare_all(list: &List<'_>, cost: &mut Cost) -> std::result::Result<(), Error> {
    let pairs = (list.len() as u64).saturating_mul(list.len() as u64);
    let texts = match list.get(0, cost)? {
        Some(Val::Text(_) | Val::Bytes(_)) => pairs / 10,
        _ => 0,
    };
    let units = pairs.saturating_mul(2).saturating_add(texts);
    Ok(cost.pay_units(units.saturating_add(LIST_CALL))?)
}

fn distinct<'a>(list: &List<'a>, cost: &mut Cost) -> Result<'a> {
    compare_all(list, cost)?;
    let mut found: Vec<Val<'a>> = Vec::new();
    'items: for index in 0..list.len() {
        let Some(item) = list.get(index, cost)? else {
            break;
        };
        for other in &found {
            if equal(&item, other, cost)? {
                continue 'items;
            }
        }
        cost.make_elements(1)?;
        found.push(item);
    }
    Ok(Val::list(found))
}

fn sort<'a>(list: &List<'a>, cost: &mut Cost) -> Result<'a> {
    compare_all(list, cost)?;
    let mut items = list.items(cost)?;
    // Those of different types have an order, but not one that sorting can rely on: a large integer and its neighbour are both
    // equal to the same double.
    let alike = |a: &Val<'_>, b: &Val<'_>| std::mem::discriminant(a) == std::mem::discriminant(b);
    for pair in items.windows(2) {
        if !alike(&pair[0], &pair[1]) {
            return Err(Error::failed("list elements must have the same type"));
        }
        compare(&pair[0], &pair[1], cost)?.ok_or_else(Error::no_such_overload)?;
    }
    // Paid before: who sorts may not find out in between that there is no order any more.
    let levels = items.len().max(1).ilog2().saturating_add(1);
    let rounds = u64::from(levels).saturating_mul(2);
    for item in &items {
        let each = (item.size() / 64).saturating_add(1);
        cost.steps(rounds.saturating_mul(each))?;
    }
    let mut paid = Cost::new(u64::MAX);
    items.sort_by(|a, b| {
        let order = compare(a, b, &mut paid).ok().flatten();
        order.unwrap_or(Ordering::Equal)
    });
    Ok(Val::list(items))
}

type SetTest = fn(&List<'_>, &List<'_>, &mut Cost) -> std::result::Result<bool, Error>;

fn sets<'a>(a: &List<'a>, b: &List<'a>, times: u64, cost: &mut Cost, test: SetTest) -> Result<'a> {
    let pairs = (a.len() as u64).saturating_mul(b.len() as u64);
    cost.pay_units(pairs.saturating_mul(times).saturating_add(CALL))?;
    test(a, b, cost).map(Val::Bool)
}

/// Whether all elements of the second list are in the first.
fn all_in(of: &List<'_>, list: &List<'_>, cost: &mut Cost) -> std::result::Result<bool, Error> {
    for index in 0..list.len() {
        if let Some(item) = list.get(index, cost)?
            && !contains(of, &item, cost)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn intersects(a: &List<'_>, b: &List<'_>, cost: &mut Cost) -> std::result::Result<bool, Error> {
    for index in 0..a.len() {
        if let Some(item) = a.get(index, cost)?
            && contains(b, &item, cost)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}
