//! Pods, from the POST accepted to Ready seen by a watch: 1, 10 and 50 at once.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::future::try_join;
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{timeout, timeout_at};

use crate::{
    http::{Endpoint, refusal},
    load,
    rows::{Effort, Measured},
    seed,
    stats::{Latencies, number},
    target::Target,
};

/// Pods at once, the figure, and how many rounds to take the median of.
const SIZES: [(usize, &str, usize); 3] = [(1, "pods-1", 7), (10, "pods-10", 3), (50, "pods-50", 1)];
const ROUNDS_QUICK: usize = 1;
/// For all pods of a round to be Ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// For all pods of a round to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(60);
/// For a node to become ready after the start.
const NODE_TIMEOUT: Duration = Duration::from_secs(30);
const NODE_POLL: Duration = Duration::from_millis(100);
/// Bytes of one watch event; a pod is a few KB.
const EVENT_MAX: usize = 1 << 20;

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    target.block_on(|| await_node(&target.endpoint))?;
    let mut measured = Measured::default();
    for (pods, figure, rounds) in SIZES {
        let rounds = effort.pick(rounds, ROUNDS_QUICK);
        match several(target, pods, rounds) {
            Ok(times) => {
                measured.note(format!(
                    "{figure}: {} round(s), fastest {} s, slowest {} s",
                    rounds,
                    number(times.percentile(0.0).as_secs_f64()),
                    number(times.percentile(100.0).as_secs_f64())
                ));
                measured.value(figure, times.p50().as_secs_f64());
            }
            Err(error) => {
                // More pods would only wait as long.
                measured.missing.push(format!("{figure}: {error:#}"));
                break;
            }
        }
    }
    Ok(measured)
}

fn several(target: &Target, pods: usize, rounds: usize) -> Result<Latencies> {
    let mut times = Vec::new();
    for _ in 0..rounds {
        let namespace = target.block_on(|| seed::create_namespace(&target.endpoint, "pods"))?;
        let time = target.block_on(|| round(&target.endpoint, &namespace, pods, &target.image));
        target.block_on(|| seed::delete_namespace(&target.endpoint, &namespace))?;
        times.push(time?);
    }
    Ok(Latencies::new(times))
}

async fn round(endpoint: &Endpoint, namespace: &str, pods: usize, image: &str) -> Result<Duration> {
    let (result, events) = attempt(endpoint, namespace, pods, image).await?;
    // So that the next round begins on an idle node.
    let gone = remove(endpoint, namespace, pods, events).await;
    let time = result?;
    gone.map(|()| time)
}

/// Creates pods `p-0`, `p-1` … and waits until all are Ready; how long that took, and what [`remove`] needs.
pub async fn start(
    endpoint: &Endpoint,
    namespace: &str,
    pods: usize,
    image: &str,
) -> Result<(Duration, Events)> {
    let (result, events) = attempt(endpoint, namespace, pods, image).await?;
    Ok((result?, events))
}

async fn attempt(
    endpoint: &Endpoint,
    namespace: &str,
    pods: usize,
    image: &str,
) -> Result<(Result<Duration>, Events)> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let list = endpoint.get(&path).await?;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .context("no resourceVersion")?;
    let mut events = Events::open(
        endpoint,
        &format!("{path}?watch=1&resourceVersion={version}"),
    )
    .await?;
    let requests = (0..pods)
        .map(|n| endpoint.request(Method::POST, &path, pod(&format!("p-{n}"), image)))
        .collect::<Result<Vec<_>>>()?;
    let deadline = tokio::time::Instant::now() + READY_TIMEOUT;
    let posted = load::burst(endpoint, requests, StatusCode::CREATED);
    let ready = async {
        timeout_at(deadline, events.await_ready(pods))
            .await
            .unwrap_or(Ok(None))
    };
    let (accepted, ready) = try_join(posted, ready).await?;
    let result = match ready {
        // A pod may be Ready before the answer to the slowest POST is read, not before that to the first.
        Some(at) => Ok(at.saturating_duration_since(accepted)),
        None => Err(anyhow::anyhow!(
            "not all of {pods} pod(s) were Ready within {READY_TIMEOUT:?}: {}",
            why(endpoint, namespace).await
        )),
    };
    Ok((result, events))
}

/// Deletes all pods of the namespace, and waits until `pods` of them are gone.
pub async fn remove(
    endpoint: &Endpoint,
    namespace: &str,
    pods: usize,
    mut events: Events,
) -> Result<()> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let all = format!("{path}?gracePeriodSeconds=1");
    let (status, body) = endpoint.call(Method::DELETE, &all, Bytes::new()).await?;
    ensure!(
        status.is_success(),
        "DELETE {path}: {}",
        refusal(status, &body)
    );
    timeout(GONE_TIMEOUT, events.await_gone(pods))
        .await
        .with_context(|| {
            format!("not all of {pods} pod(s) were gone {GONE_TIMEOUT:?} after their deletion")
        })?
}

