//! Values with the schema of their type: validation, sets of their paths, merging, comparing, removing.
//!
//! Every walk recurses once a level of the value. Values come from parsers, which refuse more than 127 levels.

use std::fmt;

mod compare;
mod field_set;
mod items;
mod merge;
mod remove;
#[cfg(test)]
mod tests;
mod validate;

pub use compare::{Comparison, compare};
pub use field_set::field_set;
pub use merge::merge;
pub use remove::remove;
pub use validate::{Duplicates, validate};

/// What is wrong with a value, in upstream's words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Problem {
    path: String,
    message: String,
}

impl Problems {
    fn one(message: impl Into<String>) -> Problems {
        Problems(vec![Problem {
            path: String::new(),
            message: message.into(),
        }])
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts the way to where they were found before their paths.
    fn below(mut self, element: impl fmt::Display) -> Problems {
        if !self.0.is_empty() {
            let element = element.to_string();
            for problem in &mut self.0 {
                problem.path.insert_str(0, &element);
            }
        }
        self
    }

    fn add(&mut self, other: Problems) {
        self.0.extend(other.0);
    }

    fn into_result(self) -> Result<(), Problems> {
        match self.is_empty() {
            true => Ok(()),
            false => Err(self),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &self.0[..] {
            return write!(f, "{only}");
        }
        f.write_str("errors:")?;
        self.0
            .iter()
            .try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Problems {}

/// For types that take no value at all.
fn no_shape() -> Problems {
    Problems::one("schema error: invalid atom: inlined")
}
