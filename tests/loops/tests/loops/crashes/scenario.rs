//! What is done in a run, and what is right in its end.

use std::time::Duration;

use kube::Client;
use kube::api::PropagationPolicy;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use knarr_meta::clock;

use super::hands::Hand;
use super::world::{World, get, send};

/// How long what a user waits for may take.
const DEADLINE: Duration = Duration::from_secs(3600);
/// How often it is looked for.
const LOOK: Duration = Duration::from_secs(4);

/// A controller, and what is to come of what users do.
pub struct Scenario {
    /// As `--controllers` names it.
    pub controller: &'static str,
    /// Others that run beside it, undisturbed.
    pub company: &'static [&'static str],
    pub hands: &'static [Hand],
    /// Done before the controller runs.
    pub before: fn() -> Vec<Step>,
    /// Done while it does.
    pub after: fn() -> Vec<Step>,
    pub check: fn(&World) -> Result<(), String>,
    /// It writes nothing but events.
    pub tells_only: bool,
    /// Why its successor is not started on a state that was; empty where it is.
    pub not_stale: &'static str,
}

/// A scenario to change.
pub const PLAIN: Scenario = Scenario {
    controller: "",
    company: &[],
    hands: &[],
    before: Vec::new,
    after: Vec::new,
    check: |_| Ok(()),
    tells_only: false,
    not_stale: "",
};

/// What users do.
pub enum Step {
    Create(Value),
    /// Merged into the object, or the subresource, at the path.
    Patch(String, Value),
    Delete(String, PropagationPolicy),
    Wait(Duration),
    /// Time passes while nobody is there: no timer notices.
    Pass(Duration),
    /// A claim for devices is a pod's, with what it was allocated: the names of pod and claim.
    Reserve(String, String, Value),
    /// Goes on when this is so.
    When(fn(&World) -> Result<(), String>),
}

pub fn create(api_version: &str, kind: &str, name: &str, rest: Value) -> Step {
    create_in("x", api_version, kind, name, rest)
}

/// Without a namespace where it is empty.
pub fn create_in(namespace: &str, api_version: &str, kind: &str, name: &str, rest: Value) -> Step {
    let mut object = rest;
    object["apiVersion"] = api_version.into();
    object["kind"] = kind.into();
    object["metadata"]["name"] = name.into();
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    Step::Create(object)
}

pub fn patch(path: &str, patch: Value) -> Step {
    Step::Patch(path.to_owned(), patch)
}

pub fn delete(path: &str) -> Step {
    Step::Delete(path.to_owned(), PropagationPolicy::Background)
}

pub fn wait(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

/// A node that is ready, with an address.
pub fn node(name: &str) -> Vec<Step> {
    let address = format!(
        "192.0.2.{}",
        10 + u8::try_from(name.len()).unwrap_or(0) + name.bytes().last().unwrap_or(0) % 100
    );
    let status = json!({"status": {
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "addresses": [{"type": "InternalIP", "address": address}],
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"},
    }});
    vec![
        create_in("", "v1", "Node", name, json!({})),
        patch(&format!("/api/v1/nodes/{name}/status"), status),
        patch(
            &format!("/api/v1/nodes/{name}"),
            json!({"spec": {"taints": null}}),
        ),
    ]
}

/// What is in the template of a workload.
pub fn template(labels: &Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 80}]}]}})
}

/// A pod; on a node where one is named.
pub fn pod(name: &str, node: &str, more: Value) -> Step {
    let mut object = template(&json!({"app": "web"}));
    if !node.is_empty() {
        object["spec"]["nodeName"] = node.into();
    }
    merge(&mut object, more);
    create("v1", "Pod", name, object)
}

fn merge(into: &mut Value, from: Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from,
    }
}

/// The path of a kind's collection.
fn collection(object: &Value) -> String {
    let text = |at: &Value| at.as_str().unwrap_or_default().to_owned();
    let (version, kind) = (
        text(&object["apiVersion"]),
        text(&object["kind"]).to_lowercase(),
    );
    let plural = match kind.as_str() {
        "endpoints" => kind,
        _ if kind.ends_with("policy") => format!("{}ies", kind.trim_end_matches('y')),
        _ if kind.ends_with('s') => format!("{kind}es"),
        _ => format!("{kind}s"),
    };
    let root = if version.contains('/') {
        "/apis"
    } else {
        "/api"
    };
    match object["metadata"]["namespace"].as_str() {
        Some(namespace) => format!("{root}/{version}/namespaces/{namespace}/{plural}"),
        None => format!("{root}/{version}/{plural}"),
    }
}

impl Step {
    pub async fn take(&self, admin: &Client) -> Result<(), String> {
        let failed = |what: &str, error: kube::Error| format!("{what}: {error}");
        match self {
            Step::Create(object) => {
                let path = collection(object);
                match send(admin, http::Request::post(&path), object).await {
                    Err(kube::Error::Api(status)) if status.is_already_exists() => {}
                    answer => drop(answer.map_err(|error| failed(&path, error))?),
                }
            }
            Step::Patch(path, patch) => {
                let answer = send(admin, http::Request::patch(path), patch).await;
                answer.map_err(|error| failed(path, error))?;
            }
            Step::Delete(path, policy) => {
                let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": policy});
                let answer = send(admin, http::Request::delete(path), &options).await;
                answer.map_err(|error| failed(path, error))?;
            }
            Step::Wait(time) => sleep(*time).await,
            Step::Pass(time) => clock::advance(*time),
            Step::Reserve(pod, claim, allocation) => reserve(admin, pod, claim, allocation).await?,
            Step::When(is_so) => {
                let deadline = Instant::now() + DEADLINE;
                while let Err(why) = is_so(&World::read(admin).await) {
                    if Instant::now() > deadline {
                        return Err(format!("a user waits: {why}"));
                    }
                    sleep(LOOK).await;
                }
            }
        }
        Ok(())
    }
}

/// What the scheduler does with a claim.
async fn reserve(admin: &Client, pod: &str, claim: &str, allocation: &Value) -> Result<(), String> {
    let pod = get(admin, &format!("/api/v1/namespaces/x/pods/{pod}")).await;
    let pod = pod.map_err(|error| error.to_string())?;
    let user =
        json!({"resource": "pods", "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]});
    let status = json!({"status": {"allocation": allocation, "reservedFor": [user]}});
    let path = format!("/apis/resource.k8s.io/v1/namespaces/x/resourceclaims/{claim}/status");
    Box::pin(Step::Patch(path, status).take(admin)).await
}
