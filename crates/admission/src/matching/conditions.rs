//! `matchConditions`: what an expression must say of a request before it is judged, as upstream's `webhook/matchconditions`.

use knarr_api::admissionregistration::expressions::{MATCH_CONDITIONS_BUDGET, compile_condition};
use knarr_cel::{Cost, Env, Error, Program, Val, weighed};
use knarr_meta::object::{list_at, str_at};
use serde_json::Value;

/// The conditions of one webhook or policy.
#[derive(Debug)]
pub struct Conditions(Vec<Condition>);

#[derive(Debug)]
struct Condition {
    name: String,
    source: String,
    /// An error where another version of this program accepted it.
    program: Result<Program, String>,
}

/// What conditions make of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Match,
    /// This one is false.
    NoMatch(String),
    /// None is false and these failed: what follows is the failure policy's.
    Failed(String),
}

impl Conditions {
    /// Those in the field `matchConditions`.
    pub fn new(value: &Value, env: &Env) -> Conditions {
        let conditions = list_at(value, &["matchConditions"]).iter().map(|one| {
            let source = str_at(one, &["expression"]).to_owned();
            Condition {
                name: str_at(one, &["name"]).to_owned(),
                program: compile_condition(source.trim(), env),
                source,
            }
        });
        Conditions(conditions.collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All are evaluated until one is false, with the variables of an activation and others beside them.
    pub fn evaluate<'a>(&'a self, variables: &[(&'a str, Val<'a>)]) -> Outcome {
        weighed(MATCH_CONDITIONS_BUDGET, |cost| {
            self.evaluate_within(variables, cost)
        })
    }

    /// As [`Conditions::evaluate`], as part of other work: the conditions have units of their own.
    pub fn evaluate_within<'a>(
        &'a self,
        variables: &[(&'a str, Val<'a>)],
        work: &mut Cost,
    ) -> Outcome {
        let mut cost = work.with_units(MATCH_CONDITIONS_BUDGET);
        let outcome = self.outcome(variables, &mut cost);
        *work = cost.with_units(work.left());
        outcome
    }

    fn outcome<'a>(&'a self, variables: &[(&'a str, Val<'a>)], cost: &mut Cost) -> Outcome {
        let mut failures = Vec::new();
        for condition in &self.0 {
            let program = match &condition.program {
                Ok(program) => program,
                Err(why) => {
                    failures.push(format!("compilation error: {why}"));
                    continue;
                }
            };
            let mut call = cost.call();
            let before = call;
            let value = program.eval(variables, &mut call);
            cost.settle(before, call);
            match value {
                Ok(Val::Bool(true)) => {}
                Ok(Val::Bool(false)) => return Outcome::NoMatch(condition.name.clone()),
                // In upstream's words, where all conditions together have cost too much.
                Err(Error::Budget) => return Outcome::Failed(Error::Budget.to_string()),
                Err(Error::Cost) if cost.left() == 0 => {
                    return Outcome::Failed(Error::Budget.to_string());
                }
                other => {
                    let why = match other {
                        Err(error) => error.to_string(),
                        Ok(_) => "no such overload".to_owned(),
                    };
                    let source = &condition.source;
                    failures.push(format!("expression '{source}' resulted in error: {why}"));
                }
            }
        }
        match &failures[..] {
            [] => Outcome::Match,
            [one] => Outcome::Failed(one.clone()),
            all => Outcome::Failed(format!("[{}]", all.join(", "))),
        }
    }
}
