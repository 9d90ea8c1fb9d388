//! Which node is taken, of several on which the end of pods helps.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::{Candidate, Victims};

/// What the victims cost: less is better. In this order: protected by budgets, the highest priority, the sum of
/// priorities, the number of pods, and how long the most important ones have been running (upstream
/// `pickOneNodeForPreemption`).
type Cost = (usize, i32, i64, usize, Reverse<Timestamp>);

fn cost(victims: &Victims, now: Timestamp) -> Cost {
    let highest = victims.pods.first().map_or(i32::MIN, |pod| pod.priority);
    // All are made positive: few pods of a negative priority cost less than many.
    let positive = |priority: i32| i64::from(priority).saturating_add(1 << 31);
    let sum = victims.pods.iter().map(|pod| positive(pod.priority));
    let sum = sum.fold(0, i64::saturating_add);
    let important = victims.pods.iter().filter(|pod| pod.priority == highest);
    let since = important.map(|pod| pod.started().unwrap_or(now)).min();
    (
        victims.violations,
        highest,
        sum,
        victims.pods.len(),
        Reverse(since.unwrap_or(now)),
    )
}

/// The candidate that costs least; the first of equals.
pub fn best(candidates: Vec<Candidate>) -> Option<Candidate> {
    let now = knarr_meta::clock::now();
    candidates
        .into_iter()
        .min_by_key(|candidate| cost(&candidate.victims, now))
}
