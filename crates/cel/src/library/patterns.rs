//! Regular expressions.

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

use knarr_meta::pattern;
use regex::Regex;

use super::Result;
use crate::{cost::Cost, eval::Error, value::Val};

/// Constant patterns that are kept compiled: those of rules come again and again. Who writes expressions says which they are, so one
/// that takes more bytes than this is not.
const MAX_KEPT: usize = 256;
const MAX_KEPT_BYTES: usize = 256 << 10;
static KEPT: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
thread_local! {
    /// The last pattern that is not kept, until its expression has been evaluated: a rule asks about all elements of a list.
    static LAST: RefCell<Option<(String, Regex)>> = const { RefCell::new(None) };
}
/// What it costs to compile one that is not kept, and one whose repetitions make it larger than it looks.
const COMPILE_STEPS: u64 = 10_000;
const COMPILE_REPETITION_STEPS: u64 = 200_000;

pub fn call<'a>(name: &str, values: &[Val<'a>], cost: &mut Cost) -> Option<Result<'a>> {
    let (text, expression) = match (name, values) {
        ("matches" | "find", [text, pattern]) | ("findAll", [text, pattern, ..]) => {
            (text.as_str()?, pattern.as_str()?)
        }
        _ => return None,
    };
    Some(run(name, text, expression, values.get(2), cost))
}

fn run<'a>(
    name: &str,
    text: &str,
    expression: &str,
    limit: Option<&Val<'a>>,
    cost: &mut Cost,
) -> Result<'a> {
    // Going through the text has been paid, by its length times the pattern's; so is the automaton.
    cost.make(expression.len())?;
    let regex = compiled(expression, cost)?;
    Ok(match name {
        "matches" => Val::Bool(regex.is_match(text)),
        "find" => Val::text(regex.find(text).map_or("", |found| found.as_str()), cost)?,
        _ => {
            let limit = match limit {
                Some(Val::Int(limit)) => usize::try_from(*limit).unwrap_or(usize::MAX),
                _ => usize::MAX,
            };
            let mut all = Vec::new();
            for found in regex.find_iter(text).take(limit) {
                // A search may go on to the end of the text to find that a match ends here.
                cost.scan(text.len().saturating_sub(found.end()))?;
                cost.make_elements(1)?;
                all.push(Val::text(found.as_str(), cost)?);
            }
            Val::list(all)
        }
    })
}

/// Keeps a pattern that is a constant of an expression: it will come again. Those that objects bring are not kept, or senders
/// would say how much memory they take.
pub fn keep(expression: &str, cost: &mut Cost) -> std::result::Result<(), Error> {
    if kept().contains_key(expression) {
        return Ok(());
    }
    pay(expression, cost)?;
    // What is none is told when it is used, and what is too large is compiled then.
    let Ok(regex) = pattern::compile_within(expression, MAX_KEPT_BYTES) else {
        return Ok(());
    };
    let mut kept = kept();
    if kept.len() >= MAX_KEPT {
        kept.clear();
    }
    kept.insert(expression.to_owned(), regex);
    Ok(())
}

fn kept() -> MutexGuard<'static, HashMap<String, Regex>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn compiled(expression: &str, cost: &mut Cost) -> std::result::Result<Regex, Error> {
    if let Some(regex) = kept().get(expression) {
        return Ok(regex.clone());
    }
    let last = LAST.with_borrow(|last| match last {
        Some((known, regex)) if known == expression => Some(regex.clone()),
        _ => None,
    });
    if let Some(regex) = last {
        return Ok(regex);
    }
    pay(expression, cost)?;
    let regex = pattern::compile(expression).map_err(Error::failed)?;
    LAST.set(Some((expression.to_owned(), regex.clone())));
    Ok(regex)
}

/// For compiling it: upstream does so with the expression, for nothing.
fn pay(expression: &str, cost: &mut Cost) -> std::result::Result<(), Error> {
    Ok(cost.steps(match expression.contains('{') {
        true => COMPILE_REPETITION_STEPS,
        false => COMPILE_STEPS,
    })?)
}

/// Forgets what an evaluation that has ended brought: a thread may be idle for long.
pub fn forget() {
    LAST.take();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Env, Program, Type};

    fn is_match(source: &str, text: &str) {
        let env = Env::default().with("self", Type::Dyn);
        let program = Program::compile(source, &env).expect("a program");
        let object = json!({"text": text, "pattern": "^a{1,2}$"});
        let value = Val::object(&object, &Type::Dyn);
        let found = program.eval(&[("self", value)], &mut Cost::new(1_000_000));
        assert!(matches!(found, Ok(Val::Bool(true))), "{source}: {found:?}");
    }

    /// Senders do not say how much memory patterns take: nothing of what an object brings outlasts the evaluation, and of constants
    /// there are so many, none of them large.
    #[test]
    fn what_stays_compiled_is_bounded() {
        is_match("self.text.matches(self.pattern)", "aa");
        assert!(!kept().contains_key("^a{1,2}$"), "an object's");
        assert!(LAST.take().is_none(), "an object's, with the thread");
        is_match("self.text.matches('^a{1,3}$')", "aa");
        assert!(kept().contains_key("^a{1,3}$"), "a constant");
        let large = "^(a{1,1000}){1,10}$";
        is_match(&format!("self.text.matches('{large}')"), "aa");
        assert!(!kept().contains_key(large), "a large constant");
        for n in 0..2 * MAX_KEPT {
            keep(&format!("^b{n}$"), &mut Cost::new(1_000_000)).expect("it is cheap");
        }
        assert!(kept().len() <= MAX_KEPT);
    }
}
