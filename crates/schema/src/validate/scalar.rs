//! Texts, numbers and enumerations.

use knarr_meta::field::ErrorType;
use serde_json::{Number, Value};

use super::{At, Outcome, Validator, in_body};
use crate::{Type, Values, formats};

/// Bytes of a text that a pattern goes through in one step.
const TEXT_STEP_BYTES: usize = 64;
/// Values of an enumeration that are compared in one step.
const VALUES_STEP: usize = 16;

impl Validator<'_> {
    pub(super) fn text(&self, at: At<'_>, text: &str, values: &Values, outcome: &mut Outcome) {
        if !self.steps(text.len() / TEXT_STEP_BYTES) {
            return;
        }
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(max) = values.max_length.filter(|max| length > *max) {
            let why = format!("may not be more than {max} bytes");
            outcome.add(self.error(ErrorType::TooLong, at.path, None, why));
        } else if let Some(min) = values.min_length.filter(|min| length < *min) {
            let why = format!("{} should be at least {min} chars long", in_body(at.path));
            outcome.add(self.invalid(at.path, text, why));
        } else if let Some(pattern) = &values.pattern {
            let pattern_text = &pattern.text;
            let why = match pattern.regex() {
                Ok(regex) if regex.is_match(text) => None,
                Ok(_) => Some(format!(
                    "{} should match '{pattern_text}'",
                    in_body(at.path)
                )),
                Err(why) => Some(format!(
                    "{} should match '{pattern_text}, but pattern is invalid: {why}'",
                    in_body(at.path)
                )),
            };
            if let Some(why) = why {
                outcome.add(self.invalid(at.path, text, why));
            }
        }
        outcome.matches += 1;
        if formats::is_checked(None, &values.format) {
            if !formats::validates(&values.format, text) {
                let why = format!(
                    "{} must be of type {}: {text:?}",
                    in_body(at.path),
                    values.format
                );
                outcome.add(self.error(ErrorType::TypeInvalid, at.path, Some(text.into()), why));
            }
            outcome.matches += 1;
        }
    }

    pub(super) fn number(
        &self,
        at: At<'_>,
        number: &Number,
        values: &Values,
        ty: Option<Type>,
        outcome: &mut Outcome,
    ) {
        let float = number.as_f64().unwrap_or_default();
        let said = Said {
            ty,
            format: &values.format,
        };
        if !said.has(number) {
            outcome.add(self.whole(said.refuse("Checked", at.path)));
        }
        let mut factor_or_bound = |what: &str, value: f64| {
            let fits = said.has_float(value);
            if !fits {
                outcome.add(self.whole(said.refuse(what, at.path)));
            }
            // What its type does not have is compared as a number.
            number.as_i64().filter(|_| fits)
        };
        let mut wrong = Vec::new();
        if let Some(factor) = values.multiple_of {
            let integer = factor_or_bound("MultipleOf", factor);
            if !divides(integer, float, factor) {
                wrong.push(format!("be a multiple of {}", go_float(factor)));
            }
        }
        let or_equal = |exclusive| if exclusive { "" } else { " or equal to" };
        if let Some(max) = values.maximum {
            let (above, equal) = compare(factor_or_bound("Maximum boundary", max), float, max);
            if above || (equal && values.exclusive_maximum) {
                let or = or_equal(values.exclusive_maximum);
                wrong.push(format!("be less than{or} {}", go_float(max)));
            }
        }
        if let Some(min) = values.minimum {
            let (above, equal) = compare(factor_or_bound("Minimum boundary", min), float, min);
            if (!above && !equal) || (equal && values.exclusive_minimum) {
                let or = or_equal(values.exclusive_minimum);
                wrong.push(format!("be greater than{or} {}", go_float(min)));
            }
        }
        for what in wrong {
            let why = format!("{} should {what}", in_body(at.path));
            outcome.add(self.invalid(at.path, Value::Number(number.clone()), why));
        }
        outcome.matches += 2;
    }

    pub(super) fn one_of_values(&self, at: At<'_>, values: Option<&Values>, outcome: &mut Outcome) {
        let allowed = values.map_or(&[][..], |values| &values.one_of_values);
        if allowed.is_empty() || !self.steps(allowed.len() / VALUES_STEP) {
            return;
        }
        if !at.value.is_null() && allowed.iter().any(|allowed| equal(allowed, at.value)) {
            outcome.matches += 1;
            return;
        }
        let shown: Vec<String> = allowed
            .iter()
            .map(|allowed| match allowed {
                Value::String(text) => knarr_meta::field::quote(text),
                other => knarr_meta::field::quote(&other.to_string()),
            })
            .collect();
        let why = format!("supported values: {}", shown.join(", "));
        outcome.add(self.error(
            ErrorType::NotSupported,
            at.path,
            Some(at.value.clone()),
            why,
        ));
    }
}

/// What a schema says that numbers are: also its own bounds have to be that.
#[derive(Clone, Copy)]
struct Said<'a> {
    ty: Option<Type>,
    format: &'a str,
}

impl Said<'_> {
    fn has(self, number: &Number) -> bool {
        let float = number.as_f64().unwrap_or_default();
        match (self.ty, self.format) {
            (Some(Type::Integer), "int32") => is_int32(float),
            (Some(Type::Integer), _) => number.is_i64() || is_int64(float),
            (Some(Type::Number), "float") => float.abs() <= f64::from(f32::MAX),
            _ => true,
        }
    }

    fn has_float(self, number: f64) -> bool {
        match (self.ty, self.format) {
            (Some(Type::Integer), "int32") => number.fract() == 0.0 && is_int32(number),
            (Some(Type::Integer), _) => number.fract() == 0.0 && is_int64(number),
            (Some(Type::Number), "float") => number.abs() <= f64::from(f32::MAX),
            _ => true,
        }
    }

    /// `what`: the number that is none of these.
    fn refuse(self, what: &str, path: &str) -> String {
        let ty = self.ty.map_or("", Type::as_str);
        match self.format {
            "" => format!("{what} value must be of type {ty} (default format) in {path}"),
            format => format!("{what} value must be of type {ty} with format {format} in {path}"),
        }
    }
}

fn is_int32(number: f64) -> bool {
    number >= f64::from(i32::MIN) && number <= f64::from(i32::MAX)
}

fn is_int64(number: f64) -> bool {
    number.abs() < 9.223_372_036_854_775e18
}

fn divides(integer: Option<i64>, float: f64, factor: f64) -> bool {
    match integer {
        Some(value) if factor >= 1.0 && factor.fract() == 0.0 => value % (factor as i64) == 0,
        _ if factor < 1.0 => (1.0 / factor * float).fract().abs() < 1e-9,
        _ => (float / factor).fract().abs() < 1e-9,
    }
}

fn equal(allowed: &Value, value: &Value) -> bool {
    match (allowed, value) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// Whether a number is above a bound, and whether it is the bound.
fn compare(integer: Option<i64>, float: f64, bound: f64) -> (bool, bool) {
    match integer {
        // The bound is cut, as upstream does: exact for numbers that a float cannot tell apart.
        Some(value) => (value > bound as i64, value == bound as i64),
        None => (float > bound, float == bound),
    }
}

/// A number as Go prints it: `1e+21` from there on, `1e-05` below.
pub(super) fn go_float(number: f64) -> String {
    let size = number.abs();
    if number.fract() == 0.0 && size < 1e21 {
        return format!("{number:.0}");
    }
    if (1e-4..1e21).contains(&size) {
        return format!("{number}");
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}
