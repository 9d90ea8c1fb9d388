//! Validates an object against its schema, in the words of upstream's validator (kube-openapi).
//!
//! On an update, what is wrong with a part that did not change is not told ("ratcheting"): a definition that became stricter
//! does not lock its old objects.

use std::cell::Cell;

use knarr_meta::field::{Error, ErrorList, ErrorType, Path};
use serde_json::{Map, Value};

use crate::{Additional, ListType, Schema, Type, Values, lists};

mod scalar;
#[cfg(test)]
mod tests;

/// Most steps of one validation. A step is a value before a schema; long texts and enumerations are several.
pub const MAX_STEPS: usize = 5_000_000;

/// Most errors that are told.
const MAX_ERRORS: usize = 100;

/// What it costs to word an error, also one that is dropped since another alternative fits.
const ERROR_STEPS: usize = 100;

/// What is wrong with an object that is created. Errors are told below `prefix` (`status`, or nothing).
pub fn create(object: &Value, schema: &Schema, prefix: &str) -> ErrorList {
    run(object, None, schema, Of::Object, prefix)
}

/// What is wrong with a value that a schema says where an object has none. Upstream's validator of those takes anything for what is
/// an integer or a text.
pub fn default_value(value: &Value, schema: &Schema, prefix: &str) -> ErrorList {
    run(value, None, schema, Of::Default, prefix)
}

/// What is wrong with an object that is made of `old`.
pub fn update(object: &Value, old: &Value, schema: &Schema, prefix: &str) -> ErrorList {
    run(object, Some(old), schema, Of::Object, prefix)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Object,
    Default,
}

fn run(value: &Value, old: Option<&Value>, schema: &Schema, of: Of, prefix: &str) -> ErrorList {
    let validator = Validator {
        prefix,
        of,
        left: Cell::new(MAX_STEPS),
    };
    let mut errors = validator
        .value(
            At {
                value,
                old,
                path: "",
            },
            schema,
        )
        .errors;
    if validator.is_over() {
        let why = "the object is too large for its schema: validation was stopped";
        errors.push(pathless(prefix, "", why));
    }
    errors
}

/// An error about the object as a whole, whose path upstream prints as `<nil>`.
pub fn pathless(prefix: &str, value: impl Into<Value>, detail: impl Into<String>) -> Error {
    Error {
        field: match prefix {
            "" => "<nil>".to_owned(),
            prefix => prefix.to_owned(),
        },
        ..Error::invalid(&Path::root(), value, detail)
    }
}

/// What came of a value before a schema. The more checks matched, the nearer it was: of several alternatives that all fail, the
/// nearest is told.
#[derive(Default)]
struct Outcome {
    errors: ErrorList,
    matches: usize,
}

impl Outcome {
    fn merge(&mut self, other: Outcome) {
        self.matches += other.matches;
        other.errors.into_iter().for_each(|error| self.add(error));
    }

    /// The same is told once.
    fn add(&mut self, error: Error) {
        if self.errors.len() < MAX_ERRORS && !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
}

/// A value, what it was, and where it is: `spec.list[0]`.
#[derive(Clone, Copy)]
struct At<'a> {
    value: &'a Value,
    old: Option<&'a Value>,
    path: &'a str,
}

struct Validator<'a> {
    prefix: &'a str,
    of: Of,
    left: Cell<usize>,
}

