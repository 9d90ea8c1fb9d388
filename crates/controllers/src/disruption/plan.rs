//! The status of a budget, from its pods and from how many of them there are to be.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::pods::is_ready;

/// How long a pod that was let go may take until its deletion has begun (upstream `DeletionTimeout`).
const DELETION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
const ALLOWED: &str = "DisruptionAllowed";

pub(super) struct Plan {
    pub expected: i32,
    pub desired: i32,
    pub healthy: i32,
    /// Pods that were let go and whose deletion has not begun.
    pub disrupted: BTreeMap<String, Time>,
    /// When the first of these is late.
    pub recheck: Option<Duration>,
    /// Pods that were let go and have stayed.
    pub late: Vec<Arc<Pod>>,
}

/// Whether the budget is reckoned from what its pods' controllers want, not from the pods that are there.
pub(super) fn needs_scale(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    let min = spec.and_then(|s| s.min_available.as_ref());
    spec.is_some_and(|s| s.max_unavailable.is_some()) || matches!(min, Some(IntOrString::String(_)))
}

impl Plan {
    /// `scale` is what the controllers want, where that is asked for.
    pub(super) fn new(
        budget: &PodDisruptionBudget,
        pods: &[Arc<Pod>],
        scale: Option<i32>,
        now: Timestamp,
    ) -> Result<Self, String> {
        let (expected, desired) = wanted(budget, pods.len(), scale)?;
        let noted = budget.status.as_ref();
        let noted = noted
            .and_then(|s| s.disrupted_pods.clone())
            .unwrap_or_default();
        let mut plan = Self {
            expected,
            desired,
            healthy: 0,
            disrupted: BTreeMap::new(),
            recheck: None,
            late: Vec::new(),
        };
        for pod in pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match noted.get(name) {
                Some(since) => plan.note(pod, name, since, now),
                None => plan.healthy += i32::from(is_ready(pod)),
            }
        }
        Ok(plan)
    }

    /// A pod that was let go at `since`.
    fn note(&mut self, pod: &Arc<Pod>, name: &str, since: &Time, now: Timestamp) {
        let due = since.0.checked_add(DELETION_TIMEOUT).unwrap_or(since.0);
        if due < now {
            self.late.push(pod.clone());
            self.healthy += i32::from(is_ready(pod));
            return;
        }
        self.disrupted.insert(name.to_owned(), since.clone());
        let left = Duration::try_from(now.duration_until(due)).unwrap_or_default();
        self.recheck = Some(self.recheck.map_or(left, |first| first.min(left)));
    }

    fn allowed(&self) -> i32 {
        if self.expected <= 0 {
            // Its first pods may not have been seen yet.
            return 0;
        }
        self.healthy.saturating_sub(self.desired).max(0)
    }
}

/// How many pods there are to be, and how many of them healthy.
fn wanted(
    budget: &PodDisruptionBudget,
    pods: usize,
    scale: Option<i32>,
) -> Result<(i32, i32), String> {
    let Some(spec) = &budget.spec else {
        return Ok((0, 0));
    };
    let pods = i32::try_from(pods).unwrap_or(i32::MAX);
    let expected = scale.unwrap_or(pods);
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(unavailable), _) => {
            let unavailable = scaled(unavailable, expected)?;
            Ok((expected, expected.saturating_sub(unavailable).max(0)))
        }
        (None, Some(available)) => Ok((expected, scaled(available, expected)?)),
        (None, None) => Ok((0, 0)),
    }
}

/// A number, or a percentage of `total`, rounded up.
fn scaled(value: &IntOrString, total: i32) -> Result<i32, String> {
    let text = match value {
        IntOrString::Int(number) => return Ok(*number),
        IntOrString::String(text) => text,
    };
    let percent = text
        .strip_suffix('%')
        .and_then(|digits| digits.parse::<i32>().ok());
    let percent =
        percent.ok_or("invalid value for IntOrString: invalid type: string is not a percentage")?;
    let share = (i64::from(percent) * i64::from(total) + 99).div_euclid(100);
    Ok(i32::try_from(share).unwrap_or(i32::MAX))
}

/// The budget with its new status; `None` where that says nothing new.
pub(super) fn with_status(
    budget: &PodDisruptionBudget,
    plan: &Plan,
    now: Timestamp,
) -> Option<PodDisruptionBudget> {
    let old = budget.status.clone().unwrap_or_default();
    let allowed = plan.allowed();
    let mut status = PodDisruptionBudgetStatus {
        conditions: old.conditions.clone(),
        current_healthy: plan.healthy,
        desired_healthy: plan.desired,
        disrupted_pods: Some(plan.disrupted.clone()).filter(|pods| !pods.is_empty()),
        disruptions_allowed: allowed,
        expected_pods: plan.expected,
        observed_generation: budget.metadata.generation,
    };
    let said = condition(&old).map(|c| c.status.as_str());
    let known = said == Some(if allowed > 0 { "True" } else { "False" });
    if known && status == old {
        return None;
    }
    let (value, reason) = match allowed {
        1.. => ("True", "SufficientPods"),
        _ => ("False", "InsufficientPods"),
    };
    set_condition(&mut status, value, reason, String::new(), now);
    let mut new = budget.clone();
    new.status = Some(status);
    Some(new)
}

/// The budget when its pods could not be counted: it allows nothing.
pub(super) fn failed(
    budget: &PodDisruptionBudget,
    error: &str,
    now: Timestamp,
) -> PodDisruptionBudget {
    let mut new = budget.clone();
    let status = new.status.get_or_insert_default();
    status.disruptions_allowed = 0;
    set_condition(status, "False", "SyncFailed", error.to_owned(), now);
    new
}

fn condition(status: &PodDisruptionBudgetStatus) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == ALLOWED)
}

fn set_condition(
    status: &mut PodDisruptionBudgetStatus,
    value: &str,
    reason: &str,
    message: String,
    now: Timestamp,
) {
    let since = condition(status).filter(|c| c.status == value);
    let since = since.map_or(Time(now), |c| c.last_transition_time.clone());
    let new = Condition {
        type_: ALLOWED.to_owned(),
        status: value.to_owned(),
        reason: reason.to_owned(),
        message,
        last_transition_time: since,
        observed_generation: status.observed_generation,
    };
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|c| c.type_ == ALLOWED) {
        Some(there) => *there = new,
        None => conditions.push(new),
    }
}

pub(super) fn unmanaged_note(budget: &PodDisruptionBudget) -> String {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {}) were found to be unmanaged. As a result, the status of the \
         PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please set \
         \".spec.minAvailable\" field of the PDB to an integer value.",
        go_selector(selector)
    )
}

/// Of a pod that several budgets select, of which none lets it be evicted.
pub(super) fn several_note(pod: &Pod, first: &PodDisruptionBudget) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
        text(&pod.metadata.namespace),
        text(&pod.metadata.name),
        text(&first.metadata.name)
    )
}

/// A selector as Go prints it.
fn go_selector(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else {
        return "nil".to_owned();
    };
    let mut text = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in selector.match_labels.iter().flatten() {
        let _ = write!(text, "{key}: {value},");
    }
    text.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for rule in selector.match_expressions.iter().flatten() {
        let values = rule.values.clone().unwrap_or_default().join(" ");
        let (key, operator) = (&rule.key, &rule.operator);
        let _ = write!(
            text,
            "LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},"
        );
    }
    text.push_str("},}");
    text
}
