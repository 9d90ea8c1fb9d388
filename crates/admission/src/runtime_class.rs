//! RuntimeClass: a pod gets the overhead of its class, and goes where the class' runtime is.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_api::core::amounts::amounts;
use knarr_auth::objects::Objects;
use knarr_meta::{
    object::{self, at, map_at, str_at},
    status::Status,
};
use serde_json::{Map, Value};

use super::{forbidden, is_pod, list, read, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const GROUP: &str = "node.k8s.io";
const RESOURCE: &str = "runtimeclasses";
const OTHER_OVERHEAD: &str =
    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead";

/// The plugin.
pub struct RuntimeClass {
    objects: Arc<dyn Objects>,
}

impl RuntimeClass {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        RuntimeClass { objects }
    }

    /// The pod's class, if it names one.
    fn class(&self, request: &AdmissionRequest<'_>, pod: &Value) -> Result<Option<Value>, Status> {
        let Some(name) = at(pod, &["spec", "runtimeClassName"]).and_then(Value::as_str) else {
            return Ok(None);
        };
        match read(&*self.objects, GROUP, RESOURCE, "", name) {
            Some(class) => Ok(Some(class)),
            None => {
                let why = format!("pod rejected: RuntimeClass {name:?} not found");
                Err(forbidden(request, why))
            }
        }
    }
}

#[async_trait]
impl AdmissionPlugin for RuntimeClass {
    fn name(&self) -> &'static str {
        "RuntimeClass"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        is_pod(request) && request.operation == Operation::Create
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(pod) = request.object.as_deref() else {
            return Ok(());
        };
        let Some(class) = self.class(request, pod)? else {
            return Ok(());
        };
        let given = amounts(pod, &["spec", "overhead"]);
        let overhead = map_at(&class, &["overhead", "podFixed"]);
        if at(&class, &["overhead"]).is_some_and(Value::is_object)
            && !given.is_empty()
            && given != amounts(&class, &["overhead", "podFixed"])
        {
            return Err(forbidden(request, OTHER_OVERHEAD));
        }
        if let Some(why) = conflict(pod, &class) {
            return Err(forbidden(request, why));
        }
        let Some(pod) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let spec = spec(pod)?;
        if let Some(overhead) = overhead {
            spec.insert("overhead".to_owned(), overhead.clone().into());
        }
        schedule(spec, &class);
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(pod) = request.object.as_deref() else {
            return Ok(());
        };
        let class = self.class(request, pod)?.unwrap_or_default();
        let given = amounts(pod, &["spec", "overhead"]);
        if at(&class, &["overhead"]).is_some_and(Value::is_object) {
            if given != amounts(&class, &["overhead", "podFixed"]) {
                return Err(forbidden(request, OTHER_OVERHEAD));
            }
        } else if at(pod, &["spec", "overhead"]).is_some_and(Value::is_object) {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            return Err(forbidden(request, why));
        }
        Ok(())
    }
}

const SELECTOR: [&str; 2] = ["scheduling", "nodeSelector"];

/// Where the pod selects another node than its class.
fn conflict(pod: &Value, class: &Value) -> Option<String> {
    let own = map_at(pod, &["spec", "nodeSelector"])?;
    map_at(class, &SELECTOR)?.iter().find_map(|(key, wanted)| {
        let other = own.get(key).filter(|value| *value != wanted)?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (wanted, other) = (text(wanted), text(other));
        Some(format!(
            "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {other}"
        ))
    })
}

/// Adds where the class' pods go.
fn schedule(spec: &mut Map<String, Value>, class: &Value) {
    let Some(scheduling) = class.get("scheduling").filter(|s| s.is_object()) else {
        return;
    };
    if let Some(wanted) = map_at(class, &SELECTOR).filter(|wanted| !wanted.is_empty()) {
        let selector = spec.entry("nodeSelector").or_insert(Value::Null);
        if selector.is_null() {
            *selector = Map::new().into();
        }
        if let Some(selector) = selector.as_object_mut() {
            selector.extend(wanted.clone());
        }
    }
    let more = object::list_at(scheduling, &["tolerations"]);
    if let Some(tolerations) = list(spec, "tolerations") {
        *tolerations = merged(tolerations, more);
        if tolerations.is_empty() {
            spec.remove("tolerations");
        }
    }
}

/// Two lists of tolerations without those that others make needless.
fn merged(first: &[Value], second: &[Value]) -> Vec<Value> {
    let all: Vec<&Value> = first.iter().chain(second).collect();
    let mut merged: Vec<Value> = Vec::new();
    for (index, toleration) in all.iter().enumerate() {
        let before = merged.iter().any(|other| covers(other, toleration));
        let later = &all[index.saturating_add(1)..];
        let after = || {
            later
                .iter()
                .any(|other| other != toleration && covers(other, toleration))
        };
        if !before && !after() {
            merged.push((*toleration).clone());
        }
    }
    merged
}

/// Whether a toleration tolerates all that another one does.
fn covers(wide: &Value, narrow: &Value) -> bool {
    if wide == narrow {
        return true;
    }
    let text = |toleration, field: &'static str| str_at(toleration, &[field]).to_owned();
    let (key, operator) = (text(wide, "key"), text(wide, "operator"));
    if text(narrow, "key") != key && !(key.is_empty() && operator == "Exists") {
        return false;
    }
    let effect = text(wide, "effect");
    if !effect.is_empty() && effect != text(narrow, "effect") {
        return false;
    }
    if effect == "NoExecute" {
        let seconds = |toleration| object::i64_at(toleration, &["tolerationSeconds"]);
        match (seconds(wide), seconds(narrow)) {
            (None, _) => {}
            (Some(_), None) => return false,
            (Some(wide), Some(narrow)) if wide < narrow => return false,
            _ => {}
        }
    }
    match operator.as_str() {
        "Exists" => true,
        "Equal" | "" => {
            text(narrow, "operator") == "Equal" && text(wide, "value") == text(narrow, "value")
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests;