impl Validator<'_> {
    fn is_over(&self) -> bool {
        self.left.get() == 0
    }

    /// Takes steps; false where there are none left.
    fn steps(&self, count: usize) -> bool {
        let left = self.left.get().saturating_sub(count);
        self.left.set(left);
        left > 0
    }

    /// A value before its schema; nothing where it did not change.
    fn value(&self, at: At<'_>, schema: &Schema) -> Outcome {
        let outcome = self.against(at, schema);
        if !outcome.is_valid() && at.old == Some(at.value) {
            return Outcome::default();
        }
        outcome
    }

    fn against(&self, at: At<'_>, schema: &Schema) -> Outcome {
        let mut outcome = Outcome::default();
        if !self.steps(1) {
            return outcome;
        }
        let values = schema.values.as_deref();
        self.of_type(at, schema, &mut outcome);
        if at.value.is_null() {
            self.one_of_values(at, values, &mut outcome);
            return outcome;
        }
        if let Some(values) = values {
            outcome.merge(self.alternatives(at, values));
            match at.value {
                Value::String(text) => self.text(at, text, values, &mut outcome),
                Value::Number(number) => {
                    let ty = schema.ty.filter(|_| !schema.int_or_string);
                    self.number(at, number, values, ty, &mut outcome);
                }
                _ => {}
            }
        }
        if let Value::Array(list) = at.value {
            outcome.merge(self.list(at, list, schema));
        }
        self.one_of_values(at, values, &mut outcome);
        if let Value::Object(map) = at.value {
            outcome.merge(self.map(at, map, schema));
        }
        outcome.matches += 1;
        outcome
    }

    fn list(&self, at: At<'_>, list: &[Value], schema: &Schema) -> Outcome {
        let mut outcome = Outcome::default();
        if let Some(items) = &schema.items {
            for (index, value) in list.iter().enumerate() {
                if self.is_over() {
                    break;
                }
                let path = format!("{}[{index}]", at.path);
                let old = correlated(value, at.old, schema);
                outcome.merge(self.value(
                    At {
                        value,
                        old,
                        path: &path,
                    },
                    items,
                ));
            }
        }
        let Some(values) = &schema.values else {
            return outcome;
        };
        let size = i64::try_from(list.len()).unwrap_or(i64::MAX);
        if let Some(min) = values.min_items.filter(|min| size < *min) {
            outcome.add(self.invalid(
                at.path,
                size,
                format!("{} should have at least {min} items", in_body(at.path)),
            ));
        }
        if let Some(max) = values.max_items.filter(|max| size > *max) {
            outcome.add(self.too_many(at.path, size, max));
        }
        outcome.matches += 1;
        outcome
    }

    fn map(&self, at: At<'_>, map: &Map<String, Value>, schema: &Schema) -> Outcome {
        let mut outcome = Outcome::default();
        let values = schema.values.as_deref();
        self.size(at, map, values, &mut outcome);
        let old = |name: &str| match schema.atomic_map {
            true => None,
            false => at.old.and_then(|old| old.get(name)),
        };
        for (name, value) in map {
            if schema.property(name).is_some() {
                continue;
            }
            let path = format!("{}.{name}", at.path);
            match &schema.additional {
                Additional::Of(of) => {
                    let old = old(name);
                    outcome.merge(self.value(
                        At {
                            value,
                            old,
                            path: &path,
                        },
                        of,
                    ));
                }
                Additional::Any(false) => {
                    let why = format!("{}.{name} in body is a forbidden property", at.path);
                    outcome.add(self.invalid(at.path, name.as_str(), why));
                }
                Additional::Any(true) | Additional::Unsaid => {}
            }
        }
        for (name, value) in map {
            let Some(property) = schema.property(name) else {
                continue;
            };
            let path = match at.path {
                "" => name.clone(),
                path => format!("{path}.{name}"),
            };
            let old = old(name);
            outcome.merge(self.value(
                At {
                    value,
                    old,
                    path: &path,
                },
                property,
            ));
        }
        let required = values.map_or(&[][..], |values| &values.required);
        if self.steps(required.len() / 8) {
            for name in required.iter().filter(|name| !map.contains_key(&***name)) {
                outcome.add(self.error(
                    ErrorType::Required,
                    &format!("{}.{name}", at.path),
                    None,
                    "",
                ));
            }
        }
        outcome.matches += 1;
        outcome
    }

    fn size(
        &self,
        at: At<'_>,
        map: &Map<String, Value>,
        values: Option<&Values>,
        outcome: &mut Outcome,
    ) {
        let Some(values) = values else { return };
        let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(min) = values.min_properties.filter(|min| size < *min) {
            let why = format!("{} should have at least {min} properties", in_body(at.path));
            outcome.add(self.invalid(at.path, size, why));
        }
        if let Some(max) = values.max_properties.filter(|max| size > *max) {
            outcome.add(self.too_many(at.path, size, max));
        }
    }

    fn alternatives(&self, at: At<'_>, values: &Values) -> Outcome {
        let mut outcome = Outcome::default();
        if !values.any_of.is_empty() {
            self.any_of(at, &values.any_of, &mut outcome);
        }
        if !values.one_of.is_empty() {
            self.one_of(at, &values.one_of, &mut outcome);
        }
        let mut valid = 0;
        for schema in values.all_of.iter().take_while(|_| !self.is_over()) {
            let one = self.against(at, schema);
            valid += usize::from(one.is_valid());
            outcome.merge(one);
        }
        if valid < values.all_of.len() {
            let none = if valid == 0 { ". None validated" } else { "" };
            outcome.add(self.whole(format!(
                "{:?} must validate all the schemas (allOf){none}",
                at.path
            )));
        }
        if let Some(not) = &values.not
            && self.against(at, not).is_valid()
        {
            outcome.add(self.whole(format!("{:?} must not validate the schema (not)", at.path)));
        }
        outcome.matches += 1;
        outcome
    }

    fn any_of(&self, at: At<'_>, schemas: &[Schema], outcome: &mut Outcome) {
        let mut nearest: Option<Outcome> = None;
        for schema in schemas.iter().take_while(|_| !self.is_over()) {
            let one = self.against(at, schema);
            if one.is_valid() {
                outcome.merge(one);
                return;
            }
            if nearest
                .as_ref()
                .is_none_or(|nearest| one.matches > nearest.matches)
            {
                nearest = Some(one);
            }
        }
        outcome.add(self.whole(format!(
            "{:?} must validate at least one schema (anyOf)",
            at.path
        )));
        outcome.merge(nearest.unwrap_or_default());
    }

    fn one_of(&self, at: At<'_>, schemas: &[Schema], outcome: &mut Outcome) {
        let mut nearest: Option<Outcome> = None;
        let mut first = None;
        let mut valid = 0;
        for schema in schemas.iter().take_while(|_| !self.is_over()) {
            let one = self.against(at, schema);
            if one.is_valid() {
                valid += 1;
                nearest = None;
                first.get_or_insert(one);
            } else if valid == 0
                && nearest
                    .as_ref()
                    .is_none_or(|nearest| one.matches > nearest.matches)
            {
                nearest = Some(one);
            }
        }
        let found = match valid {
            1 => return outcome.merge(first.unwrap_or_default()),
            0 => "Found none valid".to_owned(),
            valid => format!("Found {valid} valid alternatives"),
        };
        outcome.add(self.whole(format!(
            "{:?} must validate one and only one schema (oneOf). {found}",
            at.path
        )));
        outcome.merge(nearest.unwrap_or_default());
    }

    fn of_type(&self, at: At<'_>, schema: &Schema, outcome: &mut Outcome) {
        let format = schema.values.as_ref().map_or("", |values| &values.format);
        let names = match (schema.int_or_string, schema.ty) {
            (true, _) if self.of == Of::Default => "",
            (true, _) => "integer,string",
            (false, Some(ty)) => ty.as_str(),
            (false, None) => schema.unknown_type.as_deref().unwrap_or_default(),
        };
        if names.is_empty() && format.is_empty() {
            return;
        }
        let is = |ty: Type| match schema.int_or_string {
            true => self.of == Of::Object && matches!(ty, Type::Integer | Type::String),
            false => schema.ty == Some(ty),
        };
        let (found, found_format) = kind_of(at.value);
        let fits = match found {
            None => names.is_empty() || names == "null" || schema.nullable,
            Some(Type::Integer) => is(Type::Integer) || is(Type::Number),
            Some(Type::Number) => is(Type::Number) || (is_integral(at.value) && is(Type::Integer)),
            // Its format is checked beside it.
            Some(Type::String) if !format.is_empty() && !is(Type::Number) && !is(Type::Integer) => {
                true
            }
            Some(ty) => is(ty),
        };
        if fits {
            outcome.matches += 2;
        } else if found.is_none() {
            outcome.add(self.of_wrong_type(at.path, names, "null"));
        } else if !format.is_empty() && !matches!(at.value, Value::String(_) | Value::Array(_)) {
            outcome.add(self.of_wrong_type(at.path, format, found_format));
        } else {
            outcome.add(self.of_wrong_type(at.path, names, found.map_or("null", Type::as_str)));
        }
    }

    fn of_wrong_type(&self, path: &str, wanted: &str, found: &str) -> Error {
        let why = format!("{} must be of type {wanted}: {found:?}", in_body(path));
        self.error(ErrorType::TypeInvalid, path, Some(Value::from(found)), why)
    }

    fn invalid(&self, path: &str, value: impl Into<Value>, why: String) -> Error {
        self.error(ErrorType::Invalid, path, Some(value.into()), why)
    }

    fn too_many(&self, path: &str, size: i64, max: i64) -> Error {
        let why = format!("must have at most {max} items");
        self.error(ErrorType::TooMany, path, Some(size.into()), why)
    }

    /// Of an alternative: upstream tells it without a path.
    fn whole(&self, why: String) -> Error {
        self.steps(ERROR_STEPS);
        pathless(self.prefix, "", why)
    }

    fn error(
        &self,
        kind: ErrorType,
        path: &str,
        bad_value: Option<Value>,
        detail: impl Into<String>,
    ) -> Error {
        self.steps(ERROR_STEPS);
        let path = path.strip_prefix('.').unwrap_or(path);
        let field = match (self.prefix, path) {
            ("", "") => "<nil>".to_owned(),
            (prefix, "") => prefix.to_owned(),
            ("", path) => path.to_owned(),
            (prefix, path) => format!("{prefix}.{path}"),
        };
        Error {
            kind,
            field,
            bad_value,
            is_fixed: false,
            detail: detail.into(),
        }
    }
}

