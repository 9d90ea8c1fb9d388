//! Label selectors: `app=web,tier in (a,b),!canary`, and the structured form of objects.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    field::{self, Path},
    names,
};

mod parse;

/// A selector that cannot be parsed; the message is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub(crate) String);

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One term of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    key: String,
    operator: Operator,
    /// Sorted, without repeats.
    values: Vec<String>,
}

impl Requirement {
    /// Checks key, count of values and values as upstream's `labels.NewRequirement`.
    pub fn new(
        key: impl Into<String>,
        operator: Operator,
        mut values: Vec<String>,
    ) -> Result<Self, ParseError> {
        let key = key.into();
        let path = Path::root();
        let mut errors = Vec::new();
        if let Some(error) = key_error(&key, &path.child("key")) {
            errors.push(error);
        }
        let values_path = path.child("values");
        let count_error = match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                Some("for 'in', 'notin' operators, values set can't be empty")
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals
                if values.len() != 1 =>
            {
                Some("exact-match compatibility requires one single value")
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                Some("values set must be empty for exists and does not exist")
            }
            Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
                Some("for 'Gt', 'Lt' operators, exactly one value is required")
            }
            _ => None,
        };
        if let Some(detail) = count_error {
            errors.push(field::Error::invalid(&values_path, values.clone(), detail));
        }
        for (index, value) in values.iter().enumerate() {
            if matches!(operator, Operator::GreaterThan | Operator::LessThan)
                && value.parse::<i64>().is_err()
            {
                errors.push(field::Error::invalid(
                    &values_path.index(index),
                    value.as_str(),
                    "for 'Gt', 'Lt' operators, the value must be an integer",
                ));
            }
            let messages = names::label_value(value);
            if !messages.is_empty() {
                errors.push(field::Error::invalid(
                    &values_path.index(index).key(key.as_str()),
                    value.as_str(),
                    messages.join("; "),
                ));
            }
        }
        if !errors.is_empty() {
            return Err(ParseError(field::aggregate(&errors)));
        }
        values.sort_unstable();
        values.dedup();
        Ok(Requirement {
            key,
            operator,
            values,
        })
    }

    pub fn key(&self) -> &str {
        &self.key
    }

    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// Sorted, without repeats.
    pub fn values(&self) -> &[String] {
        &self.values
    }

    /// Whether a label's value (`None`: the label is absent) satisfies the requirement.
    pub fn matches(&self, value: Option<&str>) -> bool {
        // A selector can list thousands of values, and is asked once an object.
        let listed = |value: &str| {
            self.values
                .binary_search_by(|v| v.as_str().cmp(value))
                .is_ok()
        };
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => value.is_some_and(listed),
            Operator::NotIn | Operator::NotEquals => !value.is_some_and(listed),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let number = value.and_then(|value| value.parse::<i64>().ok());
                let bound = self.values.first().and_then(|v| v.parse::<i64>().ok());
                match (number, bound) {
                    (Some(number), Some(bound)) if self.operator == Operator::GreaterThan => {
                        number > bound
                    }
                    (Some(number), Some(bound)) => number < bound,
                    _ => false,
                }
            }
        }
    }
}

fn key_error(key: &str, path: &Path) -> Option<field::Error> {
    let messages = names::qualified_name(key);
    (!messages.is_empty()).then(|| field::Error::invalid(path, key, messages.join("; ")))
}

