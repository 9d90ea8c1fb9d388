//! Pod.

pub mod amounts;
mod annotations;
mod app_armor;
mod columns;
mod gated;
mod label_keys;
mod qos;
mod resize;
mod status;
mod update;
mod whole;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, i64_at, list_at, str_at},
    time,
};
use serde_json::{Value, json};

use super::pod_spec::{self, Within};
use crate::{
    kind::{
        BuiltIn, CREATE, Column, Deletion, GET_PATCH_UPDATE, NOTHING, PROXY, Part, STATUS, Scope,
        Strategy, Subresource, Text, Verb, text,
    },
    now::Now,
    shown::Shown,
    tree,
    warnings::{self, Warnings},
};

pub use qos::qos_class;

const CONNECT: &[Verb] = &[Verb::Create, Verb::Get];
/// Containers that join a running pod, to look at it.
const EPHEMERAL_CONTAINERS: &str = "ephemeralcontainers";
/// The subresource through which a running pod gets other resources.
pub const RESIZE: &str = "resize";

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Pod",
    resource: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[
        Subresource {
            name: "attach",
            kind: Some(("", "v1", "PodAttachOptions")),
            verbs: CONNECT,
            changes: NOTHING,
        },
        Subresource {
            name: "binding",
            kind: Some(("", "v1", "Binding")),
            verbs: CREATE,
            changes: &[
                &["metadata", "annotations"],
                &["metadata", "labels"],
                &["spec", "nodeName"],
                &["status", "conditions"],
                &["status", "nominatedNodeName"],
            ],
        },
        Subresource {
            name: EPHEMERAL_CONTAINERS,
            kind: None,
            verbs: GET_PATCH_UPDATE,
            changes: &[&["spec", "ephemeralContainers"]],
        },
        Subresource {
            name: "eviction",
            kind: Some(("policy", "v1", "Eviction")),
            verbs: CREATE,
            changes: NOTHING,
        },
        Subresource {
            name: "exec",
            kind: Some(("", "v1", "PodExecOptions")),
            verbs: CONNECT,
            changes: NOTHING,
        },
        Subresource {
            name: "log",
            kind: None,
            verbs: &[Verb::Get],
            changes: NOTHING,
        },
        Subresource {
            name: "portforward",
            kind: Some(("", "v1", "PodPortForwardOptions")),
            verbs: CONNECT,
            changes: NOTHING,
        },
        Subresource {
            name: "proxy",
            kind: Some(("", "v1", "PodProxyOptions")),
            verbs: PROXY,
            changes: NOTHING,
        },
        Subresource {
            name: RESIZE,
            kind: None,
            verbs: GET_PATCH_UPDATE,
            changes: &[
                &["spec", "containers"],
                &["spec", "initContainers"],
                &["spec", "resources"],
            ],
        },
        STATUS,
    ],
    storage: Some("/registry/pods"),
    definition: "io.k8s.api.core.v1.Pod",
    strategy: &Pod,
    aliases: &[],
};

struct Pod;

