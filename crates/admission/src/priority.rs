//! Priority: a pod's priority and preemption policy come from its PriorityClass, and only one class is the default.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_auth::objects::Objects;
use knarr_meta::{object, status::Status};
use serde::Deserialize;
use serde_json::Value;

use super::{forbidden, is, is_pod, read, spec};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

const GROUP: &str = "scheduling.k8s.io";
const RESOURCE: &str = "priorityclasses";
/// What pods get where no class is the default.
const DEFAULT_POLICY: &str = "PreemptLowerPriority";

/// The plugin.
pub struct Priority {
    objects: Arc<dyn Objects>,
}

/// What a class gives.
struct Resolved {
    class: String,
    priority: i64,
    policy: Option<String>,
}

/// What tells of a class whether it is the default, of every class for every pod: no tree is made for it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mark {
    global_default: Option<bool>,
    value: Option<i64>,
}

impl Resolved {
    fn of(class: &Value) -> Resolved {
        Resolved {
            class: object::name(class).to_owned(),
            priority: object::i64_at(class, &["value"]).unwrap_or_default(),
            policy: class
                .get("preemptionPolicy")
                .and_then(Value::as_str)
                .map(String::from),
        }
    }
}

impl Priority {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        Priority { objects }
    }

    /// The class marked as default; with the lowest value where a race made several.
    fn default_class(&self) -> Option<Value> {
        let classes = self.objects.list(GROUP, RESOURCE, "");
        let marked = classes.iter().filter_map(|class| {
            let mark: Mark = serde_json::from_slice(&class.json).ok()?;
            mark.global_default?
                .then_some((mark.value.unwrap_or_default(), class))
        });
        let (_, class) = marked.min_by_key(|(value, _)| *value)?;
        serde_json::from_slice(&class.json).ok()
    }

    fn resolve(&self, request: &AdmissionRequest<'_>, pod: &Value) -> Result<Resolved, Status> {
        let class = object::str_at(pod, &["spec", "priorityClassName"]);
        if class.is_empty() {
            let none = || Resolved {
                class: String::new(),
                priority: 0,
                policy: Some(DEFAULT_POLICY.into()),
            };
            return Ok(self
                .default_class()
                .as_ref()
                .map_or_else(none, Resolved::of));
        }
        match read(&*self.objects, GROUP, RESOURCE, "", class) {
            Some(class) => Ok(Resolved::of(&class)),
            None => Err(forbidden(
                request,
                format!("no PriorityClass with name {class} was found"),
            )),
        }
    }

    fn create(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(pod) = request.object.as_deref() else {
            return Ok(());
        };
        let resolved = self.resolve(request, pod)?;
        let priority = resolved.priority;
        if let Some(given) = object::i64_at(pod, &["spec", "priority"])
            && given != priority
        {
            return Err(forbidden(
                request,
                format!(
                    "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {priority} from the given PriorityClass name"
                ),
            ));
        }
        let given = object::str_at(pod, &["spec", "preemptionPolicy"]);
        if let Some(policy) = &resolved.policy
            && !given.is_empty()
            && given != policy
        {
            return Err(forbidden(
                request,
                format!(
                    "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; priority admission controller computed {policy} from the given PriorityClass name"
                ),
            ));
        }
        let Some(pod) = request.object.as_deref_mut() else {
            return Ok(());
        };
        let spec = spec(pod)?;
        spec.insert("priority".into(), priority.into());
        if !resolved.class.is_empty() {
            spec.insert("priorityClassName".into(), resolved.class.into());
        }
        if let Some(policy) = resolved.policy {
            spec.insert("preemptionPolicy".into(), policy.into());
        }
        Ok(())
    }

    /// Keeps what was resolved at creation where an update leaves it out; validation refuses changes.
    fn update(request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        let (Some(pod), Some(old)) = (request.object.as_deref_mut(), request.old) else {
            return Ok(());
        };
        let spec = spec(pod)?;
        for field in ["priority", "preemptionPolicy"] {
            if spec.get(field).is_none_or(Value::is_null)
                && let Some(kept) = object::at(old, &["spec", field])
            {
                spec.insert(field.into(), kept.clone());
            }
        }
        Ok(())
    }
}

#[async_trait]
impl AdmissionPlugin for Priority {
    fn name(&self) -> &'static str {
        "Priority"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        let write = matches!(request.operation, Operation::Create | Operation::Update);
        write && request.subresource.is_empty() && (is_pod(request) || is(request, GROUP, RESOURCE))
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        if !is_pod(request) {
            return Ok(());
        }
        match request.operation {
            Operation::Create => self.create(request),
            _ => Self::update(request),
        }
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let Some(class) = request.object.as_deref() else {
            return Ok(());
        };
        if is_pod(request) || !object::bool_at(class, &["globalDefault"]) {
            return Ok(());
        }
        if let Some(default) = self.default_class() {
            let default = object::name(&default);
            if request.operation == Operation::Create || default != object::name(class) {
                let why = format!(
                    "PriorityClass {default} is already marked as default. Only one default can exist"
                );
                return Err(forbidden(request, why));
            }
        }
        Ok(())
    }
}
