//! What a job makes of its pods' ends: its podFailurePolicy and its successPolicy.

use k8s_openapi::api::batch::v1::{
    JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::Indexes;

/// What follows from a failed pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts towards the limits.
    Counts,
    Ignored,
    /// The pod's index has failed, whatever its limit.
    FailsIndex,
    /// The job has failed; why.
    FailsJob(String),
}

/// The first rule that fits decides; without one the pod counts.
pub(crate) fn judge(spec: &JobSpec, pod: &Pod) -> Verdict {
    let rules = spec.pod_failure_policy.iter().flat_map(|p| &p.rules);
    for (index, rule) in rules.enumerate() {
        let Some(why) = matched(rule, pod) else {
            continue;
        };
        match rule.action.as_str() {
            "Ignore" => return Verdict::Ignored,
            "FailIndex" => return Verdict::FailsIndex,
            "Count" => return Verdict::Counts,
            "FailJob" => {
                let action = &rule.action;
                let message = format!("{why} matching {action} rule at index {index}");
                return Verdict::FailsJob(message);
            }
            _ => {}
        }
    }
    Verdict::Counts
}

/// What of the pod fits the rule, in upstream's words.
fn matched(rule: &PodFailurePolicyRule, pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let meta = &pod.metadata;
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let name = meta.name.as_deref().unwrap_or_default();
    if let Some(requirement) = &rule.on_exit_codes {
        let containers = status.container_statuses.iter().flatten();
        let init = status.init_container_statuses.iter().flatten();
        let mut codes = containers
            .chain(init)
            .filter_map(|c| Some((c, exit_code(c)?)));
        let (container, code) = codes.find(|(c, code)| fits(requirement, c, *code))?;
        let container = &container.name;
        return Some(format!(
            "Container {container} for pod {namespace}/{name} failed with exit code {code}"
        ));
    }
    let patterns = rule.on_pod_conditions.as_ref()?;
    let condition = status.conditions.iter().flatten().find(|condition| {
        patterns
            .iter()
            .any(|p| p.type_ == condition.type_ && p.status.as_ref() == Some(&condition.status))
    })?;
    let type_ = &condition.type_;
    Some(format!("Pod {namespace}/{name} has condition {type_}"))
}

fn exit_code(container: &ContainerStatus) -> Option<i32> {
    Some(container.state.as_ref()?.terminated.as_ref()?.exit_code)
}

fn fits(
    requirement: &PodFailurePolicyOnExitCodesRequirement,
    container: &ContainerStatus,
    code: i32,
) -> bool {
    let named = requirement.container_name.as_ref();
    let listed = requirement.values.contains(&code);
    let fits = match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        _ => false,
    };
    code != 0 && fits && named.is_none_or(|name| *name == container.name)
}

/// Which rule of the success policy is met, in upstream's words.
pub(crate) fn success(spec: &JobSpec, succeeded: &Indexes) -> Option<String> {
    if succeeded.is_empty() {
        return None;
    }
    let completions = spec.completions.unwrap_or(0);
    let rules = &spec.success_policy.as_ref()?.rules;
    let met = rules
        .iter()
        .position(|rule| match &rule.succeeded_indexes {
            Some(text) => {
                let wanted = Indexes::parse(text, completions);
                let there = succeeded.common(&wanted);
                let enough = rule.succeeded_count.is_some_and(|count| there >= count);
                !wanted.is_empty() && (there == wanted.total() || enough)
            }
            None => rule
                .succeeded_count
                .is_some_and(|count| succeeded.total() >= count),
        })?;
    Some(format!("Matched rules at index {met}"))
}