/// `spec.x in body`, as messages name a value.
fn in_body(path: &str) -> String {
    format!("{path} in body")
}

/// The element of the old list that an element is made of.
fn correlated<'o>(value: &Value, old: Option<&'o Value>, schema: &Schema) -> Option<&'o Value> {
    if schema.list_type != ListType::Map {
        return None;
    }
    let key = lists::key_of(value, &schema.list_map_keys);
    let old = old?.as_array()?;
    // A search in both lists would be quadratic in what a client sends.
    (old.len() <= MAX_CORRELATED).then_some(())?;
    old.iter()
        .find(|old| lists::key_of(old, &schema.list_map_keys) == key)
}

/// Longest list whose elements are looked up in its former state.
const MAX_CORRELATED: usize = 1000;

/// The type of a value, and its format as Go has it.
fn kind_of(value: &Value) -> (Option<Type>, &'static str) {
    match value {
        Value::Null => (None, ""),
        Value::Bool(_) => (Some(Type::Boolean), ""),
        Value::Number(number) if number.is_i64() => (Some(Type::Integer), "int64"),
        Value::Number(_) => (Some(Type::Number), "float64"),
        Value::String(_) => (Some(Type::String), ""),
        Value::Array(_) => (Some(Type::Array), ""),
        Value::Object(_) => (Some(Type::Object), ""),
    }
}

/// 1.0 and 1e3 are integers.
fn is_integral(value: &Value) -> bool {
    value
        .as_f64()
        .is_some_and(|number| number.fract() == 0.0 && number.abs() < 9.1e18)
}
