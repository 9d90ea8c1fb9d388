//! Evaluation: a walk over the tree, a unit a step.

use std::sync::Arc;

use cel::{
    IdedExpr,
    common::ast::{
        CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, MapExpr, SelectExpr, StructExpr,
    },
};

use crate::{
    composition::{Composition, VARIABLES},
    cost::Cost,
    functions, library,
    syntax::{Macro, TYPES, qualified},
    value::{Map, Struct, Text, Val, equal},
};

mod comprehensions;
mod constants;
mod optionals;

pub use crate::error::{Error, Evaluated};
use comprehensions::Pairs;
use constants::{is_attribute, is_constant, is_constant_call};
use optionals::optional_field;

/// What making a list, a map or an object costs, as cel-go, and how much of that is for their elements.
const LIST_COST: u64 = 10;
const MAP_COST: u64 = 30;
const STRUCT_COST: u64 = 40;

pub struct Evaluator<'a, 'c> {
    variables: &'c [(&'a str, Val<'a>)],
    composed: Option<&'c Composition<'a>>,
    /// Names bound by comprehensions, with what they are: an accumulator may be an error for a while.
    scopes: Vec<(&'a str, Evaluated<'a>)>,
    cost: &'c mut Cost,
}

impl Drop for Evaluator<'_, '_> {
    fn drop(&mut self) {
        library::forget_patterns();
    }
}

impl<'a, 'c> Evaluator<'a, 'c> {
    pub fn new(variables: &'c [(&'a str, Val<'a>)], cost: &'c mut Cost) -> Evaluator<'a, 'c> {
        Evaluator {
            variables,
            composed: None,
            scopes: Vec::new(),
            cost,
        }
    }

    /// With these as `variables`.
    pub fn composed(mut self, composed: &'c Composition<'a>) -> Evaluator<'a, 'c> {
        self.composed = Some(composed);
        self
    }

