//! Which pods of a node go, stay, or keep it from being drained.

use std::fmt;

use k8s_openapi::api::core::v1::Pod;

use crate::cli::DrainNode;

/// A pod that goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Evicted {
    pub namespace: String,
    pub name: String,
    pub uid: String,
}

impl fmt::Display for Evicted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}/{}", self.namespace, self.name)
    }
}

/// What becomes of a node's pods.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub evicted: Vec<Evicted>,
    pub kept: Vec<Evicted>,
}

/// A pod that is only for who says so.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody would make it anew.
    Unmanaged(Evicted),
    /// Its data goes with it.
    LocalData(Evicted),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmanaged(pod) => {
                write!(
                    f,
                    "{pod} has no controller that would make it anew (--force deletes it)"
                )
            }
            Self::LocalData(pod) => write!(
                f,
                "{pod} has an emptyDir, which goes with it (--delete-emptydir-data lets it)"
            ),
        }
    }
}

/// Annotation of a static pod's mirror.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Tells what goes and what stays, or all that keeps the node from being drained.
pub fn plan(pods: &[Pod], flags: &DrainNode) -> Result<Plan, Vec<Refusal>> {
    let mut plan = Plan::default();
    let mut refusals = Vec::new();
    for pod in pods {
        let meta = &pod.metadata;
        let one = Evicted {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
        };
        let annotations = meta.annotations.as_ref();
        let controller =
            (meta.owner_references.iter().flatten()).find(|owner| owner.controller == Some(true));
        if annotations.is_some_and(|all| all.contains_key(MIRROR))
            || controller.is_some_and(|owner| owner.kind == "DaemonSet")
        {
            plan.kept.push(one);
        } else if has_ended(pod) {
            plan.evicted.push(one);
        } else if controller.is_none() && !flags.force {
            refusals.push(Refusal::Unmanaged(one));
        } else if has_local_data(pod) && !flags.delete_emptydir_data {
            refusals.push(Refusal::LocalData(one));
        } else {
            plan.evicted.push(one);
        }
    }
    match refusals.is_empty() {
        true => Ok(plan),
        false => Err(refusals),
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn has_local_data(pod: &Pod) -> bool {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.into_iter().any(|volume| volume.empty_dir.is_some())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, meta: &Value, more: &Value) -> Pod {
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "n", "name": name, "uid": name},
            "spec": {"containers": []},
        });
        for (key, value) in meta.as_object().into_iter().flatten() {
            object["metadata"][key] = value.clone();
        }
        for (key, value) in more.as_object().into_iter().flatten() {
            object[key] = value.clone();
        }
        serde_json::from_value(object).expect("a pod")
    }

    fn owned(kind: &str) -> Value {
        let owner = json!({"apiVersion": "apps/v1", "kind": kind, "name": "o", "uid": "o", "controller": true});
        json!({"ownerReferences": [owner]})
    }

    #[test]
    fn pods_go_stay_or_refuse() {
        let scratch =
            json!({"spec": {"containers": [], "volumes": [{"name": "v", "emptyDir": {}}]}});
        let ended = json!({"status": {"phase": "Succeeded"}});
        let mirror = json!({"annotations": {MIRROR: "x"}});
        for (meta, more, force, local, expected) in [
            (owned("ReplicaSet"), json!({}), false, false, "evicted"),
            (owned("DaemonSet"), json!({}), true, true, "kept"),
            (mirror, json!({}), false, false, "kept"),
            (json!({}), json!({}), false, false, "no controller"),
            (json!({}), json!({}), true, false, "evicted"),
            (json!({}), ended, false, false, "evicted"),
            (
                owned("ReplicaSet"),
                scratch.clone(),
                false,
                false,
                "emptyDir",
            ),
            (owned("ReplicaSet"), scratch.clone(), false, true, "evicted"),
            (json!({}), scratch, true, false, "emptyDir"),
        ] {
            let flags = DrainNode {
                name: "a".to_owned(),
                timeout: Duration::from_secs(1),
                force,
                delete_emptydir_data: local,
                kubeconfig: None,
            };
            let found = match plan(&[pod("p", &meta, &more)], &flags) {
                Ok(plan) if plan.evicted.is_empty() => "kept".to_owned(),
                Ok(_) => "evicted".to_owned(),
                Err(refusals) => refusals[0].to_string(),
            };
            assert!(found.contains(expected), "{meta} {more}: {found}");
        }
    }
}
