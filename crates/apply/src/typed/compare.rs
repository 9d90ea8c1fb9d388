//! Which paths differ between two objects.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use super::{Problems, items, no_shape, validate::check_scalar};
use crate::{
    element::Element,
    schema::{Atom, ListType, MapType, Schema, Shape, field_schema},
    set::{Node, Set, absent_value},
    value,
};

/// What became of an object's paths. No path is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    pub removed: Set<'a>,
    pub modified: Set<'a>,
    pub added: Set<'a>,
}

/// Compares two objects of a type. What fields are that are absent on one side is the type's matter: see
/// [`Field::absent`](crate::schema::Field).
pub fn compare<'a>(
    old: &'a Value,
    new: &'a Value,
    schema: &'a dyn Schema,
) -> Result<Comparison<'a>, Problems> {
    let mut change = Change::default();
    both(old, new, schema, &mut change)?;
    Ok(Comparison {
        removed: change.removed.children,
        modified: change.modified.children,
        added: change.added.children,
    })
}

/// The changes at a path and below it.
#[derive(Default)]
struct Change<'a> {
    removed: Part<'a>,
    modified: Part<'a>,
    added: Part<'a>,
}

#[derive(Default)]
struct Part<'a> {
    here: bool,
    children: Set<'a>,
}

impl<'a> Part<'a> {
    fn push(&mut self, element: &Element<'a>, below: Part<'a>) {
        if below.here || !below.children.is_empty() {
            self.children.push(Node {
                element: element.clone(),
                member: below.here,
                children: below.children,
            });
        }
    }

    fn sort(&mut self) {
        self.children.sort();
    }
}

impl<'a> Change<'a> {
    fn push(&mut self, element: &Element<'a>, below: Change<'a>) {
        self.removed.push(element, below.removed);
        self.modified.push(element, below.modified);
        self.added.push(element, below.added);
    }

    fn sort(&mut self) {
        self.removed.sort();
        self.modified.sort();
        self.added.sort();
    }
}

/// A value that both sides have.
fn both<'a>(
    old: &'a Value,
    new: &'a Value,
    schema: &'a dyn Schema,
    out: &mut Change<'a>,
) -> Result<(), Problems> {
    let atom = schema.atom();
    let (before, after) = (atom.deduce(old), atom.deduce(new));
    if before.shape() != after.shape() {
        // The value changed its shape: what it had goes, what it has comes.
        shaped(before, old, new, schema, out)?;
    }
    shaped(after, old, new, schema, out)
}

fn shaped<'a>(
    atom: Atom,
    old: &'a Value,
    new: &'a Value,
    schema: &'a dyn Schema,
    out: &mut Change<'a>,
) -> Result<(), Problems> {
    let leaf = match atom.shape().ok_or_else(no_shape)? {
        Shape::Scalar(scalar) => {
            if let (Err(left), Err(right)) = (check_scalar(scalar, old), check_scalar(scalar, new))
            {
                let mut problems = Problems::one(format!("lhs: {left}"));
                problems.add(Problems::one(format!("rhs: {right}")));
                return Err(problems);
            }
            true
        }
        Shape::Map(map) => {
            let (left, right) = (items::as_map(Some(old)), items::as_map(Some(new)));
            let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
            let leaf = map == MapType::Atomic || (empty(left) && empty(right));
            if !leaf {
                fields(left, right, schema, out)?;
            }
            leaf
        }
        Shape::List(list) => {
            let (left, right) = (items::as_list(Some(old)), items::as_list(Some(new)));
            let empty = |list: Option<&Vec<Value>>| list.is_none_or(Vec::is_empty);
            let leaf = list == ListType::Atomic || (empty(left) && empty(right));
            if !leaf {
                elements(left, right, schema, list, out)?;
            }
            leaf
        }
    };
    if leaf && !value::same(old, new) {
        out.modified.here = true;
    }
    Ok(())
}

fn fields<'a>(
    old: Option<&'a Map<String, Value>>,
    new: Option<&'a Map<String, Value>>,
    schema: &'a dyn Schema,
    out: &mut Change<'a>,
) -> Result<(), Problems> {
    for (name, old) in old.into_iter().flatten() {
        let element = Element::Field(Cow::Borrowed(name));
        let new = new.and_then(|new| new.get(name));
        field(&element, Some(old), new, name, schema, out)?;
    }
    for (name, new) in new.into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            let element = Element::Field(Cow::Borrowed(name));
            field(&element, None, Some(new), name, schema, out)?;
        }
    }
    out.sort();
    Ok(())
}

