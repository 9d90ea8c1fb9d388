//! What goes through lists and maps: the macros that the parser leaves as calls.

use std::sync::Arc;

use cel::{IdedExpr, common::ast::CallExpr};

use super::{Error, Evaluated, Evaluator, LIST_COST};
use crate::{
    cost::Cost,
    syntax::{Macro, bound},
    value::{List, Map, Val},
};

impl<'a> Evaluator<'a, '_> {
    /// Macros that the parser leaves as calls.
    pub(super) fn macro_call(&mut self, call: &'a CallExpr, one: Macro) -> Evaluated<'a> {
        let target = match &call.target {
            Some(target) => self.eval(target)?,
            None => return Err(Error::no_such_overload()),
        };
        let names = bound(call, one.names()).ok_or_else(Error::no_such_overload)?;
        let bodies = &call.args[one.names()..];
        if matches!(one, Macro::OptMap | Macro::OptFlatMap) {
            let Val::Optional(value) = target else {
                return Err(Error::no_such_overload());
            };
            let Some(value) = value else {
                return Ok(Val::Optional(None));
            };
            // `hasValue()`, `value()`, and `optional.of()`.
            self.cost.pay(if one == Macro::OptMap { 3 } else { 2 })?;
            let result = self.with(&names, [(*value).clone(), Val::Null], &bodies[0])?;
            return Ok(match one {
                Macro::OptMap => Val::some(result),
                _ => result,
            });
        }
        let mut pairs = Pairs::of(target, self.cost)?;
        // Each of these is a comprehension in cel-go, whose accumulator is looked at in the end, and compared.
        self.cost.pay(match one {
            Macro::ExistsOne => 2,
            _ => 1,
        })?;
        match one {
            Macro::All | Macro::Exists => {
                self.quantify(&names, pairs, &bodies[0], one == Macro::Exists)
            }
            Macro::ExistsOne => {
                let mut count: usize = 0;
                while let Some((first, second)) = pairs.next(self.cost)? {
                    match self.with(&names, [first, second], &bodies[0])? {
                        Val::Bool(true) => {
                            self.cost.pay(2)?;
                            count = count.saturating_add(1);
                        }
                        Val::Bool(false) => {}
                        _ => return Err(Error::no_such_overload()),
                    }
                }
                Ok(Val::Bool(count == 1))
            }
            _ => self.transform(&names, pairs, bodies, one),
        }
    }

    fn with(
        &mut self,
        names: &[&'a str],
        values: [Val<'a>; 2],
        body: &'a IdedExpr,
    ) -> Evaluated<'a> {
        let base = self.scopes.len();
        for (name, value) in names.iter().zip(values) {
            self.scopes.push((name, Ok(value)));
        }
        let result = self.eval(body);
        self.scopes.truncate(base);
        result
    }

    fn quantify(
        &mut self,
        names: &[&'a str],
        mut pairs: Pairs<'a>,
        body: &'a IdedExpr,
        deciding: bool,
    ) -> Evaluated<'a> {
        let mut result = Ok(Val::Bool(!deciding));
        // Whether the accumulator has decided is asked before each.
        let asking: u64 = if deciding { 3 } else { 2 };
        while let Some((first, second)) = pairs.next(self.cost)? {
            self.cost.pay(asking.saturating_add(1))?;
            match self.with(names, [first, second], body) {
                Ok(Val::Bool(value)) if value == deciding => {
                    if pairs.next(self.cost)?.is_some() {
                        self.cost.pay(asking)?;
                    }
                    return Ok(Val::Bool(value));
                }
                Ok(Val::Bool(_)) => {}
                Ok(_) => result = Err(Error::no_such_overload()),
                Err(error) if error.is_final() => return Err(error),
                Err(error) => result = Err(error),
            }
        }
        result
    }

    fn transform(
        &mut self,
        names: &[&'a str],
        mut pairs: Pairs<'a>,
        bodies: &'a [IdedExpr],
        one: Macro,
    ) -> Evaluated<'a> {
        let (filter, body) = match bodies {
            [body] => (None, body),
            [filter, body] => (Some(filter), body),
            _ => return Err(Error::no_such_overload()),
        };
        let (mut items, mut entries) = (Vec::new(), Vec::new());
        while let Some((first, second)) = pairs.next(self.cost)? {
            if let Some(filter) = filter {
                match self.with(names, [first.clone(), second.clone()], filter)? {
                    Val::Bool(true) => {}
                    Val::Bool(false) => continue,
                    _ => return Err(Error::no_such_overload()),
                }
            }
            // The accumulator, and the call that adds to it; a list of one, or the key.
            self.cost.pay(match one {
                Macro::TransformList => 2 + LIST_COST,
                Macro::TransformMap => 3,
                _ => 2,
            })?;
            self.cost.make_elements(1)?;
            let value = self.with(names, [first.clone(), second], body)?;
            match (one, value) {
                (Macro::TransformList, value) => items.push(value),
                (Macro::TransformMap, value) => entries.push((first, value)),
                (_, Val::Map(map)) => {
                    for (key, value) in map.entries(self.cost)? {
                        if self.has_key(&entries, &key)? {
                            return Err(Error::failed("insert failed: key already exists"));
                        }
                        entries.push((key, value));
                    }
                }
                _ => return Err(Error::no_such_overload()),
            }
        }
        Ok(match one {
            Macro::TransformList => Val::list(items),
            _ => Val::Map(Map::Owned(Arc::new(entries))),
        })
    }
}

/// What a comprehension goes through: elements of a list with their places, or entries of a map.
pub(super) enum Pairs<'a> {
    List(List<'a>, usize),
    Map(std::vec::IntoIter<(Val<'a>, Val<'a>)>),
}

impl<'a> Pairs<'a> {
    pub(super) fn of(range: Val<'a>, cost: &mut Cost) -> Result<Pairs<'a>, Error> {
        match range {
            Val::List(list) => Ok(Pairs::List(list, 0)),
            Val::Map(map) => Ok(Pairs::Map(map.entries(cost)?.into_iter())),
            _ => Err(Error::no_such_overload()),
        }
    }

    pub(super) fn is_list(&self) -> bool {
        matches!(self, Pairs::List(..))
    }

    pub(super) fn next(&mut self, cost: &mut Cost) -> Result<Option<(Val<'a>, Val<'a>)>, Error> {
        match self {
            Pairs::List(list, next) => {
                let index = *next;
                *next = index.saturating_add(1);
                let item = list.get(index, cost)?;
                Ok(item.map(|item| (Val::Int(index as i64), item)))
            }
            Pairs::Map(entries) => Ok(entries.next()),
        }
    }
}
