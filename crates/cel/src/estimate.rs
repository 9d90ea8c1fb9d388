//! What an expression may cost at most, for values as large as their schema allows.
//!
//! As cel-go's `checker/cost.go`: who writes a rule is told when it may cost too much, and not whoever writes an object. Costs and
//! sizes of calls are in [`calls`]; what is not known to have a bound is taken to have none.

use std::collections::{BTreeMap, HashMap};

use cel::{
    IdedExpr,
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue, SelectExpr},
};

use crate::{
    syntax::{Macro, TYPES, qualified},
    types::Type,
};

mod calls;
mod comprehensions;
#[cfg(test)]
mod tests;

const LIST: u64 = 10;
const MAP: u64 = 30;
const STRUCT: u64 = 40;

/// How large values of a schema may be.
#[derive(Clone, Debug, Default)]
pub struct Sizes {
    /// Characters, elements or entries.
    pub max: u64,
    /// By the names that rules use.
    pub fields: BTreeMap<Box<str>, Sizes>,
    /// Of elements of a list, or values of a map.
    pub element: Option<Box<Sizes>>,
    pub is_map: bool,
    /// Of keys of a map, characters.
    pub keys: u64,
    /// Values of a map are as large as its elements also where they are selected by name: `map.name`.
    pub named: bool,
}

/// A size, from and to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub min: u64,
    pub max: u64,
}

impl Size {
    pub const UNKNOWN: Size = Size {
        min: 0,
        max: u64::MAX,
    };
    const ONE: Size = Size::of(1);

    pub const fn of(size: u64) -> Size {
        Size {
            min: size,
            max: size,
        }
    }

    pub fn plus(self, other: Size) -> Size {
        Size {
            min: self.min.saturating_add(other.min),
            max: self.max.saturating_add(other.max),
        }
    }

    pub fn times(self, other: Size) -> Size {
        Size {
            min: self.min.saturating_mul(other.min),
            max: self.max.saturating_mul(other.max),
        }
    }

    /// Either of both.
    pub fn or(self, other: Size) -> Size {
        Size {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Of the entries of a list or map.
#[derive(Clone, Copy, Debug)]
struct Entries {
    is_list: bool,
    key: Size,
    value: Size,
}

impl Entries {
    fn or(self, other: Entries) -> Entries {
        Entries {
            key: self.key.or(other.key),
            value: self.value.or(other.value),
            ..self
        }
    }
}

/// Where in the schema a value is: a variable, and what is selected of it. Empty: elsewhere.
type Place<'e> = Vec<&'e str>;

const ITEMS: &str = "@items";
const INDICES: &str = "@indices";
const VALUES: &str = "@values";
const KEYS: &str = "@keys";

/// What a comprehension binds.
struct Bound<'e> {
    name: &'e str,
    place: Place<'e>,
    size: Option<Size>,
    entries: Option<Entries>,
}

/// What is known of an expression.
#[derive(Clone, Debug)]
struct Node<'e> {
    expr: &'e IdedExpr,
    ty: Type,
    place: Place<'e>,
    size: Option<Size>,
    entries: Option<Entries>,
}

impl Node<'_> {
    fn size(&self) -> Size {
        self.size.unwrap_or(Size::UNKNOWN)
    }
}

pub(crate) struct Estimator<'e> {
    /// Of expressions, by their places in memory.
    types: &'e HashMap<usize, Type>,
    sizes: &'e Sizes,
    places: HashMap<usize, Place<'e>>,
    computed: HashMap<usize, Size>,
    entries: HashMap<usize, Entries>,
    scopes: Vec<Bound<'e>>,
}

/// What tells an expression from all others of its tree.
pub(crate) fn key(expr: &IdedExpr) -> usize {
    std::ptr::from_ref(expr).addr()
}

/// `x` tenths, rounded up.
pub(crate) fn tenths(size: u64) -> u64 {
    size.div_ceil(10)
}

