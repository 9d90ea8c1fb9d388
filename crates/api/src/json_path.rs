//! JSONPath as columns of definitions use it: `.status.conditions[?(@.type=="Ready")].status`.
//!
//! The dialect is client-go's. A path comes from a stranger: what one evaluation visits is bounded.

use serde_json::Value;

mod parse;
#[cfg(test)]
mod tests;

/// Most values that an evaluation looks at.
const MAX_VISITS: usize = 100_000;

/// A path that was parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonPath {
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `.name` or `['name']`.
    Field(String),
    /// `[a:b:c]`; one index is a slice of one.
    Slice(Slice),
    /// `[*]` or `.*`.
    All,
    /// `..`: the values themselves and everything inside.
    Descend,
    /// `[?(left operator right)]`.
    Filter(Box<Filter>),
    /// `['a','b']`.
    Union(Vec<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slice {
    start: Option<i64>,
    end: Option<i64>,
    step: Option<i64>,
}

#[derive(Clone, Debug, PartialEq)]
struct Filter {
    left: Operand,
    /// None: the left operand is there.
    comparison: Option<(Operator, Operand)>,
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    /// Below the element.
    Path(JsonPath),
    Value(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Why a text is no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl JsonPath {
    /// Parses what stands between the braces of client-go's templates.
    pub fn parse(text: &str) -> Result<JsonPath, Malformed> {
        parse::path(text)
    }

    /// What is at the path, in its order. Nothing where a part of it is missing.
    pub fn find<'v>(&self, root: &'v Value) -> Vec<&'v Value> {
        let mut left = MAX_VISITS;
        self.find_within(root, &mut left)
    }

    fn find_within<'v>(&self, root: &'v Value, left: &mut usize) -> Vec<&'v Value> {
        let mut found = vec![root];
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found {
                step.take(value, &mut next, left);
            }
            found = next;
        }
        found
    }
}

impl Step {
    fn take<'v>(&self, value: &'v Value, out: &mut Vec<&'v Value>, left: &mut usize) {
        if *left == 0 {
            return;
        }
        *left -= 1;
        match (self, value) {
            (Step::Field(name), Value::Object(map)) => out.extend(map.get(name)),
            (Step::Slice(slice), Value::Array(list)) => out.extend(slice.of(list).take(*left)),
            (Step::All, Value::Array(list)) => out.extend(list.iter().take(*left)),
            (Step::All, Value::Object(map)) => out.extend(map.values().take(*left)),
            (Step::Descend, value) => descend(value, out, left),
            (Step::Filter(filter), Value::Array(list)) => {
                for element in list {
                    if filter.selects(element, left) {
                        out.push(element);
                    }
                }
            }
            (Step::Union(steps), value) => {
                steps.iter().for_each(|step| step.take(value, out, left))
            }
            _ => {}
        }
    }
}

fn descend<'v>(value: &'v Value, out: &mut Vec<&'v Value>, left: &mut usize) {
    if *left == 0 {
        return;
    }
    *left -= 1;
    out.push(value);
    match value {
        Value::Object(map) => map.values().for_each(|inner| descend(inner, out, left)),
        Value::Array(list) => list.iter().for_each(|inner| descend(inner, out, left)),
        _ => {}
    }
}

impl Slice {
    fn of(self, list: &[Value]) -> impl Iterator<Item = &Value> {
        let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
        let place = |index: i64| {
            if index < 0 {
                index.saturating_add(length)
            } else {
                index
            }
        };
        let start = place(self.start.unwrap_or(0));
        let end = place(self.end.unwrap_or(length)).min(length);
        let step = usize::try_from(self.step.unwrap_or(1)).unwrap_or(0);
        // An index before the first element selects nothing.
        let range = match usize::try_from(start) {
            Ok(start) if step > 0 => start..usize::try_from(end).unwrap_or(0).max(start),
            _ => 0..0,
        };
        list.get(range)
            .unwrap_or_default()
            .iter()
            .step_by(step.max(1))
    }
}

impl Filter {
    fn selects(&self, element: &Value, left: &mut usize) -> bool {
        let Some(found) = self.left.of(element, left) else {
            return false;
        };
        match &self.comparison {
            None => true,
            Some((operator, right)) => right
                .of(element, left)
                .is_some_and(|right| operator.holds(&found, &right)),
        }
    }
}

impl Operand {
    fn of(&self, element: &Value, left: &mut usize) -> Option<Value> {
        match self {
            Operand::Value(value) => Some(value.clone()),
            Operand::Path(path) => path
                .find_within(element, left)
                .first()
                .map(|value| (*value).clone()),
        }
    }
}

impl Operator {
    fn holds(self, a: &Value, b: &Value) -> bool {
        let order = match (a, b) {
            (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => None,
        };
        match (self, order) {
            (Operator::NotEqual, None) => true,
            (_, None) => false,
            (Operator::Equal, Some(order)) => order.is_eq(),
            (Operator::NotEqual, Some(order)) => order.is_ne(),
            (Operator::Less, Some(order)) => order.is_lt(),
            (Operator::LessOrEqual, Some(order)) => order.is_le(),
            (Operator::Greater, Some(order)) => order.is_gt(),
            (Operator::GreaterOrEqual, Some(order)) => order.is_ge(),
        }
    }
}
