//! The scheduler among simulated nodes, and what is the same to all its rows: Nodes are made through the API, are ready and run
//! nothing, so that a pod's way ends where it is bound. Ours is in one process with the API server, as everywhere in these rows.

pub mod nodes;
pub mod preempt;
pub mod schedule;
pub mod watch;

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    http::{Endpoint, delete, refusal},
    load::{self, Load, Plan},
    seed,
};

const CREATE_TIME: Duration = Duration::from_secs(60);

/// The path of a namespace's pods.
fn pods(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods")
}

/// Creates `count` pods over several connections; `make` gives the pod of a number.
async fn create_pods(
    endpoint: &Endpoint,
    namespace: &str,
    count: u64,
    make: impl Fn(u64) -> Value,
) -> Result<Load> {
    let path = pods(namespace);
    let plan = Plan {
        connections: seed::CREATE_CONNECTIONS,
        requests: count,
        time: CREATE_TIME,
    };
    let make = |number| {
        let body = Bytes::from(make(number).to_string());
        endpoint.request(Method::POST, &path, body)
    };
    let load = load::run(endpoint, plan, StatusCode::CREATED, make).await?;
    ensure!(
        load.done == count,
        "only {} of {count} pods were created within {CREATE_TIME:?}",
        load.done
    );
    Ok(load)
}

/// A pod that asks for so much; it ends at once when it is deleted.
fn pod(name: &str, cpu: &str, memory: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "containers": [{
                "name": "web",
                "image": "registry.example.com/team/web:1.14.2",
                "ports": [{"containerPort": 8080}],
                "resources": {"requests": {"cpu": cpu, "memory": memory}},
            }],
            "terminationGracePeriodSeconds": 0,
        },
    })
}

/// A pod, and where it is.
#[derive(Deserialize)]
struct Placed {
    metadata: Name,
    spec: Place,
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    #[serde(default)]
    node_name: String,
}

/// All pods of a namespace.
async fn placed(endpoint: &Endpoint, namespace: &str) -> Result<Vec<Placed>> {
    #[derive(Deserialize)]
    struct List {
        items: Vec<Placed>,
    }
    let path = pods(namespace);
    let (status, body) = endpoint.call(Method::GET, &path, Bytes::new()).await?;
    ensure!(
        status == StatusCode::OK,
        "GET {path}: {}",
        refusal(status, &body)
    );
    let list: List = serde_json::from_slice(&body)?;
    Ok(list.items)
}

/// Deletes all pods of a namespace at once with the events about them, and the namespace: nothing is left to do while the next row is
/// measured.
async fn remove_pods(endpoint: &Endpoint, namespace: &str) -> Result<()> {
    let all = format!("{}?gracePeriodSeconds=0", pods(namespace));
    delete(endpoint, &all).await?;
    remove_events(endpoint, namespace).await?;
    seed::delete_namespace(endpoint, namespace).await
}

/// Deletes the events of a namespace, of which each pod has some.
pub async fn remove_events(endpoint: &Endpoint, namespace: &str) -> Result<()> {
    let events = format!("/api/v1/namespaces/{namespace}/events");
    delete(endpoint, &events).await
}
