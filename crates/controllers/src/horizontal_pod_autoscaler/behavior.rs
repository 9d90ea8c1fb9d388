//! How fast replicas may follow what metrics ask for: bounds, policies and windows, as upstream's `horizontal.go`.

use std::cmp::{max, min};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// Where nothing is said, replicas at most double at a time, from four on.
const UP_FACTOR: f64 = 2.0;
const UP_MINIMUM: f64 = 4.0;
/// How long a recommendation holds the replicas up.
const DOWN_WINDOW_SECONDS: i32 = 300;
/// The longest window and the longest period that the API allows, twice: what is older is of no use.
const MEMORY: SignedDuration = SignedDuration::from_hours(2);
/// Entries of a history. At one in 15 seconds they are older than anything that counts.
const MAX_ENTRIES: usize = 1024;

/// What was asked for and done before. It is not kept: after a restart windows begin anew.
#[derive(Debug, Default)]
pub(super) struct History {
    recommendations: Vec<(Timestamp, i32)>,
    ups: Vec<(Timestamp, i32)>,
    downs: Vec<(Timestamp, i32)>,
}

impl History {
    /// What there is when an autoscaler is first looked at counts as asked for.
    pub(super) fn begin(&mut self, replicas: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, replicas));
        }
    }

    /// Notes a change that was made.
    pub(super) fn changed(&mut self, from: i32, to: i32, now: Timestamp) {
        let (list, by) = match to > from {
            true => (&mut self.ups, to.saturating_sub(from)),
            false => (&mut self.downs, from.saturating_sub(to)),
        };
        add(list, by, now);
    }
}

fn add(list: &mut Vec<(Timestamp, i32)>, value: i32, now: Timestamp) {
    list.retain(|(at, _)| now.duration_since(*at) < MEMORY);
    if list.len() >= MAX_ENTRIES {
        list.remove(0);
    }
    list.push((now, value));
}

/// What is asked for, within its bounds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub current: i32,
    pub desired: i32,
    pub min: i32,
    pub max: i32,
}

/// A reason and a message of a condition.
pub(super) type Why = (&'static str, &'static str);

/// What is done, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Normalized {
    pub replicas: i32,
    /// For `AbleToScale`, which is true.
    pub able: Why,
    /// For `ScalingLimited`, and whether it is.
    pub limited: (bool, Why),
}

const READY: Why = ("ReadyForNewScale", "recommended size matches current size");
const WITHIN: Why = (
    "DesiredWithinRange",
    "the desired count is within the acceptable range",
);
const UP_STABILIZED: Why = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: Why = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const UP_LIMIT: Why = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
);
const TOO_MANY: Why = (
    "TooManyReplicas",
    "the desired replica count is more than the maximum replica count",
);
const DOWN_LIMIT: Why = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);
const TOO_FEW: Why = (
    "TooFewReplicas",
    "the desired replica count is less than the minimum replica count",
);

/// Notes what is asked for, and tells what is done.
pub(super) fn normalize(
    behavior: Option<&HorizontalPodAutoscalerBehavior>,
    wanted: Wanted,
    history: &mut History,
    now: Timestamp,
) -> Normalized {
    let none = HPAScalingRules::default();
    let rules = behavior.map(|behavior| {
        let up = behavior.scale_up.as_ref().unwrap_or(&none);
        let down = behavior.scale_down.as_ref().unwrap_or(&none);
        (up, down)
    });
    let stable = match rules {
        None => {
            let recent = recent(history, DOWN_WINDOW_SECONDS, now);
            recent.fold(wanted.desired, max)
        }
        Some((up, down)) => {
            let window = |rules: &HPAScalingRules, default| {
                rules.stabilization_window_seconds.unwrap_or(default)
            };
            let least = recent(history, window(up, 0), now).fold(wanted.desired, min);
            let most = recent(history, window(down, DOWN_WINDOW_SECONDS), now);
            let most = most.fold(wanted.desired, max);
            min(max(wanted.current, least), most)
        }
    };
    add(&mut history.recommendations, wanted.desired, now);
    let able = match stable == wanted.desired {
        true => READY,
        false if rules.is_some() && wanted.desired >= wanted.current => UP_STABILIZED,
        false => DOWN_STABILIZED,
    };
    let wanted = Wanted {
        desired: stable,
        ..wanted
    };
    let (replicas, why) = match rules {
        None => within_bounds(wanted),
        Some((up, down)) => within_policies(wanted, up, down, history, now),
    };
    Normalized {
        replicas,
        able,
        limited: (replicas != stable, why),
    }
}

