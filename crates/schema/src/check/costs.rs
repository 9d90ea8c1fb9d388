//! What the rules of a definition may cost at most, as upstream estimates and bounds it.

use knarr_meta::field::{Error, ErrorList, Path};

use crate::rules::sizes::most_in_a_request;

/// Most units that one expression may cost for all values of an object, as upstream's `StaticEstimatedCostLimit`.
const PER_EXPRESSION: u64 = 10_000_000;
/// Most that all expressions of a schema may cost, as upstream's `StaticEstimatedCRDCostLimit`.
const PER_SCHEMA: u64 = 100_000_000;
/// How many of the most expensive expressions are told, and from which part of all on.
const TOLD: usize = 4;
const TOLD_FROM: u64 = PER_SCHEMA / 100;

/// How many values of a part of a schema an object may hold, as far as the lists and maps around give a number.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most(Option<u64>);

impl Most {
    pub fn of_root() -> Most {
        Most(Some(1))
    }

    /// Of what is inside; none: as many as fit.
    pub fn times(self, factor: Option<u64>) -> Most {
        let most = self.0.zip(factor);
        Most(most.map(|(most, factor)| most.saturating_mul(factor)))
    }

    /// Of an expression for each of them, which is of so many bytes at least.
    pub fn cost(self, each: u64, bytes: u64) -> u64 {
        let most = self.0.unwrap_or_else(|| most_in_a_request(bytes));
        each.saturating_mul(most)
    }
}

/// Of all expressions of a schema.
#[derive(Debug, Default)]
pub(super) struct Total {
    sum: u64,
    /// The most expensive ones first.
    expensive: Vec<(Path, u64)>,
}

impl Total {
    /// Adds what an expression may cost; one that may cost too much is refused.
    pub fn add(&mut self, path: &Path, cost: u64, name: &str, errors: &mut ErrorList) {
        if cost > PER_EXPRESSION {
            errors.push(Error::forbidden(path, exceeds(name, cost, PER_EXPRESSION)));
        }
        self.sum = self.sum.saturating_add(cost);
        if cost >= TOLD_FROM {
            self.expensive.push((path.clone(), cost));
            self.expensive
                .sort_by_key(|(_, cost)| std::cmp::Reverse(*cost));
            self.expensive.truncate(TOLD);
        }
    }

    /// Refuses expressions that may cost too much together.
    pub fn check(self, path: &Path, errors: &mut ErrorList) {
        if self.sum <= PER_SCHEMA {
            return;
        }
        for (path, _) in &self.expensive {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            errors.push(Error::forbidden(path, why));
        }
        let name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(Error::forbidden(path, exceeds(name, self.sum, PER_SCHEMA)));
    }
}

fn exceeds(name: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{name} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
