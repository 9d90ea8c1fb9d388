//! What a stricter level of a namespace would say of the pods that are there already. Upstream's `EvaluatePodsInNamespace`.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use knarr_auth::objects::{Object, Objects};
use knarr_meta::{field, object};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    Settings,
    checks::{self, Pod},
    policy::LevelVersion,
};

/// Pods that are looked at, as upstream.
pub const MAX_PODS: usize = 3000;
/// Time that this may take, as upstream.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Pods between two turns of other tasks.
const PODS_PER_TURN: usize = 16;

/// Pods that violate a level in the same way.
#[derive(Default)]
struct Group {
    /// The name that sorts first.
    first: String,
    count: usize,
}

/// What was found so far.
struct Survey {
    enforce: LevelVersion,
    deadline: Instant,
    read: usize,
    checked: usize,
    /// By what they violate.
    groups: BTreeMap<String, Group>,
}

impl Survey {
    fn is_over(&self) -> bool {
        self.checked >= MAX_PODS || Instant::now() >= self.deadline
    }

    async fn read(&mut self, pod: &Object) -> Option<Value> {
        self.read += 1;
        if self.read.is_multiple_of(PODS_PER_TURN) {
            tokio::task::yield_now().await;
        }
        crate::parse(pod)
    }

    fn check(&mut self, pod: &Value) {
        self.checked += 1;
        let violations = checks::evaluate(self.enforce, &Pod::new(pod));
        if violations.is_empty() {
            return;
        }
        let name = object::name(pod);
        let group = self.groups.entry(violations.reason()).or_default();
        if group.count == 0 || name < group.first.as_str() {
            name.clone_into(&mut group.first);
        }
        group.count += 1;
    }
}

/// Warnings of the pods in a namespace that violate what is to be enforced. One pod of each controller is looked at before the
/// others: those of one template violate the same.
pub async fn violations(
    objects: &dyn Objects,
    settings: &Settings,
    namespace: &str,
    enforce: LevelVersion,
) -> Vec<String> {
    let mut survey = Survey {
        enforce,
        deadline: Instant::now() + TIMEOUT,
        read: 0,
        checked: 0,
        groups: BTreeMap::new(),
    };
    let pods = objects.list("", "pods", namespace);
    let mut total = pods.len();
    let mut controllers = HashSet::new();
    let mut repeated = Vec::new();
    for pod in pods {
        if survey.is_over() {
            break;
        }
        let Some(value) = survey.read(&pod).await else {
            continue;
        };
        let class = object::str_at(&value, &["spec", "runtimeClassName"]);
        if settings.exempts_runtime_class(class) {
            total = total.saturating_sub(1);
            continue;
        }
        if controller(&value).is_some_and(|uid| !controllers.insert(uid)) {
            repeated.push(pod);
        } else {
            survey.check(&value);
        }
    }
    for pod in repeated {
        if survey.is_over() {
            break;
        }
        if let Some(value) = survey.read(&pod).await {
            survey.check(&value);
        }
    }
    told(namespace, enforce, (survey.checked, total), &survey.groups)
}

/// The uid of what controls a pod.
fn controller(pod: &Value) -> Option<String> {
    let mut owners = object::owner_references(pod);
    let owner = owners.find(|owner| owner.controller)?;
    Some(owner.uid.to_owned())
}

/// In upstream's words and order.
fn told(
    namespace: &str,
    enforce: LevelVersion,
    (checked, total): (usize, usize),
    groups: &BTreeMap<String, Group>,
) -> Vec<String> {
    let mut warnings = Vec::new();
    if checked < total {
        warnings.push(format!(
            "new PodSecurity enforce level only checked against the first {checked} of {total} existing pods"
        ));
    }
    if !groups.is_empty() {
        let namespace = field::quote(namespace);
        warnings.push(format!(
            "existing pods in namespace {namespace} violate the new PodSecurity enforce level \"{enforce}\""
        ));
    }
    let mut pods: Vec<String> = groups
        .iter()
        .map(|(reason, Group { first, count })| match count {
            1 => format!("{first}: {reason}"),
            2 => format!("{first} (and 1 other pod): {reason}"),
            _ => format!("{first} (and {} other pods): {reason}", count - 1),
        })
        .collect();
    pods.sort();
    warnings.append(&mut pods);
    warnings
}
