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

/// Constant patterns that are kept compiled: those of rules come again and again.
const MAX_KEPT: usize = 256;
static KEPT: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
thread_local! {
    /// The last pattern that was none: a rule asks about all elements of a list.
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
    // What is none is told when it is used.
    let Ok(regex) = compile(expression, cost)? else {
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
    let regex = compile(expression, cost)?.map_err(Error::failed)?;
    LAST.set(Some((expression.to_owned(), regex.clone())));
    Ok(regex)
}

/// Inside: why it is no pattern.
fn compile(
    expression: &str,
    cost: &mut Cost,
) -> std::result::Result<std::result::Result<Regex, String>, Error> {
    // Upstream compiles a pattern with the expression, for nothing.
    cost.steps(match expression.contains('{') {
        true => COMPILE_REPETITION_STEPS,
        false => COMPILE_STEPS,
    })?;
    Ok(pattern::compile(expression))
}
