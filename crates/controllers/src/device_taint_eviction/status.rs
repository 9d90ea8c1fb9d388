//! What is told of a rule: the condition `EvictionInProgress`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use knarr_devices::taints::{DeviceTaintRule, NO_EXECUTE};

use crate::runner::Key;

const TYPE: &str = "EvictionInProgress";
const NONE: &str = "None";

/// Whom a rule concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Pods that have to go, or would have to.
    pub pods: BTreeSet<Key>,
    /// Devices of claims.
    pub allocated: usize,
    /// Devices of slices.
    pub published: usize,
    /// Pods that have gone since the controller was started.
    pub evicted: u64,
}

/// The rule with the effect that it would have: one without an effect tells whom NoExecute would concern.
pub(super) fn as_if_acting(rule: &Arc<DeviceTaintRule>) -> Arc<DeviceTaintRule> {
    if rule.spec.taint.effect != NONE {
        return rule.clone();
    }
    let mut acting = DeviceTaintRule::clone(rule);
    NO_EXECUTE.clone_into(&mut acting.spec.taint.effect);
    Arc::new(acting)
}

fn known(rule: &DeviceTaintRule) -> Option<&Condition> {
    rule.status.conditions.iter().find(|one| one.type_ == TYPE)
}

/// How long the status stays as it is; `None`: it may be written.
pub(super) fn wait(rule: &DeviceTaintRule, now: Timestamp, period: Duration) -> Option<Duration> {
    let known = known(rule)?;
    if known.observed_generation != rule.metadata.generation {
        return None;
    }
    let since = Duration::try_from(now.duration_since(known.last_transition_time.0)).ok()?;
    period.checked_sub(since).filter(|left| !left.is_zero())
}

fn many(count: usize, one: &str, more: &str) -> String {
    match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    }
}

fn told(rule: &DeviceTaintRule, counts: &Counts) -> (&'static str, &'static str, String) {
    let pods = counts.pods.len();
    let namespaces: BTreeSet<&str> = counts
        .pods
        .iter()
        .map(|key| key.namespace.as_str())
        .collect();
    let namespaces = many(namespaces.len(), "namespace", "different namespaces");
    match rule.spec.taint.effect.as_str() {
        NO_EXECUTE if pods > 0 => {
            let needs = many(pods, "pod needs to be evicted", "pods need to be evicted");
            (
                "True",
                "PodsPendingEviction",
                format!("{needs} in {namespaces}."),
            )
        }
        NO_EXECUTE if counts.evicted > 0 => ("False", "Completed", String::new()),
        NO_EXECUTE => ("False", "NotStarted", String::new()),
        NONE => {
            let published = many(
                counts.published,
                "published device selected",
                "published devices selected",
            );
            let allocated = many(
                counts.allocated,
                "allocated device selected",
                "allocated devices selected",
            );
            let would = many(pods, "pod would be evicted", "pods would be evicted");
            let message = format!(
                "{published}. {allocated}. {would} in {namespaces} if the effect was NoExecute. This information will not be updated again. Recreate the DeviceTaintRule to trigger an update."
            );
            ("False", "NoEffect", message)
        }
        _ => {
            let message = "Eviction only happens for the NoExecute effect.";
            ("False", "OtherEffect", message.to_owned())
        }
    }
}

/// The condition to be written; `None`: it is there.
pub(super) fn condition(
    rule: &DeviceTaintRule,
    counts: &Counts,
    now: Timestamp,
) -> Option<Condition> {
    let (status, reason, mut message) = told(rule, counts);
    if counts.evicted > 0 {
        if !message.is_empty() {
            message.push(' ');
        }
        let evicted = usize::try_from(counts.evicted).unwrap_or(usize::MAX);
        let pods = many(evicted, "pod", "pods");
        message.push_str(&format!("{pods} evicted since starting the controller."));
    }
    let before = known(rule);
    let mut condition = Condition {
        type_: TYPE.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message,
        observed_generation: rule.metadata.generation,
        last_transition_time: before
            .map_or(Time(now), |before| before.last_transition_time.clone()),
    };
    if before == Some(&condition) {
        return None;
    }
    condition.last_transition_time = Time(now);
    Some(condition)
}

#[cfg(test)]
mod tests;