fn pod(name: &str, image: &str) -> Bytes {
    let object = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "containers": [{"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}],
            "terminationGracePeriodSeconds": 1,
        },
    });
    Bytes::from(object.to_string())
}

/// The events of a watch, line by line.
pub struct Events {
    body: Incoming,
    buffer: Vec<u8>,
    gone: HashSet<String>,
}

#[derive(Deserialize)]
struct Event {
    r#type: String,
    object: Value,
}

impl Events {
    async fn open(endpoint: &Endpoint, path: &str) -> Result<Self> {
        let mut connection = endpoint.connect().await?;
        let request = endpoint.request(Method::GET, path, Bytes::new())?;
        let response = connection.send(request).await?;
        ensure!(
            response.status() == StatusCode::OK,
            "watch: {}",
            response.status()
        );
        Ok(Self {
            body: response.into_body(),
            buffer: Vec::new(),
            gone: HashSet::new(),
        })
    }

    async fn next(&mut self) -> Result<Event> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return serde_json::from_slice(&line).context("a watch event is not JSON");
            }
            ensure!(self.buffer.len() < EVENT_MAX, "a watch event is too large");
            let frame = self
                .body
                .frame()
                .await
                .context("the server ended the watch")??;
            if let Some(data) = frame.data_ref() {
                self.buffer.extend_from_slice(data);
            }
        }
    }

    /// When `count` pods have been Ready. A pod that ends will never be.
    async fn await_ready(&mut self, count: usize) -> Result<Option<Instant>> {
        let mut ready = HashSet::new();
        loop {
            let event = self.next().await?;
            let name = event.object["metadata"]["name"]
                .as_str()
                .unwrap_or_default();
            match event.r#type.as_str() {
                "ERROR" => bail!("watch: {}", event.object["message"]),
                "DELETED" => bail!("pod {name} was deleted by someone else"),
                _ => {}
            }
            let status = &event.object["status"];
            if status["phase"] == "Failed" {
                bail!(
                    "pod {name} failed: {} {}",
                    status["reason"],
                    status["message"]
                );
            }
            if is_true(status, "Ready") {
                ready.insert(name.to_owned());
                if ready.len() == count {
                    return Ok(Some(Instant::now()));
                }
            }
        }
    }

    async fn await_gone(&mut self, count: usize) -> Result<()> {
        while self.gone.len() < count {
            let event = self.next().await?;
            if event.r#type == "DELETED" {
                let name = event.object["metadata"]["name"]
                    .as_str()
                    .unwrap_or_default();
                self.gone.insert(name.to_owned());
            }
        }
        Ok(())
    }
}

fn is_true(status: &Value, condition: &str) -> bool {
    status["conditions"].as_array().is_some_and(|conditions| {
        conditions
            .iter()
            .any(|c| c["type"] == condition && c["status"] == "True")
    })
}

pub async fn await_node(endpoint: &Endpoint) -> Result<()> {
    let deadline = Instant::now() + NODE_TIMEOUT;
    loop {
        let nodes = endpoint.get("/api/v1/nodes").await?;
        let nodes = nodes["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let usable = |node: &Value| {
            is_true(&node["status"], "Ready") && node["spec"]["unschedulable"] != true
        };
        if nodes.iter().any(usable) {
            return Ok(());
        }
        if nodes.is_empty() && Instant::now() > deadline {
            bail!("the cluster has no node");
        }
        ensure!(
            Instant::now() < deadline,
            "none of {} node(s) is ready",
            nodes.len()
        );
        tokio::time::sleep(NODE_POLL).await;
    }
}

/// What the first pod that is not Ready says of itself, and its last event.
async fn why(endpoint: &Endpoint, namespace: &str) -> String {
    let pods = endpoint
        .get(&format!("/api/v1/namespaces/{namespace}/pods"))
        .await;
    let Ok(pods) = pods else {
        return "the pods cannot be listed".into();
    };
    let stuck = pods["items"].as_array().and_then(|pods| {
        pods.iter()
            .find(|pod| !is_true(&pod["status"], "Ready"))
            .cloned()
    });
    let Some(pod) = stuck else {
        return "all are by now".into();
    };
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let mut said = format!("{name} is {}", pod["status"]["phase"]);
    let waiting = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
    if let Some(reason) = waiting["reason"].as_str() {
        said += &format!(", its container waits: {reason} {}", waiting["message"]);
    }
    let events = endpoint
        .get(&format!("/api/v1/namespaces/{namespace}/events"))
        .await;
    let about = |event: &&Value| event["involvedObject"]["name"] == name;
    let last = events.ok().and_then(|events| {
        events["items"]
            .as_array()?
            .iter()
            .filter(about)
            .max_by_key(last_seen)
            .cloned()
    });
    if let Some(event) = last {
        said += &format!("; last event: {} {}", event["reason"], event["message"]);
    }
    said
}

fn last_seen(event: &&Value) -> String {
    // The scheduler's have no such field.
    let last = event["lastTimestamp"].as_str();
    last.or_else(|| event["eventTime"].as_str())
        .unwrap_or_default()
        .to_owned()
}