    pub fn eval(&mut self, expr: &'a IdedExpr) -> Evaluated<'a> {
        self.cost.steps(1)?;
        match &expr.expr {
            Expr::Literal(literal) => Ok(of_literal(literal)),
            Expr::Ident(name) => {
                // Names of types are constants.
                if !TYPES.contains(&&**name) || self.is_bound(name) {
                    self.cost.pay(1)?;
                }
                self.name(name)
            }
            Expr::Select(select) => self.select(expr, select),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                self.pay_unless_constant(expr, LIST_COST)?;
                self.cost.make_elements(list.elements.len())?;
                let mut items = Vec::with_capacity(list.elements.len());
                for (index, item) in list.elements.iter().enumerate() {
                    let value = self.eval(item)?;
                    match (list.optional_indices.contains(&index), value) {
                        (true, Val::Optional(value)) => {
                            items.extend(value.map(|value| (*value).clone()))
                        }
                        (_, value) => items.push(value),
                    }
                }
                Ok(Val::list(items))
            }
            Expr::Map(map) => {
                self.pay_unless_constant(expr, MAP_COST)?;
                self.map(map)
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(made) => self.made(made),
            Expr::Unspecified => Err(Error::no_such_overload()),
        }
    }

    /// Upstream makes constants once, when it compiles an expression: they cost work only.
    fn pay_unless_constant(&mut self, expr: &IdedExpr, units: u64) -> Result<(), Error> {
        match is_constant(expr) {
            true => self.cost.steps(units)?,
            false => self.cost.pay(units)?,
        }
        Ok(())
    }

    /// What upstream evaluates as a part of something else: a key by a name, a branch that is a field. It costs work only.
    fn part(&mut self, expr: &'a IdedExpr) -> Evaluated<'a> {
        let units = self.cost.left();
        let value = self.eval(expr);
        if is_attribute(expr) && !matches!(&value, Err(error) if error.is_final()) {
            *self.cost = self.cost.with_units(units);
        }
        value
    }

    fn map(&mut self, map: &'a MapExpr) -> Evaluated<'a> {
        self.cost.make_elements(map.entries.len())?;
        let mut entries: Vec<(Val<'a>, Val<'a>)> = Vec::new();
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else {
                continue;
            };
            let (key, value) = (self.eval(&entry.key)?, self.eval(&entry.value)?);
            if self.has_key(&entries, &key)? {
                return Err(Error::failed("Failed with repeated key"));
            }
            match (entry.optional, value) {
                (true, Val::Optional(value)) => {
                    entries.extend(value.map(|value| (key, (*value).clone())));
                }
                (_, value) => entries.push((key, value)),
            }
        }
        Ok(Val::Map(Map::Owned(Arc::new(entries))))
    }

    fn has_key(&mut self, entries: &[(Val<'a>, Val<'a>)], key: &Val<'a>) -> Result<bool, Error> {
        for (other, _) in entries {
            if equal(other, key, self.cost)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn name(&self, name: &str) -> Evaluated<'a> {
        if let Some((_, value)) = self.scopes.iter().rev().find(|(bound, _)| *bound == name) {
            return value.clone();
        }
        if let Some((_, value)) = self
            .variables
            .iter()
            .find(|(variable, _)| *variable == name)
        {
            return Ok(value.clone());
        }
        match TYPES.contains(&name) {
            true => Ok(Val::Type(name.into())),
            false => Err(Error::failed(format!("no such attribute(s): {name}"))),
        }
    }

    /// A variable with a dot in its name, unless a macro has bound the first part of it.
    fn qualified_variable(&self, name: &str) -> Option<Val<'a>> {
        let root = name.split('.').next();
        if self.scopes.iter().any(|(bound, _)| Some(*bound) == root) {
            return None;
        }
        let mut variables = self.variables.iter();
        let found = variables.find(|(variable, _)| *variable == name);
        found.map(|(_, value)| value.clone())
    }

    /// `Type{field: value}`
    fn made(&mut self, made: &'a StructExpr) -> Evaluated<'a> {
        self.cost.pay(STRUCT_COST)?;
        self.cost.make_elements(made.entries.len())?;
        let mut fields = Vec::with_capacity(made.entries.len());
        for entry in &made.entries {
            let EntryExpr::StructField(given) = &entry.expr else {
                continue;
            };
            match (given.optional, self.eval(&given.value)?) {
                (true, Val::Optional(value)) => {
                    fields.extend(value.map(|value| (&*given.field, (*value).clone())));
                }
                (_, value) => fields.push((&*given.field, value)),
            }
        }
        let name = made.type_name.trim_start_matches('.');
        Ok(Val::Map(Map::Struct(Arc::new(Struct { name, fields }))))
    }

    fn is_scoped(&self, name: &str) -> bool {
        self.scopes.iter().any(|(bound, _)| *bound == name)
    }

    fn is_bound(&self, name: &str) -> bool {
        self.is_scoped(name) || self.variables.iter().any(|(variable, _)| *variable == name)
    }

    fn select(&mut self, expr: &'a IdedExpr, select: &'a SelectExpr) -> Evaluated<'a> {
        if let Some(name) = qualified(&expr.expr) {
            if TYPES.contains(&&*name) {
                return Ok(Val::Type(name.into()));
            }
            if let Some(value) = self.qualified_variable(&name) {
                self.cost.pay(1)?;
                return Ok(value);
            }
        }
        // Upstream takes nothing for looking whether a field is there.
        match select.test {
            true => self.cost.steps(1)?,
            false => self.cost.pay(1)?,
        }
        if let (Expr::Ident(name), Some(composed)) = (&select.operand.expr, self.composed)
            && name == VARIABLES
            && !self.is_scoped(name)
        {
            // `variables` is a name as well.
            self.cost.pay(1)?;
            return match select.test {
                true => Ok(Val::Bool(composed.has(&select.field))),
                false => composed.get(&select.field, self.cost),
            };
        }
        let operand = self.eval(&select.operand)?;
        let has = |map: &Map<'a>, cost: &mut Cost| {
            let found = map.field(&select.field, cost)?;
            Ok(Val::Bool(found.is_some()))
        };
        match (&operand, select.test) {
            (Val::Map(map), true) => has(map, self.cost),
            (Val::Optional(value), true) => match value.as_deref() {
                Some(Val::Map(map)) => has(map, self.cost),
                _ => Ok(Val::Bool(false)),
            },
            (Val::Optional(_), false) => optional_field(&operand, &select.field, self.cost),
            (Val::Map(map), false) => {
                let found = map.field(&select.field, self.cost)?;
                found.ok_or_else(|| Error::failed(format!("no such key: {}", select.field)))
            }
            // Only its type could tell: the null of an object that is not there has no fields.
            (Val::List(_), _) => Err(library::of_list("string")),
            (_, true) => Ok(Val::Bool(false)),
            (_, false) => Err(Error::failed(format!("no such key: {}", select.field))),
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Evaluated<'a> {
        if let Some(value) = self.special(call)? {
            return Ok(value);
        }
        match Macro::of(call) {
            Some(one) => self.macro_call(call, one),
            None => self.function(call),
        }
    }

    /// Calls that do not look at all their arguments, or look at them in their own way. `None`: it is no such call.
    fn special(&mut self, call: &'a CallExpr) -> Result<Option<Val<'a>>, Error> {
        let value = match (&*call.func_name, &call.args[..]) {
            ("_&&_", [a, b]) => self.logic(a, b, false)?,
            ("_||_", [a, b]) => self.logic(a, b, true)?,
            ("_?_:_", [condition, yes, no]) => match self.eval(condition)? {
                Val::Bool(true) => self.part(yes)?,
                Val::Bool(false) => self.part(no)?,
                _ => return Err(Error::no_such_overload()),
            },
            ("@not_strictly_false", [condition]) => {
                self.cost.pay(1)?;
                match self.eval(condition) {
                    Err(error) if error.is_final() => return Err(error),
                    Ok(Val::Bool(false)) => Val::Bool(false),
                    _ => Val::Bool(true),
                }
            }
            ("_?._", [operand, field]) => {
                let operand = self.eval(operand)?;
                let Expr::Literal(LiteralValue::String(name)) = &field.expr else {
                    return Err(Error::no_such_overload());
                };
                self.cost.pay(1)?;
                optional_field(&operand, name.inner(), self.cost)?
            }
            ("_[_]" | "_[?_]", [of, key]) => {
                let of = self.eval(of)?;
                let key = self.part(key)?;
                library::call(&call.func_name, false, vec![of, key], self.cost)?
            }
            ("@in", [needle, hay]) if is_constant(hay) => {
                // Upstream looks into a set then.
                let (needle, hay) = (self.eval(needle)?, self.eval(hay)?);
                self.free("@in", vec![needle, hay])?
            }
            ("or" | "orValue", [other]) => match &call.target {
                Some(target) => self.otherwise(target, other, call.func_name == "or")?,
                None => return Ok(None),
            },
            (name, [value]) if is_constant_call(name, value) => {
                // A constant as well.
                let value = self.eval(value)?;
                self.free(name, vec![value])?
            }
            _ => return Ok(None),
        };
        Ok(Some(value))
    }

    /// Calls a function without a price.
    fn free(&mut self, name: &str, values: Vec<Val<'a>>) -> Evaluated<'a> {
        let units = self.cost.left();
        let value = library::call(name, false, values, self.cost)?;
        *self.cost = self.cost.with_units(units);
        Ok(value)
    }

    fn function(&mut self, call: &'a CallExpr) -> Evaluated<'a> {
        let namespace = call.target.as_ref().and_then(|target| match &target.expr {
            Expr::Ident(name) if !self.is_bound(name) => {
                functions::of_namespace(name, &call.func_name)
            }
            _ => None,
        });
        let mut values = Vec::with_capacity(call.args.len().saturating_add(1));
        if let (Some(target), None) = (&call.target, &namespace) {
            values.push(self.eval(target)?);
        }
        let is_member = !values.is_empty();
        for argument in &call.args {
            values.push(self.eval(argument)?);
        }
        if let Some(pattern) = constants::pattern(call) {
            library::keep_pattern(pattern, self.cost)?;
        }
        let name = namespace.as_deref().unwrap_or(&call.func_name);
        library::call(name, is_member, values, self.cost)
    }

    /// `&&` and `||`: one side may fail where the other decides.
    fn logic(&mut self, a: &'a IdedExpr, b: &'a IdedExpr, deciding: bool) -> Evaluated<'a> {
        let first = self.eval(a);
        match &first {
            Ok(Val::Bool(value)) if *value == deciding => return first,
            Err(error) if error.is_final() => return first,
            _ => {}
        }
        let second = self.eval(b);
        match (first, second) {
            (_, Err(error)) if error.is_final() => Err(error),
            (_, Ok(Val::Bool(value))) if value == deciding => Ok(Val::Bool(value)),
            (Ok(Val::Bool(_)), Ok(Val::Bool(value))) => Ok(Val::Bool(value)),
            (Err(error), _) | (_, Err(error)) => Err(error),
            _ => Err(Error::no_such_overload()),
        }
    }

    fn comprehension(&mut self, one: &'a ComprehensionExpr) -> Evaluated<'a> {
        let range = self.eval(&one.iter_range)?;
        let initial = self.eval(&one.accu_init);
        let base = self.scopes.len();
        self.scopes.push((&one.accu_var, initial));
        let looped = self.iterate(one, range, base);
        self.scopes.truncate(base.saturating_add(1));
        let result = looped.and_then(|()| self.eval(&one.result));
        self.scopes.truncate(base);
        result
    }

    fn iterate(
        &mut self,
        one: &'a ComprehensionExpr,
        range: Val<'a>,
        base: usize,
    ) -> Result<(), Error> {
        let mut pairs = Pairs::of(range, self.cost)?;
        while let Some((key, value)) = pairs.next(self.cost)? {
            let (first, second) = match (&one.iter_var2, pairs.is_list()) {
                (Some(_), _) => (key, Some(value)),
                (None, true) => (value, None),
                (None, false) => (key, None),
            };
            self.scopes.truncate(base.saturating_add(1));
            self.scopes.push((&one.iter_var, Ok(first)));
            if let (Some(name), Some(second)) = (&one.iter_var2, second) {
                self.scopes.push((name, Ok(second)));
            }
            match self.eval(&one.loop_cond)? {
                Val::Bool(true) => {}
                _ => break,
            }
            let next = self.step(&one.loop_step, &one.accu_var, base);
            if let Err(error) = &next
                && error.is_final()
            {
                return Err(error.clone());
            }
            self.scopes[base].1 = next;
        }
        Ok(())
    }

    /// A step of a comprehension. What `map` and `filter` add to goes from hand to hand: copying it at each step would cost a
    /// square.
    fn step(&mut self, step: &'a IdedExpr, accumulator: &str, base: usize) -> Evaluated<'a> {
        if let Expr::Call(call) = &step.expr {
            match (&*call.func_name, &call.args[..]) {
                ("_?_:_", [condition, yes, no]) if is_name(no, accumulator) => {
                    return match self.eval(condition)? {
                        Val::Bool(true) => self.step(yes, accumulator, base),
                        Val::Bool(false) => {
                            std::mem::replace(&mut self.scopes[base].1, Ok(Val::Null))
                        }
                        _ => Err(Error::no_such_overload()),
                    };
                }
                ("_+_", [before, added]) if is_name(before, accumulator) => {
                    // The name of the accumulator.
                    self.cost.pay(1)?;
                    let added = self.eval(added)?;
                    let before = std::mem::replace(&mut self.scopes[base].1, Ok(Val::Null))?;
                    return match (before, added) {
                        (before @ Val::List(_), added) => {
                            self.cost.pay(1)?;
                            library::append(before, added, self.cost)
                        }
                        (before, added) => {
                            library::call("_+_", false, vec![before, added], self.cost)
                        }
                    };
                }
                _ => {}
            }
        }
        self.eval(step)
    }
}

fn is_name(expr: &IdedExpr, name: &str) -> bool {
    matches!(&expr.expr, Expr::Ident(found) if found == name)
}

fn of_literal<'a>(literal: &'a LiteralValue) -> Val<'a> {
    match literal {
        LiteralValue::Boolean(flag) => Val::Bool(*flag.inner()),
        LiteralValue::Bytes(bytes) => Val::Bytes(bytes.inner().into()),
        LiteralValue::Double(number) => Val::Double(*number.inner()),
        LiteralValue::Int(number) => Val::Int(*number.inner()),
        LiteralValue::Null => Val::Null,
        LiteralValue::String(text) => Val::Text(Text::Of(text.inner())),
        LiteralValue::UInt(number) => Val::Uint(*number.inner()),
    }
}