impl<'e> Estimator<'e> {
    pub fn new(types: &'e HashMap<usize, Type>, sizes: &'e Sizes) -> Estimator<'e> {
        Estimator {
            types,
            sizes,
            places: HashMap::new(),
            computed: HashMap::new(),
            entries: HashMap::new(),
            scopes: Vec::new(),
        }
    }

    /// The most units that an expression may cost.
    pub fn cost(&mut self, expr: &'e IdedExpr) -> u64 {
        match &expr.expr {
            Expr::Unspecified | Expr::Literal(_) => 0,
            Expr::Ident(name) => {
                let place = match self.bound(name) {
                    Some(bound) => bound.place.clone(),
                    None => vec![&**name],
                };
                self.places.insert(key(expr), place);
                1
            }
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(expr, call),
            Expr::List(list) => {
                let mut cost = LIST;
                let mut value = None;
                for item in &list.elements {
                    cost = cost.saturating_add(self.cost(item));
                    value = either(value, self.size_or_unknown(item));
                }
                let entries = Entries {
                    is_list: true,
                    key: Size::ONE,
                    value: value.unwrap_or(Size::of(0)),
                };
                self.entries.insert(key(expr), entries);
                cost
            }
            Expr::Map(map) => {
                let mut cost = MAP;
                let (mut keys, mut values) = (None, None);
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        continue;
                    };
                    cost = cost.saturating_add(self.cost(&entry.key));
                    cost = cost.saturating_add(self.cost(&entry.value));
                    keys = either(keys, self.size_or_unknown(&entry.key));
                    values = either(values, self.size_or_unknown(&entry.value));
                }
                let entries = Entries {
                    is_list: false,
                    key: keys.unwrap_or(Size::of(0)),
                    value: values.unwrap_or(Size::of(0)),
                };
                self.entries.insert(key(expr), entries);
                cost
            }
            Expr::Struct(made) => {
                let mut cost = STRUCT;
                for entry in &made.entries {
                    if let EntryExpr::StructField(field) = &entry.expr {
                        cost = cost.saturating_add(self.cost(&field.value));
                    }
                }
                cost
            }
            Expr::Comprehension(one) => self.comprehension(expr, one),
        }
    }

    fn select(&mut self, expr: &'e IdedExpr, select: &'e SelectExpr) -> u64 {
        // Names of types have dots.
        if qualified(&expr.expr).is_some_and(|name| TYPES.contains(&&*name)) {
            self.places.insert(key(expr), vec![&*select.field]);
            return 1;
        }
        let cost = self.cost(&select.operand);
        if select.test {
            return cost;
        }
        let mut place = self.place(&select.operand);
        place.push(&*select.field);
        self.places.insert(key(expr), place);
        match self.ty(&select.operand) {
            Type::Map(_) | Type::Object(_) | Type::Named(_) | Type::Var(_) => {
                cost.saturating_add(1)
            }
            _ => cost,
        }
    }

    fn call(&mut self, expr: &'e IdedExpr, call: &'e CallExpr) -> u64 {
        if let Some(one) = Macro::of(call) {
            return self.macro_call(expr, call, one);
        }
        let namespace = call.target.as_ref().is_some_and(|target| {
            matches!(&target.expr, Expr::Ident(_)) && !self.types.contains_key(&key(target))
        });
        let target = call.target.as_deref().filter(|_| !namespace);
        let mut cost: u64 = 0;
        let mut nodes = Vec::with_capacity(call.args.len());
        let mut costs = Vec::with_capacity(call.args.len());
        for argument in &call.args {
            costs.push(self.cost(argument));
            nodes.push(self.node(argument));
        }
        let target = target.map(|target| {
            cost = self.cost(target);
            self.node(target)
        });
        let name = match (&call.target, namespace) {
            (Some(target), true) => match &target.expr {
                Expr::Ident(space) => format!("{space}.{}", call.func_name),
                _ => call.func_name.clone(),
            },
            _ => call.func_name.clone(),
        };
        match (&*name, &nodes[..]) {
            // Only a way not to check types.
            ("dyn", [of]) => {
                self.same_sizes(expr, of.expr);
                return cost.saturating_add(costs[0]).saturating_add(1);
            }
            ("_?_:_", [_, yes, no]) => {
                let size = yes.size().or(no.size());
                self.computed.insert(key(expr), size);
                if let (Some(yes), Some(no)) = (yes.entries, no.entries) {
                    self.entries.insert(key(expr), yes.or(no));
                }
                return costs[0].saturating_add(costs[1].max(costs[2]));
            }
            _ => {}
        }
        let of_arguments = costs.iter().fold(cost, |sum, one| sum.saturating_add(*one));
        if let ("_&&_" | "_||_", [_, _]) = (&*name, &nodes[..]) {
            return of_arguments;
        }
        let estimate = self.estimate(&name, target.as_ref(), &nodes);
        let mut size = estimate.size;
        match (&*name, &nodes[..]) {
            ("_[_]", [of, _]) => {
                let mut place = of.place.clone();
                place.push(match of.ty {
                    Type::Map(_) => VALUES,
                    _ => ITEMS,
                });
                self.places.insert(key(expr), place);
                size = of.entries.map(|entries| entries.value);
            }
            ("_+_", [a, b]) => {
                if let (Some(a), Some(b)) = (a.entries, b.entries) {
                    self.entries.insert(key(expr), a.or(b));
                }
            }
            _ => {}
        }
        if let Some(size) = size.or_else(|| self.size(expr)) {
            self.computed.insert(key(expr), size);
        }
        of_arguments.saturating_add(estimate.cost)
    }

    fn bound(&self, name: &str) -> Option<&Bound<'e>> {
        self.scopes.iter().rev().find(|bound| bound.name == name)
    }

    fn ty(&self, expr: &IdedExpr) -> Type {
        self.types.get(&key(expr)).cloned().unwrap_or(Type::Dyn)
    }

    fn place(&self, expr: &IdedExpr) -> Place<'e> {
        if let Expr::Ident(name) = &expr.expr
            && let Some(bound) = self.bound(name)
        {
            return bound.place.clone();
        }
        self.places.get(&key(expr)).cloned().unwrap_or_default()
    }

    fn node(&self, expr: &'e IdedExpr) -> Node<'e> {
        Node {
            expr,
            ty: self.ty(expr),
            place: self.place(expr),
            size: self.size(expr),
            entries: self.entries_of(expr),
        }
    }

    fn same_sizes(&mut self, expr: &IdedExpr, of: &IdedExpr) {
        if let Some(size) = self.size(of) {
            self.computed.insert(key(expr), size);
        }
        if let Some(entries) = self.entries_of(of) {
            self.entries.insert(key(expr), entries);
        }
    }

    fn size_or_unknown(&self, expr: &IdedExpr) -> Size {
        self.size(expr).unwrap_or(Size::UNKNOWN)
    }

    fn size(&self, expr: &IdedExpr) -> Option<Size> {
        if let Some(size) = self.computed.get(&key(expr)) {
            return Some(*size);
        }
        let size = match &expr.expr {
            Expr::Literal(literal) => Some(of_literal(literal)),
            Expr::List(list) => Some(list.elements.len() as u64),
            Expr::Map(map) => Some(map.entries.len() as u64),
            _ => None,
        };
        if let Some(size) = size {
            return Some(Size::of(size));
        }
        if let Some(max) = self.max_at(&self.place(expr)) {
            return Some(Size { min: 0, max });
        }
        if is_scalar(&self.ty(expr)) {
            return Some(Size::ONE);
        }
        match &expr.expr {
            Expr::Ident(name) => self.bound(name)?.size,
            _ => None,
        }
    }

    fn entries_of(&self, expr: &IdedExpr) -> Option<Entries> {
        if let Some(entries) = self.entries.get(&key(expr)) {
            return Some(*entries);
        }
        match &expr.expr {
            Expr::Ident(name) => self.bound(name)?.entries,
            _ => None,
        }
    }

    /// What the schema says of a place. Its first part is a variable, all of which have the schema's type.
    fn max_at(&self, place: &[&str]) -> Option<u64> {
        let mut at = self.sizes;
        for name in place.get(1..)? {
            at = match *name {
                ITEMS | VALUES => at.element.as_deref()?,
                KEYS => return at.is_map.then_some(at.keys),
                _ if at.named => at.element.as_deref()?,
                field => at.fields.get(field)?,
            };
        }
        Some(at.max)
    }
}

fn either(before: Option<Size>, size: Size) -> Option<Size> {
    Some(before.map_or(size, |before| before.or(size)))
}

fn of_literal(literal: &LiteralValue) -> u64 {
    match literal {
        LiteralValue::String(text) => text.inner().chars().count() as u64,
        LiteralValue::Bytes(bytes) => bytes.inner().len() as u64,
        _ => 1,
    }
}

/// Whether all values of a type have the same size.
fn is_scalar(ty: &Type) -> bool {
    match ty {
        Type::Bool | Type::Double | Type::Duration | Type::Int | Type::Timestamp | Type::Uint => {
            true
        }
        Type::Optional(of) => is_scalar(of),
        _ => false,
    }
}
