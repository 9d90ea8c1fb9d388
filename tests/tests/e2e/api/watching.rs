//! Watches, as lines of events.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::{AsyncBufReadExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Caller, revision};
use crate::support::name;

const EVENT_DEADLINE: Duration = Duration::from_secs(20);
const MERGE: &str = "application/merge-patch+json";

/// Opens a watch and collects events until `enough` says so; type, name and the object of each.
async fn watch(
    api: &Caller<'_>,
    query: &str,
    enough: impl Fn(&[(String, Value)]) -> bool,
) -> Result<Vec<(String, Value)>> {
    let path = format!("{}?watch=1&{query}", api.core("configmaps"));
    let request = http_request(&path)?;
    let stream = api.client.request_stream(request).await?;
    let mut lines = stream.lines();
    let mut events: Vec<(String, Value)> = Vec::new();
    while !enough(&events) {
        let line = timeout(EVENT_DEADLINE, lines.next())
            .await
            .with_context(|| format!("no more events after {events:?}"))?;
        let line = line.with_context(|| format!("the watch ended after {events:?}"))??;
        let event: Value = serde_json::from_str(&line).with_context(|| line.clone())?;
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        // Its controller makes this map whenever it gets to it.
        if name(&event["object"]) != "kube-root-ca.crt" {
            events.push((kind, event["object"].clone()));
        }
    }
    Ok(events)
}

fn http_request(path: &str) -> Result<http::Request<Vec<u8>>> {
    Ok(http::Request::get(path).body(Vec::new())?)
}

fn kinds(events: &[(String, Value)]) -> Vec<String> {
    events
        .iter()
        .map(|(kind, object)| format!("{kind} {}", name(object)))
        .collect()
}

pub async fn changes(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps");
    let from = api.get(&path).await?.is(200)?.revision()?;
    api.config_map("a", json!({})).await?;
    api.patch(&format!("{path}/a"), MERGE, &json!({"data": {"a": "2"}}))
        .await?
        .is(200)?;
    // Nothing changes, nothing is told.
    api.patch(&format!("{path}/a"), MERGE, &json!({"data": {"a": "2"}}))
        .await?
        .is(200)?;
    api.delete(&format!("{path}/a")).await?.is(200)?;
    api.config_map("b", json!({})).await?;
    let events = watch(api, &format!("resourceVersion={from}"), |events| {
        events.len() == 4
    })
    .await?;
    ensure!(
        kinds(&events) == ["ADDED a", "MODIFIED a", "DELETED a", "ADDED b"],
        "{:?}",
        kinds(&events)
    );
    let revisions = events
        .iter()
        .map(|(_, object)| revision(object))
        .collect::<Result<Vec<_>>>()?;
    ensure!(revisions.is_sorted_by(|a, b| a < b), "{revisions:?}");
    ensure!(
        events[2].1["data"]["a"] == "2",
        "a deletion tells the last state: {}",
        events[2].1
    );
    // The same once more from the middle.
    let again = watch(
        api,
        &format!("resourceVersion={}", revisions[1]),
        |events| events.len() == 2,
    )
    .await?;
    ensure!(
        kinds(&again) == ["DELETED a", "ADDED b"],
        "{:?}",
        kinds(&again)
    );
    Ok(())
}

pub async fn selector(api: &Caller<'_>) -> Result<()> {
    let path = api.core("configmaps");
    let from = api.get(&path).await?.is(200)?.revision()?;
    api.config_map("a", json!({"in": "no"})).await?;
    let label = |value: &str| json!({"metadata": {"labels": {"in": value}}});
    for value in ["yes", "yes", "no", "yes"] {
        api.patch(&format!("{path}/a"), MERGE, &label(value))
            .await?
            .is(200)?;
    }
    api.patch(&format!("{path}/a"), MERGE, &json!({"data": {"a": "2"}}))
        .await?
        .is(200)?;
    let query = format!("resourceVersion={from}&labelSelector=in%3Dyes");
    let events = watch(api, &query, |events| events.len() == 4).await?;
    ensure!(
        kinds(&events) == ["ADDED a", "DELETED a", "ADDED a", "MODIFIED a"],
        "{:?}",
        kinds(&events)
    );
    // It left with the state in which it was last seen, at the revision of leaving.
    let gone = &events[1].1;
    ensure!(
        gone["metadata"]["labels"]["in"] == "yes" && revision(gone)? > revision(&events[0].1)?,
        "{gone}"
    );
    Ok(())
}

pub async fn initial_events(api: &Caller<'_>) -> Result<()> {
    for name in ["a", "b"] {
        api.config_map(name, json!({"mine": "yes"})).await?;
    }
    let query = "labelSelector=mine&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let events = watch(api, query, |events| {
        events.last().is_some_and(|(kind, _)| kind == "BOOKMARK")
    })
    .await?;
    ensure!(
        kinds(&events) == ["ADDED a", "ADDED b", "BOOKMARK "],
        "{:?}",
        kinds(&events)
    );
    let bookmark = &events[2].1;
    ensure!(
        bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true",
        "{bookmark}"
    );
    ensure!(revision(bookmark)? > 0, "{bookmark}");
    let all = watch(api, "labelSelector=mine&resourceVersion=0", |events| {
        events.len() == 2
    })
    .await?;
    ensure!(kinds(&all) == ["ADDED a", "ADDED b"], "{:?}", kinds(&all));
    Ok(())
}
