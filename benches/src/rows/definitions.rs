//! 500 custom resource definitions, as a few providers of clouds bring them: until each is served, and what they cost in memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use crate::{
    http::{Endpoint, delete},
    load::{self, Plan},
    process,
    rows::{
        Effort, Measured,
        custom::{DEFINITIONS, await_served},
        start::wait,
    },
    stats::number,
    target::Target,
};

const COUNT: u64 = 500;
const COUNT_QUICK: u64 = 50;
const OF_GROUP: u64 = 10;
/// As kubectl and Helm send them at the most.
const CONNECTIONS: usize = 8;
const CREATE_TIME: Duration = Duration::from_secs(20);
/// For those who watch every resource to have begun, and for what was freed to be given back.
const SETTLE: Duration = Duration::from_secs(10);
const SETTLE_QUICK: Duration = Duration::from_secs(2);
/// For all to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(40);
const GONE_POLL: Duration = Duration::from_millis(100);
/// Of all that this row makes.
const LABEL: &str = "knarr-bench=definitions";

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let count = effort.pick(COUNT, COUNT_QUICK);
    let cluster = target.cluster.as_ref();
    let anonymous = || cluster.map(|cluster| process::memory(cluster.pid()).anonymous);
    let before = anonymous();
    let installed = target.block_on(|| install(endpoint, count));
    let mut measured = Measured::default();
    if let Ok(installed) = &installed {
        measured.value("definitions", installed.as_secs_f64());
        wait(effort.pick(SETTLE, SETTLE_QUICK))?;
    }
    if let (Some(before), Some(after)) = (before, anonymous()) {
        let megabytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let growth = after.saturating_sub(before);
        measured.value("definitions-memory", megabytes(growth));
        measured.note(format!(
            "definitions: {count} of {} KB each, in groups of {OF_GROUP}",
            number(definition(0).len() as f64 / 1e3)
        ));
    }
    target.block_on(|| remove(endpoint))?;
    installed.map(|_| measured)
}

/// Creates all, and waits until each is served.
async fn install(endpoint: &Endpoint, count: u64) -> Result<Duration> {
    let plan = Plan {
        connections: CONNECTIONS,
        requests: count,
        time: CREATE_TIME,
    };
    let started = Instant::now();
    let make = |number| endpoint.request(Method::POST, DEFINITIONS, definition(number));
    let load = load::run(endpoint, plan, StatusCode::CREATED, make).await?;
    ensure!(
        load.done == count,
        "only {} of {count} definitions were created within {CREATE_TIME:?}",
        load.done
    );
    for number in 0..count {
        let (group, plural) = (group(number), plural(number));
        await_served(endpoint, &format!("/apis/{group}/v1/{plural}")).await?;
    }
    Ok(started.elapsed())
}

/// Deletes all, and waits until they are gone.
async fn remove(endpoint: &Endpoint) -> Result<()> {
    let ours = format!("{DEFINITIONS}?labelSelector={LABEL}");
    delete(endpoint, &ours).await?;
    let deadline = Instant::now() + GONE_TIMEOUT;
    loop {
        let list = endpoint.get(&format!("{ours}&limit=1")).await?;
        let left = list["items"].as_array().context("no list")?.len();
        if left == 0 {
            return Ok(());
        }
        ensure!(
            Instant::now() < deadline,
            "definitions are left {GONE_TIMEOUT:?} after their deletion"
        );
        tokio::time::sleep(GONE_POLL).await;
    }
}

fn group(number: u64) -> String {
    format!("g{}.bench.knarr.dev", number / OF_GROUP)
}

fn plural(number: u64) -> String {
    format!("things{number}")
}

/// A managed resource of a cloud: what is wanted, what was found, and conditions.
fn definition(number: u64) -> Bytes {
    let (key, value) = LABEL.split_once('=').unwrap_or((LABEL, ""));
    let (group, plural) = (group(number), plural(number));
    let parameters = properties(30);
    let condition = json!({
        "type": "object",
        "required": ["type", "status", "reason", "lastTransitionTime"],
        "properties": {
            "type": described("The type of the condition; one of each type at most."),
            "status": described("Whether it holds: True, False or Unknown."),
            "reason": described("Why it was last changed, for programs."),
            "message": described("Why it was last changed, for people."),
            "lastTransitionTime": {"type": "string", "format": "date-time"},
        },
    });
    let schema = json!({
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "forProvider": {"type": "object", "properties": parameters},
                    "providerConfigRef": {
                        "type": "object", "required": ["name"], "default": {"name": "default"},
                        "properties": {"name": described("The name of the configuration.")},
                    },
                    "deletionPolicy": {"type": "string", "enum": ["Orphan", "Delete"], "default": "Delete"},
                },
            },
            "status": {
                "type": "object",
                "properties": {
                    "atProvider": {"type": "object", "properties": properties(20)},
                    "conditions": {
                        "type": "array", "items": condition,
                        "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                    },
                },
            },
        },
    });
    let object = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{group}"), "labels": {key: value}},
        "spec": {
            "group": group,
            "scope": "Cluster",
            "names": {
                "plural": plural, "singular": format!("thing{number}"), "kind": format!("Thing{number}"),
                "listKind": format!("Thing{number}List"), "categories": ["managed"],
            },
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "READY", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
                    {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
            }],
        },
    });
    Bytes::from(object.to_string())
}

/// So many fields, of which every fifth has fields of its own.
fn properties(count: usize) -> Map<String, Value> {
    let field = |number: usize| {
        let text =
            described("What the provider's own documentation says of this field, in a line.");
        let schema = match number % 5 {
            0 => {
                json!({"type": "object", "properties": {"name": text, "value": text, "enabled": {"type": "boolean"}}})
            }
            1 => json!({"type": "integer", "minimum": 0}),
            2 => json!({"type": "array", "items": {"type": "string"}}),
            3 => json!({"type": "object", "additionalProperties": {"type": "string"}}),
            _ => text,
        };
        (format!("parameter{number}"), schema)
    };
    (0..count).map(field).collect()
}

fn described(description: &str) -> Value {
    json!({"type": "string", "description": description})
}