fn recent(history: &History, seconds: i32, now: Timestamp) -> impl Iterator<Item = i32> {
    since(&history.recommendations, seconds, now)
}

/// Values of entries that are not older than that.
fn since(list: &[(Timestamp, i32)], seconds: i32, now: Timestamp) -> impl Iterator<Item = i32> {
    let age = SignedDuration::from_secs(seconds.into());
    let young = list
        .iter()
        .filter(move |(at, _)| now.duration_since(*at) < age);
    young.map(|(_, value)| *value)
}

fn within_bounds(wanted: Wanted) -> (i32, Why) {
    let limit = (UP_FACTOR * f64::from(wanted.current)).max(UP_MINIMUM) as i32;
    let (most, why) = match wanted.max > limit {
        true => (limit, UP_LIMIT),
        false => (wanted.max, TOO_MANY),
    };
    if wanted.desired < wanted.min {
        (wanted.min, TOO_FEW)
    } else if wanted.desired > most {
        (most, why)
    } else {
        (wanted.desired, WITHIN)
    }
}

fn within_policies(
    wanted: Wanted,
    up: &HPAScalingRules,
    down: &HPAScalingRules,
    history: &History,
    now: Timestamp,
) -> (i32, Why) {
    let Wanted {
        current, desired, ..
    } = wanted;
    if desired > current {
        let limit = max(limit(up, true, current, history, now), current);
        let (most, why) = match wanted.max > limit {
            true => (limit, UP_LIMIT),
            false => (wanted.max, TOO_MANY),
        };
        if desired > most {
            return (most, why);
        }
    } else if desired < current {
        let limit = min(limit(down, false, current, history, now), current);
        let (least, why) = match wanted.min < limit {
            true => (limit, DOWN_LIMIT),
            false => (wanted.min, TOO_FEW),
        };
        if desired < least {
            return (least, why);
        }
    }
    (desired, WITHIN)
}

/// How far the policies let the replicas go, from what they were at the beginning of each one's period.
fn limit(
    rules: &HPAScalingRules,
    up: bool,
    current: i32,
    history: &History,
    now: Timestamp,
) -> i32 {
    let select = rules.select_policy.as_deref().unwrap_or("Max");
    if select == "Disabled" {
        return current;
    }
    let proposals = rules.policies.iter().flatten().map(|policy| {
        let changed = |list| {
            since(list, policy.period_seconds, now)
                .map(i64::from)
                .sum::<i64>()
        };
        let began = i64::from(current) - changed(&history.ups) + changed(&history.downs);
        let value = i64::from(policy.value);
        let part = f64::from(policy.value) / 100.0;
        let proposed = match (&*policy.type_, up) {
            ("Percent", true) => (began as f64 * (1.0 + part)).ceil() as i64,
            ("Percent", false) => (began as f64 * (1.0 - part)) as i64,
            (_, true) => began + value,
            (_, false) => began - value,
        };
        proposed.clamp(i32::MIN.into(), i32::MAX.into()) as i32
    });
    // The largest change upwards is the highest number, downwards the lowest.
    let chosen = match (select == "Min") == up {
        true => proposals.min(),
        false => proposals.max(),
    };
    chosen.unwrap_or(current)
}

#[cfg(test)]
mod tests;
