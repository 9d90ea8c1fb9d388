//! Creates of custom resources whose definition has ten CEL rules, over 32 connections.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    http::{Endpoint, create, delete},
    load::{self, Load, Plan},
    rows::{Effort, Measured},
    seed,
    stats::millis,
    target::Target,
};

const OBJECTS: u64 = 15_000;
const OBJECTS_QUICK: u64 = 1_000;
const CREATE_TIME: Duration = Duration::from_secs(20);
/// For a definition to be served.
const SERVED_TIMEOUT: Duration = Duration::from_secs(20);
const SERVED_POLL: Duration = Duration::from_millis(10);
const PLURAL: &str = "applications";

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let group = format!("cel-{}.bench.knarr.dev", std::process::id());
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "custom"))?;
    let path = format!("/apis/{group}/v1/namespaces/{namespace}/{PLURAL}");
    let load = target.block_on(|| async {
        create(endpoint, DEFINITIONS, definition(&group)).await?;
        await_served(endpoint, &path).await?;
        rules_hold(endpoint, &group, &path).await?;
        let count = effort.pick(OBJECTS, OBJECTS_QUICK);
        fill(endpoint, &group, &path, count).await
    });
    target.block_on(|| async {
        delete(endpoint, &path).await?;
        delete(endpoint, &format!("{DEFINITIONS}/{PLURAL}.{group}")).await?;
        seed::delete_namespace(endpoint, &namespace).await
    })?;
    let load = load?;
    let mut measured = Measured::default();
    measured.value("creates-custom", load.per_second());
    measured.value("creates-custom-p99", millis(load.latencies.p99()));
    measured.note(format!(
        "creates-custom: {} in all, each held against {} rules, {}",
        load.done,
        RULES.len(),
        load.generator_note()
    ));
    Ok(measured)
}

/// The path of all definitions.
pub const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Until the resource of a definition can be listed.
pub async fn await_served(endpoint: &Endpoint, path: &str) -> Result<()> {
    let mut connection = endpoint.connect().await?;
    let deadline = Instant::now() + SERVED_TIMEOUT;
    let path = format!("{path}?limit=1");
    loop {
        let request = endpoint.request(Method::GET, &path, Bytes::new())?;
        if connection.call(request).await?.0 == StatusCode::OK {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!("{path} was not served within {SERVED_TIMEOUT:?}");
        }
        tokio::time::sleep(SERVED_POLL).await;
    }
}

async fn fill(endpoint: &Endpoint, group: &str, path: &str, count: u64) -> Result<Load> {
    let plan = Plan {
        connections: seed::CREATE_CONNECTIONS,
        requests: count,
        time: CREATE_TIME,
    };
    let make = |number| {
        let object = object(group, &format!("cr-{number}"), 3).to_string();
        endpoint.request(Method::POST, path, Bytes::from(object))
    };
    load::run(endpoint, plan, StatusCode::CREATED, make).await
}

/// A server that takes what the rules forbid does not do what is measured.
async fn rules_hold(endpoint: &Endpoint, group: &str, path: &str) -> Result<()> {
    let wrong = object(group, "wrong", 100).to_string();
    let (status, _) = endpoint
        .call(Method::POST, path, Bytes::from(wrong))
        .await?;
    ensure!(
        status == StatusCode::UNPROCESSABLE_ENTITY,
        "an object that breaks a rule was answered with {status}"
    );
    Ok(())
}

/// Of the kinds that operators have: comparisons, texts, and rules about each element of a list.
const RULES: [(&str, &str); 10] = [
    (
        "self.minReplicas <= self.replicas",
        "replicas are not below the minimum",
    ),
    (
        "self.replicas <= self.maxReplicas",
        "replicas are not above the maximum",
    ),
    (
        "self.image.contains(':') && !self.image.endsWith(':latest')",
        "an image has a version",
    ),
    (
        "self.ports.all(p, p.port > 0 && p.port < 65536)",
        "a port is a number of two bytes",
    ),
    (
        "self.ports.all(p, self.ports.exists_one(q, q.name == p.name))",
        "names of ports differ",
    ),
    (
        "self.mode in ['Active', 'Standby']",
        "a mode is Active or Standby",
    ),
    (
        "self.mode != 'Standby' || self.replicas == 1",
        "one is on standby",
    ),
    (
        "self.host.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",
        "a host is a DNS name",
    ),
    (
        "duration(self.timeout) <= duration('1h')",
        "a timeout is an hour at most",
    ),
    (
        "!has(self.window) || size(self.window) == 2",
        "a window has two ends",
    ),
];

fn definition(group: &str) -> Bytes {
    let rules: Vec<Value> = RULES
        .iter()
        .map(|(rule, message)| json!({"rule": rule, "message": message}))
        .collect();
    let text = json!({"type": "string", "maxLength": 200});
    let count = json!({"type": "integer", "minimum": 0});
    let port = json!({
        "type": "object",
        "required": ["name", "port"],
        "properties": {"name": text, "port": count},
    });
    let spec = json!({
        "type": "object",
        "required": ["replicas", "minReplicas", "maxReplicas", "image", "ports", "mode", "host", "timeout"],
        "properties": {
            "replicas": count, "minReplicas": count, "maxReplicas": count,
            "image": text, "mode": text, "host": text, "timeout": text, "note": {"type": "string"},
            "ports": {"type": "array", "maxItems": 16, "items": port},
            "window": {"type": "array", "maxItems": 8, "items": text},
        },
        "x-kubernetes-validations": rules,
    });
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{PLURAL}.{group}")},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": PLURAL, "singular": "application", "kind": "Application", "listKind": "ApplicationList"},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
            }],
        },
    });
    Bytes::from(object.to_string())
}

fn object(group: &str, name: &str, replicas: u32) -> Value {
    json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "Application",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": {
            "replicas": replicas, "minReplicas": 1, "maxReplicas": 10,
            "image": "registry.example.com/team/web:1.14.2",
            "ports": [{"name": "http", "port": 8080}, {"name": "metrics", "port": 9090}],
            "mode": "Active", "host": "web.example.com", "timeout": "30s", "window": ["08:00", "18:00"],
            "note": "as long as what a person writes beside an object that is to be read by another one later",
        },
    })
}
