//! Who works in a cluster besides controllers: no more of a scheduler, a kubelet and others than a scenario needs.

use std::time::Duration;

use knarr_client::lease::NodeLease;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::world::{get, send};

/// How often they look.
const LOOK: Duration = Duration::from_secs(2);
/// How many looks a container's work takes.
const WORK: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hand {
    /// Binds pods.
    Scheduler,
    /// Runs pods and ends those that are deleted.
    Kubelet,
    /// Ends well what runs.
    Work,
    /// Says that the node `n0` is alive.
    Lease,
    /// Attaches volumes to nodes.
    Attacher,
}

/// Works until the run ends.
pub async fn work(hands: &'static [Hand], admin: Client) {
    if hands.is_empty() {
        return;
    }
    let has = |hand| hands.contains(&hand);
    for look in 0.. {
        sleep(LOOK).await;
        if has(Hand::Lease) && look % 5 == 0 {
            let _ = NodeLease::new(admin.clone(), "n0", None).renew().await;
        }
        if has(Hand::Attacher) {
            attach(&admin).await;
        }
        if !has(Hand::Kubelet) {
            continue;
        }
        for pod in items(&admin, "/api/v1/pods").await {
            if pod["spec"]["nodeName"].is_string() {
                let ends = has(Hand::Work) && look % WORK == 0;
                keep(&admin, &pod, look, ends).await;
            } else if has(Hand::Scheduler) && pod["metadata"]["deletionTimestamp"].is_null() {
                bind(&admin, &pod).await;
            }
        }
    }
}

async fn items(admin: &Client, path: &str) -> Vec<Value> {
    let list = get(admin, path).await;
    match list.map(|mut list| list["items"].take()) {
        Ok(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn path(pod: &Value) -> String {
    let meta = &pod["metadata"];
    format!(
        "/api/v1/namespaces/{}/pods/{}",
        text(&meta["namespace"]),
        text(&meta["name"])
    )
}

/// Gives a pod the node that it is for, or the first one.
async fn bind(admin: &Client, pod: &Value) {
    let affinity = &pod["spec"]["affinity"]["nodeAffinity"];
    let required = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
    let its = &required["nodeSelectorTerms"][0]["matchFields"][0]["values"][0];
    let nodes = items(admin, "/api/v1/nodes").await;
    let Some(first) = nodes.first() else { return };
    let name = match its.is_string() {
        true => its,
        false => &first["metadata"]["name"],
    };
    let binding = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
        "target": {"kind": "Node", "name": name}});
    let request = http::Request::post(format!("{}/binding", path(pod)));
    let _ = send(admin, request, &binding).await;
}

async fn keep(admin: &Client, pod: &Value, look: u64, ends: bool) {
    let path = path(pod);
    let phase = text(&pod["status"]["phase"]);
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        let at_once = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": 0});
        let _ = send(admin, http::Request::delete(path), &at_once).await;
        return;
    }
    let status = match phase {
        "Pending" | "" => {
            let number = text(&pod["metadata"]["resourceVersion"])
                .parse::<u32>()
                .unwrap_or(0);
            let [_, _, third, fourth] = number.to_be_bytes();
            let ip = format!("10.42.{third}.{fourth}");
            json!({"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
        }
        "Running" if ends && look > 0 => json!({"phase": "Succeeded"}),
        _ => return,
    };
    let request = http::Request::patch(format!("{path}/status"));
    let _ = send(admin, request, &json!({"status": status})).await;
}

/// What an external-attacher does, at once.
async fn attach(admin: &Client) {
    let all = "/apis/storage.k8s.io/v1/volumeattachments";
    for attachment in items(admin, all).await {
        if attachment["status"]["attached"] != true {
            let name = text(&attachment["metadata"]["name"]);
            let request = http::Request::patch(format!("{all}/{name}/status"));
            let _ = send(admin, request, &json!({"status": {"attached": true}})).await;
        }
    }
}
