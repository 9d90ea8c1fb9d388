//! What a PodDisruptionBudget says of an eviction, in upstream's words.

use knarr_meta::{
    GroupResource,
    object::{self, i64_at, list_at, map_at, str_at},
    status::Status,
};
use serde_json::{Map, Value, json};

pub const RESOURCE: &str = "poddisruptionbudgets";
/// The cause of a refusal, by which clients know that a budget is behind it.
const CAUSE: &str = "DisruptionBudget";
const ALLOWED: &str = "DisruptionAllowed";
/// Pods on their way that a status may note; of more the controller seems to be gone.
const MAX_DISRUPTED_PODS: usize = 2000;
const VIOLATED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
/// Seconds after which a client that was refused for now may ask again.
const RETRY_SECONDS: u32 = 10;

pub fn is_ready(pod: &Value) -> bool {
    list_at(pod, &["status", "conditions"])
        .iter()
        .any(|c| str_at(c, &["type"]) == "Ready" && str_at(c, &["status"]) == "True")
}

fn count(budget: &Value, field: &str) -> i64 {
    i64_at(budget, &["status", field]).unwrap_or_default()
}

/// Whether a pod that is not ready may go without being counted: always, or as long as enough others are healthy.
pub fn spares(budget: &Value) -> bool {
    let healthy = count(budget, "currentHealthy") >= count(budget, "desiredHealthy")
        && count(budget, "desiredHealthy") > 0;
    healthy || str_at(budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow"
}

/// 429: the budget's status does not speak of the pods or of the budget as they are.
pub fn in_process(name: &str) -> Status {
    let message = format!("The disruption budget {name} is still being processed by the server.");
    Status::too_many_requests(VIOLATED, RETRY_SECONDS).with_cause(CAUSE, message, "")
}

/// The budget after one of its disruptions was taken for a pod.
///
/// # Errors
/// The refusal, where it allows none.
pub fn taken(budget: &Value, pod: &str, now: &str) -> Result<Value, Status> {
    let name = object::name(budget);
    if count(budget, "observedGeneration") < object::generation(budget) {
        return Err(in_process(name));
    }
    let allowed = count(budget, "disruptionsAllowed");
    if allowed < 0 {
        let why = "pdb disruptions allowed is negative";
        return Err(refused(name, why, why));
    }
    let disrupted = map_at(budget, &["status", "disruptedPods"]).map_or(0, Map::len);
    if disrupted > MAX_DISRUPTED_PODS {
        return Err(refused(
            name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
            "too many pending evictions not confirmed by PDB controller",
        ));
    }
    if allowed == 0 {
        return Err(Status::too_many_requests(VIOLATED, 0).with_cause(
            CAUSE,
            none_left(budget),
            "",
        ));
    }
    let mut budget = budget.clone();
    if allowed == 1 {
        exhaust(&mut budget, now);
    }
    if let Some(status) = object::child_mut(&mut budget, "status") {
        status.insert(
            "disruptionsAllowed".to_owned(),
            json!(allowed.saturating_sub(1)),
        );
        let pods = status.entry("disruptedPods").or_insert(Value::Null);
        if !pods.is_object() {
            *pods = json!({});
        }
        pods[pod] = json!(now);
    }
    Ok(budget)
}

fn refused(name: &str, why: &str, cause: &str) -> Status {
    let cause =
        format!("The disruption budget {name} does not allow evicting pods currently: {cause}");
    Status::forbidden(
        GroupResource::new("policy", "poddisruptionbudget"),
        name,
        why,
    )
    .with_cause(CAUSE, cause, "")
}

fn condition(budget: &Value) -> Option<&Value> {
    let conditions = list_at(budget, &["status", "conditions"]);
    conditions.iter().find(|c| str_at(c, &["type"]) == ALLOWED)
}

/// Why a budget allows nothing now.
fn none_left(budget: &Value) -> String {
    let name = object::name(budget);
    let (wanted, healthy) = (
        count(budget, "desiredHealthy"),
        count(budget, "currentHealthy"),
    );
    let said = condition(budget).filter(|c| str_at(c, &["status"]) == "False");
    let text = |field: &'static str| said.map_or("", |c| str_at(c, &[field]));
    let (reason, message) = (text("reason"), text("message"));
    if !message.is_empty() && reason == "SyncFailed" {
        // Its counts are not to be trusted.
        return format!(
            "The disruption budget {name} does not allow evicting pods currently because it failed sync: {message}"
        );
    }
    if healthy <= wanted {
        return format!(
            "The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        );
    }
    if !message.is_empty() {
        return format!(
            "The disruption budget {name} does not allow evicting pods currently ({reason}): {message}"
        );
    }
    format!("The disruption budget {name} does not allow evicting pods currently")
}

/// The condition of a budget whose last disruption was taken.
fn exhaust(budget: &mut Value, now: &str) {
    let since = condition(budget).filter(|c| str_at(c, &["status"]) == "False");
    let since = since
        .map_or(now, |c| str_at(c, &["lastTransitionTime"]))
        .to_owned();
    let condition = json!({
        "type": ALLOWED,
        "status": "False",
        "reason": "InsufficientPods",
        "message": "",
        "observedGeneration": count(budget, "observedGeneration"),
        "lastTransitionTime": since,
    });
    let Some(status) = object::child_mut(budget, "status") else {
        return;
    };
    let conditions = status.entry("conditions").or_insert(Value::Null);
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    match conditions.iter_mut().find(|c| c["type"] == ALLOWED) {
        Some(there) => *there = condition,
        None => conditions.push(condition),
    }
}