fn field<'a>(
    element: &Element<'a>,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    name: &str,
    schema: &'a dyn Schema,
    out: &mut Change<'a>,
) -> Result<(), Problems> {
    let below = field_schema(schema, name).ok_or_else(|| no_shape().below(element))?;
    let absent = match (old, new) {
        (Some(_), Some(_)) => None,
        _ => absent_value(schema.field(name)),
    };
    pair(element, old.or(absent), new.or(absent), below, out)
}

/// A value that one side may not have.
fn pair<'a>(
    element: &Element<'a>,
    old: Option<&'a Value>,
    new: Option<&'a Value>,
    schema: &'a dyn Schema,
    out: &mut Change<'a>,
) -> Result<(), Problems> {
    match (old, new) {
        (Some(old), Some(new)) => {
            let mut below = Change::default();
            both(old, new, schema, &mut below).map_err(|p| p.below(element))?;
            out.push(element, below);
        }
        (Some(old), None) => {
            let gone = whole(old, schema).map_err(|p| p.below(element))?;
            out.removed.push(element, gone);
        }
        (None, Some(new)) => {
            let come = whole(new, schema).map_err(|p| p.below(element))?;
            out.added.push(element, come);
        }
        (None, None) => {}
    }
    Ok(())
}

/// Every path of a value that is new, or gone: unlike in a configuration's set, those of objects too.
fn whole<'a>(value: &'a Value, schema: &'a dyn Schema) -> Result<Part<'a>, Problems> {
    let mut part = Part {
        here: true,
        children: Set::default(),
    };
    match schema.atom().deduce(value).shape().ok_or_else(no_shape)? {
        Shape::Map(MapType::Granular) => {
            for (name, value) in items::as_map(Some(value)).into_iter().flatten() {
                let element = Element::Field(Cow::Borrowed(name.as_str()));
                let below = field_schema(schema, name).ok_or_else(|| no_shape().below(&element))?;
                let below = whole(value, below).map_err(|p| p.below(&element))?;
                part.push(&element, below);
            }
            part.sort();
        }
        Shape::List(list) if list != ListType::Atomic => {
            let items = items::as_list(Some(value)).map_or(&[][..], Vec::as_slice);
            for (element, items) in by_element(items, schema, list)? {
                let below = match items[..] {
                    [item] => whole(item, schema.element()).map_err(|p| p.below(&element))?,
                    _ => Part {
                        here: true,
                        children: Set::default(),
                    },
                };
                part.push(&element, below);
            }
        }
        _ => {}
    }
    Ok(part)
}

/// The items of each key: more than one are compared as one value.
type ByElement<'a> = BTreeMap<Element<'a>, Vec<&'a Value>>;

fn by_element<'a>(
    items: &'a [Value],
    schema: &'a dyn Schema,
    list: ListType,
) -> Result<ByElement<'a>, Problems> {
    let mut out = ByElement::new();
    for (index, item) in items.iter().enumerate() {
        let element = items::element_of(schema, list, item)
            .map_err(|why| Problems::one(format!("element {index}: {why}")))?;
        out.entry(element).or_default().push(item);
    }
    Ok(out)
}

fn elements<'a>(
    old: Option<&'a Vec<Value>>,
    new: Option<&'a Vec<Value>>,
    schema: &'a dyn Schema,
    list: ListType,
    out: &mut Change<'a>,
) -> Result<(), Problems> {
    let old = by_element(old.map_or(&[], Vec::as_slice), schema, list)?;
    let mut new = by_element(new.map_or(&[], Vec::as_slice), schema, list)?;
    let below = schema.element();
    for (element, old) in old {
        let new = new.remove(&element).unwrap_or_default();
        match (&old[..], &new[..]) {
            ([old], [new]) => pair(&element, Some(old), Some(new), below, out)?,
            ([old], []) => pair(&element, Some(old), None, below, out)?,
            ([old], _) => {
                pair(&element, Some(old), None, below, out)?;
                out.added.push(&element, marker());
            }
            (_, []) => out.removed.push(&element, marker()),
            (_, [new]) => {
                pair(&element, None, Some(new), below, out)?;
                out.removed.push(&element, marker());
            }
            (old, new) => {
                let same = old.len() == new.len()
                    && old.iter().zip(new).all(|(old, new)| value::same(old, new));
                if !same {
                    out.modified.push(&element, marker());
                }
            }
        }
    }
    for (element, new) in new {
        match new[..] {
            [new] => pair(&element, None, Some(new), below, out)?,
            _ => out.added.push(&element, marker()),
        }
    }
    out.sort();
    Ok(())
}

/// Of several items of one key: the path itself, and nothing below.
fn marker<'a>() -> Part<'a> {
    Part {
        here: true,
        children: Set::default(),
    }
}
