//! Server-side apply of Deployments that are as they are applied: what a controller does that applies again and again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::{
    http::{Endpoint, refusal},
    limit::Limit,
    load::{self, Load, Plan},
    rows::{Effort, Measured},
    seed,
    stats::millis,
    target::Target,
};

const CONNECTIONS: usize = 32;
const TIME: Duration = Duration::from_secs(4);
const TIME_QUICK: Duration = Duration::from_secs(1);
/// Before the time that counts, on connections of its own.
const WARM_UP: Duration = Duration::from_millis(300);
/// More than any machine does in that time.
const REQUESTS_MAX: u64 = 10_000_000;
/// As many as there are connections.
const DEPLOYMENTS: u64 = 32;
/// For their controller to have told their status.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(20);
const SETTLE_POLL: Duration = Duration::from_millis(50);

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "apply"))?;
    let measured = apply(target, &namespace, effort);
    target.block_on(|| seed::delete_namespace(endpoint, &namespace))?;
    measured
}

fn apply(target: &Target, namespace: &str, effort: Effort) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let load = target.block_on(|| async {
        let before = create(endpoint, &path).await?;
        let load = run(endpoint, &path, effort).await?;
        let after = versions(endpoint, &path).await?;
        ensure!(before == after, "what was applied again was written again");
        Ok(load)
    })?;
    let mut measured = Measured::default();
    measured.value("applies", load.per_second());
    measured.value("applies-p99", millis(load.latencies.p99()));
    measured.note(format!("applies: {}", load.generator_note()));
    if effort.limit {
        let bare = target.block_on(|| async {
            let one = endpoint.get(&format!("{path}/{}", name(0))).await?;
            let limit = Limit::start(one.to_string().as_bytes(), target.protocol)?;
            run(&limit.endpoint, &path, effort).await
        })?;
        measured.limits.push(("applies", bare.per_second()));
        let p99 = millis(bare.latencies.p99());
        measured.limits.push(("applies-p99", p99));
    }
    Ok(measured)
}

async fn run(endpoint: &Endpoint, path: &str, effort: Effort) -> Result<Load> {
    let make = |number: u64| request(endpoint, path, number % DEPLOYMENTS);
    let plan = Plan {
        connections: CONNECTIONS,
        requests: REQUESTS_MAX,
        time: WARM_UP,
    };
    load::run(endpoint, plan, StatusCode::OK, make).await?;
    let time = effort.pick(TIME, TIME_QUICK);
    load::run(endpoint, Plan { time, ..plan }, StatusCode::OK, make).await
}

/// Applies all for the first time, and waits until nobody writes to them any more; their versions then.
async fn create(endpoint: &Endpoint, path: &str) -> Result<Vec<Value>> {
    let mut connection = endpoint.connect().await?;
    for number in 0..DEPLOYMENTS {
        let (status, body) = connection.call(request(endpoint, path, number)?).await?;
        ensure!(
            status == StatusCode::CREATED,
            "apply: {}",
            refusal(status, &body)
        );
    }
    let deadline = Instant::now() + SETTLE_TIMEOUT;
    loop {
        let list = endpoint.get(path).await?;
        let told = |item: &Value| item["status"]["observedGeneration"] == 1;
        let settled = list["items"].as_array().is_some_and(|items| {
            let conditions = |item: &Value| !item["status"]["conditions"].is_null();
            items.iter().all(|item| told(item) && conditions(item))
        });
        if settled {
            return versions(endpoint, path).await;
        }
        ensure!(
            Instant::now() < deadline,
            "the Deployments had no status within {SETTLE_TIMEOUT:?}"
        );
        tokio::time::sleep(SETTLE_POLL).await;
    }
}

async fn versions(endpoint: &Endpoint, path: &str) -> Result<Vec<Value>> {
    let list = endpoint.get(path).await?;
    let items = list["items"].as_array().map(Vec::as_slice);
    let version = |item: &Value| item["metadata"]["resourceVersion"].clone();
    Ok(items.unwrap_or_default().iter().map(version).collect())
}

fn request(endpoint: &Endpoint, path: &str, number: u64) -> Result<Request<Full<Bytes>>> {
    let name = name(number);
    let path = format!("{path}/{name}?fieldManager=knarr-bench");
    endpoint.patch("apply-patch+yaml", &path, deployment(&name))
}

fn name(number: u64) -> String {
    format!("web-{number}")
}

/// As many fields as those of workloads usually have, and no pods.
fn deployment(name: &str) -> Bytes {
    let probe = json!({"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10});
    let labels = json!({"app": name, "tier": "frontend"});
    let object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {"prometheus.io/scrape": "true"}},
                "spec": {"containers": [{
                    "name": "web",
                    "image": "registry.example.com/team/web:1.14.2",
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "env": [
                        {"name": "LOG_LEVEL", "value": "info"},
                        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    ],
                    "resources": {
                        "requests": {"cpu": "100m", "memory": "128Mi"},
                        "limits": {"memory": "256Mi"},
                    },
                    "readinessProbe": probe,
                    "livenessProbe": probe,
                }]},
            },
        },
    });
    Bytes::from(object.to_string())
}
