//! A simulated node as the API has it: what a kubelet would have registered, and its status.

use std::net::IpAddr;

use jiff::Timestamp;
use knarr_client::{Object, SIMULATED_LABEL};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::config::Config;

/// An annotation of a Node: with `true` its kubelet says and does nothing, as if its machine were off.
pub const STOPPED_ANNOTATION: &str = "sim.knarr.dev/stopped";
/// An annotation of a Node: with `true` its container runtime does not work, which its kubelet tells.
pub const NOT_READY_ANNOTATION: &str = "sim.knarr.dev/not-ready";

/// Keeps load balancers from nodes that no packet reaches.
const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
const REGION_LABEL: &str = "topology.kubernetes.io/region";
/// Where all simulated zones are.
const REGION: &str = "simulated";
/// Of a machine of the kind that most run.
const ARCHITECTURE: &str = "amd64";
/// What the runtime says of itself: it is none.
const RUNTIME: &str = "hollow://1.0.0";

/// Which node it is of how many.
pub(crate) fn name(config: &Config, index: u32) -> String {
    // As many digits as the last one has, so that names are in order.
    let digits = config.count.max(1).to_string().len();
    format!("{}-{:0digits$}", config.name, index.saturating_add(1))
}

/// The Node that a kubelet would register.
pub(crate) fn object(config: &Config, index: u32, address: IpAddr, now: Timestamp) -> Value {
    let name = name(config, index);
    let mut labels = Map::new();
    let mut label = |key: &str, value: &str| labels.insert(key.to_owned(), value.into());
    for (key, value) in &config.labels {
        label(key, value);
    }
    if config.zones > 0 {
        label(ZONE_LABEL, &format!("zone-{}", index % config.zones + 1));
        label(REGION_LABEL, REGION);
    }
    for (key, value) in [
        ("kubernetes.io/hostname", name.as_str()),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", ARCHITECTURE),
        ("beta.kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/arch", ARCHITECTURE),
        (SIMULATED_LABEL, config.name.as_str()),
        (EXCLUDED_LABEL, ""),
    ] {
        label(key, value);
    }
    let mut status = status(&[], None, now);
    status["capacity"] = json!(config.capacity);
    status["allocatable"] = json!(config.capacity);
    status["addresses"] = json!([
        {"type": "InternalIP", "address": address},
        {"type": "Hostname", "address": name},
    ]);
    status["daemonEndpoints"] = json!({"kubeletEndpoint": {"Port": 10_250}});
    status["nodeInfo"] = json!({
        "architecture": ARCHITECTURE,
        "operatingSystem": "linux",
        "osImage": "simulated",
        "kernelVersion": "simulated",
        "machineID": name,
        "systemUUID": name,
        "bootID": name,
        "containerRuntimeVersion": RUNTIME,
        "kubeletVersion": config.version,
        "kubeProxyVersion": "",
    });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": config.taints},
        "status": status,
    })
}

/// A condition as it is now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    #[serde(default)]
    pub last_transition_time: Option<String>,
}

/// Why a node is not ready, and the conditions of one that is: type, status, reason and message as upstream's kubelet writes them.
fn conditions(trouble: Option<&str>) -> [(&'static str, &'static str, &'static str, String); 4] {
    let fine = |kind, reason, message: &str| (kind, "False", reason, message.to_owned());
    [
        fine(
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        fine(
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        fine(
            "PIDPressure",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
        match trouble {
            None => (
                "Ready",
                "True",
                "KubeletReady",
                "kubelet is posting ready status".to_owned(),
            ),
            Some(why) => ("Ready", "False", "KubeletNotReady", why.to_owned()),
        },
    ]
}

/// What a kubelet tells of itself; `before` says since when.
pub(crate) fn status(before: &[Condition], trouble: Option<&str>, now: Timestamp) -> Value {
    let now = text(now);
    let conditions = conditions(trouble).map(|(kind, status, reason, message)| {
        let known = before.iter().find(|c| c.kind == kind && c.status == status);
        let since = known.and_then(|c| c.last_transition_time.as_ref());
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": now, "lastTransitionTime": since.unwrap_or(&now),
        })
    });
    json!({"conditions": conditions})
}

/// Whether what a node is known by says something else than its kubelet would.
pub(crate) fn differs(known: &[Condition], trouble: Option<&str>) -> bool {
    let is_known =
        |kind: &str, status: &str| known.iter().any(|c| c.kind == kind && c.status == status);
    !conditions(trouble)
        .iter()
        .all(|(kind, status, _, _)| is_known(kind, status))
}

/// As times of objects are: whole seconds.
pub(crate) fn text(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or_default();
    whole.to_string()
}

/// What is read of a Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub name: String,
    revision: String,
    pub uid: String,
    /// Where its pods' addresses are from.
    pub range: Option<String>,
    pub conditions: Vec<Condition>,
    pub is_stopped: bool,
    pub is_broken: bool,
}

#[derive(Deserialize)]
struct Raw {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: String,
    #[serde(default)]
    resource_version: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    annotations: Annotations,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "sim.knarr.dev/stopped")]
    stopped: String,
    #[serde(rename = "sim.knarr.dev/not-ready")]
    broken: String,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(default, rename = "podCIDR")]
    range: Option<String>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    conditions: Vec<Condition>,
}

impl Object for Seen {
    fn namespace(&self) -> &str {
        ""
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn resource_version(&self) -> &str {
        &self.revision
    }

    fn decode(json: &str) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_str(json)?;
        let annotations = raw.metadata.annotations;
        Ok(Self {
            name: raw.metadata.name,
            revision: raw.metadata.resource_version,
            uid: raw.metadata.uid,
            range: raw.spec.range.filter(|range| !range.is_empty()),
            conditions: raw.status.conditions,
            is_stopped: annotations.stopped == "true",
            is_broken: annotations.broken == "true",
        })
    }

    fn kind_name() -> &'static str {
        "Node"
    }
}

#[cfg(test)]
mod tests;
