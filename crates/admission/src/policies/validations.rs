//! What a validating policy says of a request, as upstream's `policy/validating/validator.go`.

use knarr_api::admissionregistration::expressions::{BUDGET, Returns};
use knarr_cel::{Cost, Error, Val, weighed};
use knarr_meta::object::{list_at, str_at};
use serde_json::Value;

use super::input::{Compiled, Expression, Input, told};
use crate::matching::Outcome;

/// Longest message that an expression makes.
const MAX_MESSAGE_BYTES: usize = 5 << 10;

/// The compiled expressions of a policy.
#[derive(Debug)]
pub struct Validations {
    pub common: Compiled,
    validations: Vec<Validation>,
    annotations: Vec<(String, Expression)>,
}

#[derive(Debug)]
struct Validation {
    expression: Expression,
    message: String,
    message_expression: Option<Expression>,
    reason: String,
}

/// What is wrong with a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// Which of the policy's validations failed.
    pub index: usize,
    pub message: String,
    /// `Invalid`, `Forbidden`, …; empty where an expression has no value.
    pub reason: String,
}

/// What becomes of an audit annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Annotation {
    Publish { key: String, value: String },
    Failed(String),
}

/// What a policy says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub failures: Vec<Failure>,
    pub annotations: Vec<Annotation>,
}

impl Verdict {
    /// Of a policy that could not be evaluated at all.
    fn of_error(ignored: bool, message: String) -> Verdict {
        let mut verdict = Verdict::default();
        if !ignored {
            verdict.failures.push(Failure {
                message,
                ..Failure::default()
            });
        }
        verdict
    }
}

impl Validations {
    /// Compiles the expressions of a policy's spec.
    pub fn compile(spec: &Value) -> Validations {
        let common = Compiled::new(spec);
        let (env, quiet) = (common.env(), common.env_without_authorizer());
        let validation = |one: &Value| Validation {
            expression: Expression::new(str_at(one, &["expression"]), &env, Returns::Bool),
            message: str_at(one, &["message"]).trim().to_owned(),
            message_expression: match str_at(one, &["messageExpression"]) {
                "" => None,
                source => Some(Expression::new(source, &quiet, Returns::Text)),
            },
            reason: match str_at(one, &["reason"]) {
                "" => "Invalid".to_owned(),
                reason => reason.to_owned(),
            },
        };
        let annotation = |one: &Value| {
            let source = str_at(one, &["valueExpression"]);
            let key = str_at(one, &["key"]).to_owned();
            (key, Expression::new(source, &env, Returns::TextOrNull))
        };
        Validations {
            validations: list_at(spec, &["validations"])
                .iter()
                .map(validation)
                .collect(),
            annotations: list_at(spec, &["auditAnnotations"])
                .iter()
                .map(annotation)
                .collect(),
            common,
        }
    }

    /// Judges a request. `ignored`: what cannot be evaluated does not refuse it.
    pub fn judge(&self, input: &Input<'_>, ignored: bool) -> Verdict {
        weighed(BUDGET, |cost| self.judge_within(input, ignored, cost))
    }

    fn judge_within(&self, input: &Input<'_>, ignored: bool, cost: &mut Cost) -> Verdict {
        let conditions = &self.common.conditions;
        match conditions.evaluate_within(&input.bindings(), cost) {
            Outcome::Match => {}
            Outcome::NoMatch(_) => return Verdict::default(),
            Outcome::Failed(why) => return Verdict::of_error(ignored, why),
        }
        let failures = match self.validate(input, ignored, cost) {
            Ok(failures) => failures,
            Err(out) => return Verdict::of_error(ignored, out.to_string()),
        };
        // Annotations have units of their own, as upstream.
        *cost = cost.with_units(BUDGET);
        match self.annotate(input, ignored, cost) {
            Ok(annotations) => Verdict {
                failures,
                annotations,
            },
            Err(out) => Verdict::of_error(ignored, out.to_string()),
        }
    }

    /// # Errors
    /// Where the budget is used up.
    fn validate(
        &self,
        input: &Input<'_>,
        ignored: bool,
        budget: &mut Cost,
    ) -> Result<Vec<Failure>, Error> {
        let composition = input.compose(true);
        let mut results = Vec::with_capacity(self.validations.len());
        for validation in &self.validations {
            results.push(match &validation.expression.program {
                Err(why) => Err(format!("compilation error: {why}")),
                Ok(program) => match composition.eval(program, budget) {
                    Err(Error::Budget) => return Err(Error::Budget),
                    value => value.map_err(|error| told(&validation.expression, &error)),
                },
            });
        }
        // Messages are made with what is left, and without the authorizer.
        let composition = input.compose(false);
        let mut failures = Vec::new();
        let mut out = false;
        for (index, (validation, result)) in self.validations.iter().zip(results).enumerate() {
            let failure = |message, reason: &str| Failure {
                index,
                message,
                reason: reason.to_owned(),
            };
            let made = match &validation.message_expression {
                Some(expression) if !out => match &expression.program {
                    Ok(program) => match composition.eval(program, budget) {
                        Err(Error::Budget) => {
                            out = true;
                            None
                        }
                        value => usable(value),
                    },
                    Err(_) => None,
                },
                _ => None,
            };
            match result {
                Err(_) if ignored => {}
                Err(message) => failures.push(failure(message, "")),
                Ok(_) if out && !ignored => {
                    let message = format!("failed messageExpression: {}", Error::Budget);
                    failures.push(failure(message, ""));
                }
                Ok(_) if out => {}
                Ok(Val::Bool(true)) => {}
                Ok(_) => {
                    let message = made.unwrap_or_else(|| validation.told());
                    failures.push(failure(message, &validation.reason));
                }
            }
        }
        Ok(failures)
    }

    /// # Errors
    /// Where the budget is used up.
    fn annotate(
        &self,
        input: &Input<'_>,
        ignored: bool,
        budget: &mut Cost,
    ) -> Result<Vec<Annotation>, Error> {
        let composition = input.compose(false);
        let mut annotations = Vec::new();
        for (key, expression) in &self.annotations {
            let value = match &expression.program {
                Err(why) => Err(format!("compilation error: {why}")),
                Ok(program) => match composition.eval(program, budget) {
                    Err(Error::Budget) => return Err(Error::Budget),
                    value => value.map_err(|error| told(expression, &error)),
                },
            };
            match value {
                Err(_) if ignored => {}
                Err(why) => annotations.push(Annotation::Failed(why)),
                Ok(Val::Null) => {}
                Ok(value) => match value.as_str().map(str::trim) {
                    Some("") => {}
                    Some(text) => annotations.push(Annotation::Publish {
                        key: key.clone(),
                        value: text.to_owned(),
                    }),
                    None => {
                        let (source, ty) = (&expression.source, value.type_name());
                        annotations.push(Annotation::Failed(format!(
                            "valueExpression '{source}' resulted in unsupported return type: {ty}. Return type must be either string or null."
                        )));
                    }
                },
            }
        }
        Ok(annotations)
    }
}

impl Validation {
    /// What is said where no expression says it.
    fn told(&self) -> String {
        match &*self.message {
            "" => format!("failed expression: {}", self.expression.source.trim()),
            message => message.to_owned(),
        }
    }
}

/// A message that an expression made; none where it cannot be used.
fn usable(value: Result<Val<'_>, Error>) -> Option<String> {
    let value = value.ok()?;
    let text = value.as_str()?.trim();
    let usable = !text.is_empty() && text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n');
    usable.then(|| text.to_owned())
}