impl Strategy for Pod {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object::child_mut(object, "spec") {
            pod_spec::default_pod(spec);
        }
        if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
            sync_ips(status);
        }
    }

    fn early_warnings(&self, object: &Value) -> Vec<String> {
        app_armor::warnings(object)
    }

    fn prepare_create(&self, object: &mut Value) {
        // Admission may have set the account after defaulting.
        if let Some(spec) = object::child_mut(object, "spec") {
            pod_spec::default_pod_spec(spec);
        }
        app_armor::sync(object);
        whole::default_resources(object);
        label_keys::merge(object);
        let mut status = json!({"phase": "Pending", "qosClass": qos_class(object)});
        if !list_at(object, &["spec", "schedulingGates"]).is_empty() {
            status["conditions"] = json!([{
                "type": "PodScheduled",
                "status": "False",
                "lastProbeTime": null,
                "lastTransitionTime": time::now_seconds(),
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }]);
        }
        tree::set(object, "status", status);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        match part {
            Part::Main => {
                tree::keep(new, old, "status");
                whole::keep_resources(new, old);
            }
            Part::Status => {
                tree::keep(new, old, "spec");
                tree::keep_metadata(new, old, "ownerReferences");
                status::keep(new, old);
            }
            Part::Subresource(RESIZE) => {
                resize::prepare(new, old);
                whole::keep_resources(new, old);
                whole::default_resources(new);
            }
            Part::Subresource(_) => {}
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        annotations::validate(object, &mut errors);
        app_armor::validate_match(object, &mut errors);
        pod_spec::validate_pod_spec(spec, Within::Pod, &path, &mut errors);
        pod_spec::validate_created_claims(object::name(object), spec, &path, &mut errors);
        if !list_at(spec, &["ephemeralContainers"]).is_empty() {
            errors.push(Error::forbidden(
                &path.child("ephemeralContainers"),
                "cannot be set on create",
            ));
        }
        if !str_at(spec, &["nodeName"]).is_empty()
            && !list_at(spec, &["schedulingGates"]).is_empty()
        {
            errors.push(Error::forbidden(
                &path.child("nodeName"),
                "cannot be set until all schedulingGates have been cleared",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        match part {
            Part::Main => {
                let mut errors = annotations::validate_update(new, old);
                errors.extend(update::validate_main(new, old));
                errors
            }
            Part::Status => {
                let mut errors = annotations::validate_update(new, old);
                errors.extend(status::validate(new, old));
                errors
            }
            Part::Subresource(EPHEMERAL_CONTAINERS) if annotations::is_mirror(old) => {
                vec![Error::forbidden(
                    &Path::root(),
                    "static pods do not support ephemeral containers",
                )]
            }
            Part::Subresource(EPHEMERAL_CONTAINERS) => update::validate_ephemeral(new, old),
            Part::Subresource(RESIZE) => resize::validate(new, old),
            // The server itself has made the one change.
            Part::Subresource(_) => ErrorList::new(),
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, part: Part) -> Vec<String> {
        let mut out = Warnings::default();
        match (old, part) {
            (None, _) => {
                warnings::label_name(object, "the Pod's hostname", &mut out);
                pod_spec::warnings::of_pod(object, &mut out);
            }
            (Some(_), Part::Status) => {
                for field in ["podIPs", "hostIPs"] {
                    let path = Path::new("status").child(field);
                    for (index, address) in list_at(object, &["status", field]).iter().enumerate() {
                        let path = path.index(index).child("ip");
                        warnings::ip(&path, str_at(address, &["ip"]), &mut out);
                    }
                }
            }
            // People do not change pods, and programs do so often.
            (Some(_), _) => {}
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[
            text("spec.nodeName"),
            text("spec.restartPolicy"),
            text("spec.schedulerName"),
            text("spec.serviceAccountName"),
            text("spec.hostNetwork"),
            text("status.phase"),
            text("status.podIP"),
            text("status.nominatedNodeName"),
        ];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let status = object.get("status").unwrap_or(&Value::Null);
        vec![
            str_at(spec, &["nodeName"]).to_owned(),
            str_at(spec, &["restartPolicy"]).to_owned(),
            str_at(spec, &["schedulerName"]).to_owned(),
            str_at(spec, &["serviceAccountName"]).to_owned(),
            pod_spec::host_network(spec).to_string(),
            str_at(status, &["phase"]).to_owned(),
            str_at(status, &["podIP"]).to_owned(),
            str_at(status, &["nominatedNodeName"]).to_owned(),
        ]
    }

    fn columns(&self) -> &[Column] {
        columns::COLUMNS
    }

    fn shown(&self) -> &'static Shown {
        &columns::SHOWN
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        columns::cells(object, now)
    }

    fn row_conditions(&self, object: &Value) -> Option<Value> {
        columns::conditions(object)
    }

    /// The period is the one asked for, or the spec's; 0 for a pod that is on no node or has finished.
    fn deletion(&self, object: &Value, grace: Option<i64>) -> Deletion {
        let unscheduled = str_at(object, &["spec", "nodeName"]).is_empty();
        let finished = matches!(str_at(object, &["status", "phase"]), "Failed" | "Succeeded");
        let seconds = if unscheduled || finished {
            0
        } else {
            grace
                .or_else(|| i64_at(object, &["spec", "terminationGracePeriodSeconds"]))
                .unwrap_or_default()
        };
        Deletion::Graceful {
            seconds: if seconds < 0 { 1 } else { seconds },
        }
    }
}

/// Keeps `podIP` and `podIPs` alike. Where they are not, the one address counts: old kubelets know no other. Those of the host are
/// left as they are told, as upstream.
fn sync_ips(status: &mut serde_json::Map<String, Value>) {
    let one = tree::text(status, "podIP").to_owned();
    let many = status.get("podIPs").and_then(Value::as_array);
    let first = many.and_then(|many| many.first());
    let first = first.map(|first| str_at(first, &["ip"]).to_owned());
    match first {
        Some(first) if one.is_empty() => status.insert("podIP".to_owned(), first.into()),
        Some(first) if first == one => None,
        None if one.is_empty() => None,
        _ => status.insert("podIPs".to_owned(), json!([{"ip": one}])),
    };
}

#[cfg(test)]
mod tests;
