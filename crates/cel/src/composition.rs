//! `variables.x`: expressions with names, each evaluated when it is first looked at, and at most once.
//!
//! As upstream's `CompositedCompiler`. A variable may use those before it. These are evaluated first and not by a call inside of
//! the one that uses them: the stack of a request has a bound, the number of variables has none.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::{
    Program,
    cost::{Cost, PER_CALL},
    eval::{Error, Evaluated, Evaluator},
    syntax,
    types::Type,
    value::Val,
};

/// What the variables are selected from.
pub const VARIABLES: &str = "variables";
/// How deep values of variables may be nested. An expression nests no deeper than it is itself, but each may go on from the variable
/// before it: without an end, who walks or drops the value would run out of stack.
const MAX_NESTING: usize = 500;

/// `variables.x`
pub fn qualified(name: &str) -> String {
    format!("{VARIABLES}.{name}")
}

/// The types of the variables so far, for those that come after.
#[derive(Clone, Debug, Default)]
pub struct Composed {
    /// Shared with the environments of expressions, of which each variable has one.
    pub(crate) types: Arc<BTreeMap<String, Type>>,
}

impl Composed {
    /// Adds what a variable is; none: its expression does not compile.
    pub fn add(&mut self, name: &str, ty: Option<&Type>) {
        let ty = ty.map_or(Type::Dyn, Type::composed);
        Arc::make_mut(&mut self.types).insert(name.to_owned(), ty);
    }
}

/// What expressions of one evaluation have in common: the variables that are given, and those that are composed of them.
#[derive(Debug, Default)]
pub struct Composition<'a> {
    given: Vec<(&'a str, Val<'a>)>,
    composed: Vec<Variable<'a>>,
    /// Places of variables by their names; of those with the same name the last is meant.
    places: HashMap<&'a str, usize>,
    /// Units that variables may cost that the expression at hand is the first to look at.
    left: Cell<u64>,
}

#[derive(Debug)]
struct Variable<'a> {
    name: &'a str,
    program: Result<&'a Program, &'a str>,
    value: RefCell<Option<Evaluated<'a>>>,
    /// Of the value, at most.
    nesting: Cell<usize>,
}

impl<'a> Composition<'a> {
    /// With these as they are.
    pub fn new(given: Vec<(&'a str, Val<'a>)>) -> Composition<'a> {
        Composition {
            given,
            left: Cell::new(PER_CALL),
            ..Composition::default()
        }
    }

    /// Adds one to `variables`: its program, or why there is none.
    pub fn add(&mut self, name: &'a str, program: Result<&'a Program, &'a str>) {
        self.places.insert(name, self.composed.len());
        self.composed.push(Variable {
            name,
            program,
            value: RefCell::default(),
            nesting: Cell::new(0),
        });
    }

    /// Evaluates an expression, and pays for it and for the variables that it is the first to look at.
    ///
    /// As upstream, an expression and each variable may cost [`PER_CALL`], and all of them what is left of the budget.
    ///
    /// # Errors
    /// [`Error::Budget`] where that is less than they cost.
    pub fn eval(&self, program: &'a Program, budget: &mut Cost) -> Evaluated<'a> {
        let whole = budget.left();
        self.left.set(whole);
        let before = budget.call();
        let mut call = before;
        let value = self.run(program, &mut call);
        let own = before.left().saturating_sub(call.left());
        let variables = whole.saturating_sub(self.left.get());
        let left = whole
            .checked_sub(own.saturating_add(variables))
            .filter(|_| !(matches!(value, Err(Error::Cost)) && before.left() < PER_CALL));
        *budget = call.with_units(left.unwrap_or(0));
        match left {
            Some(_) => value,
            None => Err(Error::Budget),
        }
    }

    /// Evaluates an expression at a cost of its own.
    fn run(&self, program: &'a Program, cost: &mut Cost) -> Evaluated<'a> {
        let evaluator = Evaluator::new(&self.given, cost);
        evaluator.composed(self).eval(program.tree())
    }

    /// Whether one of `variables` has this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.position(name).is_some()
    }

    /// The value of one of `variables`. Work is done by whoever asks.
    pub(crate) fn get(&self, name: &str, cost: &mut Cost) -> Evaluated<'a> {
        let missing = || Error::failed(format!("no such key: {name}"));
        let wanted = self.position(name).ok_or_else(missing)?;
        // Those before it that it needs, however far from it.
        let mut needed = BTreeSet::from([wanted]);
        let mut at = wanted;
        loop {
            if self.composed[at].value.borrow().is_none()
                && let Ok(program) = self.composed[at].program
            {
                let names = program.composed();
                needed.extend(
                    names
                        .filter_map(|name| self.position(name))
                        .filter(|used| *used < at),
                );
            }
            match needed.range(..at).next_back() {
                Some(before) => at = *before,
                None => break,
            }
        }
        for index in needed {
            self.evaluate(index, cost)?;
        }
        let value = self.composed[wanted].value.borrow();
        value.clone().unwrap_or_else(|| Err(missing()))
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// How deep the value of a variable is nested at most, once those that it uses have been evaluated.
    fn nesting(&self, index: usize, program: &Program) -> usize {
        let used = program.composed().filter_map(|name| self.position(name));
        let used = used.filter(|used| *used < index);
        let deepest = used.map(|used| self.composed[used].nesting.get()).max();
        let nesting = match program.result.is_simple() {
            true => 0,
            false => syntax::depth(program.tree()).saturating_add(deepest.unwrap_or(0)),
        };
        self.composed[index].nesting.set(nesting);
        nesting
    }

    fn evaluate(&self, index: usize, asking: &mut Cost) -> Result<(), Error> {
        let one = &self.composed[index];
        if one.value.borrow().is_some() {
            return Ok(());
        }
        // Whoever is asked for again before there is a value asks for itself.
        let itself = format!("composited variable {:?} refers to itself", one.name);
        one.value.replace(Some(Err(Error::failed(itself))));
        let value = match one.program {
            Err(why) => Err(Error::failed(format!(
                "composited variable {:?} fails to compile: {why}",
                one.name
            ))),
            Ok(program) if self.nesting(index, program) > MAX_NESTING => {
                Err(Error::failed(format!(
                    "composited variable {:?} is nested deeper than {MAX_NESTING} levels",
                    one.name
                )))
            }
            Ok(program) => {
                let left = self.left.get();
                let before = asking.with_units(left.min(PER_CALL));
                let mut cost = before;
                let value = self.run(program, &mut cost);
                let spent = before.left().saturating_sub(cost.left());
                self.left.set(left.saturating_sub(spent));
                *asking = cost.with_units(asking.left());
                match value {
                    Err(Error::Cost) if before.left() < PER_CALL => return Err(Error::Budget),
                    Err(Error::Budget) => return Err(Error::Budget),
                    value => value.map_err(|error| {
                        Error::failed(format!(
                            "composited variable {:?} fails to evaluate: {error}",
                            one.name
                        ))
                    }),
                }
            }
        };
        one.value.replace(Some(value));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
