//! Scores by how much of a node's resources is used (upstream `resourceAllocationScorer`).

use crate::{
    config::args::{
        MOST_ALLOCATED, REQUESTED_TO_CAPACITY_RATIO, ResourceSpec, ScoringStrategy, ShapePoint,
    },
    framework::MAX_SCORE,
    pod_info::PodInfo,
    resources::{Amount, Resources},
    snapshot::NodeInfo,
};

/// What shapes give at most (upstream's `MaxCustomPriorityScore`).
const MAX_SHAPE_SCORE: i64 = 10;

/// What of a resource is used with the pod and without it, and what a node has. All are 0 where the node has none of it, or the pod
/// asks for none of what not all pods ask for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub with: Amount,
    pub without: Amount,
    pub have: Amount,
}

/// The usage of a resource of a node. `defaults`: containers that ask for no cpu or memory count for some.
pub fn usage(name: &str, pod: &PodInfo, node: &NodeInfo, defaults: bool) -> Usage {
    let of = |resources: &Resources| resources.of(name);
    let (wants, used) = match defaults && matches!(name, "cpu" | "memory") {
        true => (of(&pod.score_requests), of(&node.score_requested)),
        false => (of(&pod.requests), of(&node.requested)),
    };
    let have = of(&node.allocatable);
    if have == 0 || (wants == 0 && is_scalar(name)) {
        return Usage::default();
    }
    Usage {
        with: used.saturating_add(wants),
        without: used,
        have,
    }
}

/// As `checked_div`, without 128 bits where 64 do.
fn divided(amount: Amount, by: Amount) -> Option<Amount> {
    match (i64::try_from(amount), i64::try_from(by)) {
        (Ok(amount), Ok(by @ 1..)) => amount.checked_div(by).map(Amount::from),
        _ => amount.checked_div(by),
    }
}

/// The nearest number, without 128 bits where 64 do.
#[expect(clippy::cast_precision_loss, reason = "shares of 100")]
pub fn float(amount: Amount) -> f64 {
    i64::try_from(amount).map_or(amount as f64, |small| small as f64)
}

/// Whether only some nodes and pods know of such a resource.
fn is_scalar(name: &str) -> bool {
    !matches!(name, "cpu" | "memory" | "ephemeral-storage")
}

/// How good a node is by what is used of it.
#[derive(Clone, Debug)]
pub enum Strategy {
    LeastAllocated,
    MostAllocated,
    /// A line through these points, sorted by utilization.
    Shape(Vec<ShapePoint>),
}

impl Strategy {
    pub fn of(args: &ScoringStrategy) -> Self {
        let shape = args.requested_to_capacity_ratio.as_ref();
        match (args.kind.as_str(), shape) {
            (MOST_ALLOCATED, _) => Self::MostAllocated,
            (REQUESTED_TO_CAPACITY_RATIO, Some(ratio)) => Self::Shape(ratio.shape.clone()),
            _ => Self::LeastAllocated,
        }
    }

    /// The mean of what each resource gives, by their weights.
    pub fn score(&self, resources: &[ResourceSpec], usages: impl Iterator<Item = Usage>) -> i64 {
        let (mut sum, mut weights): (Amount, Amount) = (0, 0);
        for (resource, usage) in resources.iter().zip(usages) {
            if usage.have == 0 {
                continue;
            }
            let score = self.of_resource(usage);
            // A shape's zero does not count at all.
            if score > 0 || !matches!(self, Self::Shape(_)) {
                let weight = Amount::from(resource.weight);
                sum = sum.saturating_add(score.saturating_mul(weight));
                weights = weights.saturating_add(weight);
            }
        }
        let mean = match self {
            // Rounded, where the others are cut off.
            Self::Shape(_) => {
                let twice = sum.saturating_mul(2).saturating_add(weights);
                twice.checked_div(weights.saturating_mul(2))
            }
            _ => sum.checked_div(weights),
        };
        i64::try_from(mean.unwrap_or(0)).unwrap_or(0)
    }

    fn of_resource(&self, usage: Usage) -> Amount {
        let Usage { with, have, .. } = usage;
        let share = |amount: Amount| {
            let scaled = amount.saturating_mul(Amount::from(MAX_SCORE));
            divided(scaled, have).unwrap_or(0)
        };
        match self {
            Self::LeastAllocated => share(have.saturating_sub(with).max(0)),
            Self::MostAllocated => share(with.min(have)),
            Self::Shape(shape) => at(shape, share(with.min(have))),
        }
    }
}

/// The value of a broken line at a utilization in percent, brought from tens into hundreds.
fn at(shape: &[ShapePoint], utilization: Amount) -> Amount {
    let scale = Amount::from(MAX_SCORE / MAX_SHAPE_SCORE);
    let value = |point: &ShapePoint| Amount::from(point.score).saturating_mul(scale);
    let place = |point: &ShapePoint| Amount::from(point.utilization);
    let mut before: Option<&ShapePoint> = None;
    for point in shape {
        if utilization <= place(point) {
            let Some(before) = before else {
                return value(point);
            };
            let rise = value(point).saturating_sub(value(before));
            let along = utilization.saturating_sub(place(before));
            let run = place(point).saturating_sub(place(before));
            let part = rise.saturating_mul(along).checked_div(run).unwrap_or(0);
            return value(before).saturating_add(part);
        }
        before = Some(point);
    }
    before.map_or(0, value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_are_as_long_ones() {
        let amounts = [
            0,
            1,
            7,
            1 << 40,
            i64::MAX.into(),
            Amount::from(i64::MAX) + 9,
            -3,
        ];
        for a in amounts {
            assert!((float(a) - a as f64).abs() < f64::EPSILON, "{a}");
            for b in amounts {
                assert_eq!(divided(a, b), a.checked_div(b), "{a} by {b}");
            }
        }
    }

    #[test]
    fn a_line_goes_through_its_points() {
        let shape = [(0, 0), (50, 10), (100, 4)];
        let shape = shape.map(|(utilization, score)| ShapePoint { utilization, score });
        for (utilization, wanted) in [(0, 0), (25, 50), (50, 100), (75, 70), (100, 40)] {
            assert_eq!(at(&shape, utilization), wanted, "at {utilization}");
        }
        assert_eq!(at(&shape[1..], 10), 100, "before the first point");
        assert_eq!(at(&shape[..2], 90), 100, "behind the last");
    }
}