/// Selects objects by their labels: all requirements must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Sorted by key.
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Selects all objects.
    pub fn everything() -> Self {
        Selector::default()
    }

    /// Selects no object.
    pub fn nothing() -> Self {
        Selector {
            requirements: Vec::new(),
            nothing: true,
        }
    }

    pub fn new(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Selector {
            requirements,
            nothing: false,
        }
    }

    /// Parses the string form, equality based and set based.
    pub fn parse(selector: &str) -> Result<Self, ParseError> {
        // Most requests have none.
        if selector.is_empty() {
            return Ok(Selector::default());
        }
        parse::parse(selector).map(Selector::new)
    }

    /// Selects objects that have all these labels; an empty set selects everything. The labels are not validated, as
    /// upstream's `SelectorFromSet`.
    pub fn from_set<K: Into<String>, V: Into<String>>(
        set: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        Selector::new(
            set.into_iter()
                .map(|(key, value)| Requirement {
                    key: key.into(),
                    operator: Operator::Equals,
                    values: vec![value.into()],
                })
                .collect(),
        )
    }

    /// From the structured form. An empty selector selects everything.
    pub fn from_label_selector(selector: &LabelSelector) -> Result<Self, ParseError> {
        let mut requirements = Vec::new();
        for (key, value) in selector.match_labels.iter().flatten() {
            requirements.push(Requirement::new(
                key.as_str(),
                Operator::Equals,
                vec![value.clone()],
            )?);
        }
        for expression in selector.match_expressions.iter().flatten() {
            let operator = match expression.operator.as_str() {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => {
                    return Err(ParseError(format!(
                        "{} is not a valid label selector operator",
                        field::quote(other)
                    )));
                }
            };
            requirements.push(Requirement::new(
                expression.key.as_str(),
                operator,
                expression.values.clone().unwrap_or_default(),
            )?);
        }
        Ok(Selector::new(requirements))
    }

    /// From the structured form as a tree. Absent and null select nothing, an empty selector everything.
    pub fn from_value(selector: Option<&Value>) -> Result<Self, ParseError> {
        let Some(selector) = selector.filter(|selector| !selector.is_null()) else {
            return Ok(Selector::nothing());
        };
        LabelSelector::deserialize(selector)
            .map_err(|error| ParseError(error.to_string()))
            .and_then(|selector| Selector::from_label_selector(&selector))
    }

    /// As [`Selector::from_label_selector`]; an absent selector selects nothing, as upstream's nil.
    pub fn from_optional(selector: Option<&LabelSelector>) -> Result<Self, ParseError> {
        selector.map_or_else(|| Ok(Selector::nothing()), Selector::from_label_selector)
    }

    /// True when everything is selected.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty() && !self.nothing
    }

    /// True when no object can be selected because this is [`Selector::nothing`].
    pub fn is_nothing(&self) -> bool {
        self.nothing
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.matches_with(|key| labels.get(key).map(String::as_str))
    }

    /// As [`Selector::matches`] for typed objects, whose labels may be absent.
    pub fn matches_option(&self, labels: Option<&BTreeMap<String, String>>) -> bool {
        self.matches_with(|key| labels?.get(key).map(String::as_str))
    }

    /// Whether an object's labels match; `get` gives the value of a label.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        !self.nothing
            && self
                .requirements
                .iter()
                .all(|requirement| requirement.matches(get(&requirement.key)))
    }

    /// The value that a label must have, if a requirement says so.
    pub fn exact(&self, key: &str) -> Option<&str> {
        self.requirements.iter().find_map(|requirement| {
            let exact = matches!(
                requirement.operator,
                Operator::Equals | Operator::DoubleEquals | Operator::In
            );
            match requirement.values.as_slice() {
                [value] if exact && requirement.key == key => Some(value.as_str()),
                _ => None,
            }
        })
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Cow<'_, str> = match self.values.as_slice() {
            [one] => one.as_str().into(),
            many => many.join(",").into(),
        };
        let key = &self.key;
        match self.operator {
            Operator::In => write!(f, "{key} in ({values})"),
            Operator::NotIn => write!(f, "{key} notin ({values})"),
            Operator::Equals => write!(f, "{key}={values}"),
            Operator::DoubleEquals => write!(f, "{key}=={values}"),
            Operator::NotEquals => write!(f, "{key}!={values}"),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
            Operator::GreaterThan => write!(f, "{key}>{values}"),
            Operator::LessThan => write!(f, "{key}<{values}"),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
