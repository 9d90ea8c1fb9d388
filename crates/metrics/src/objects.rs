//! NodeMetrics and PodMetrics: the objects that there are points of, and their tables.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::errors;
use knarr_meta::{
    Quantity,
    quantity::Format,
    status::{Reason, Status},
};
use kube::{
    Api, Client,
    api::{ListParams, ObjectMeta},
};
use serde_json::{Value, json};

use crate::{
    GROUP, Resource, VERSION,
    points::{Points, Usage},
};

/// The metadata of what a caller asks for, as the API selects it.
///
/// # Errors
/// Those of the list.
pub(crate) async fn list(
    client: &Client,
    resource: Resource,
    namespace: &str,
    labels: &str,
    fields: &str,
) -> Result<Vec<ObjectMeta>, Status> {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let params = ListParams {
        label_selector: some(labels),
        field_selector: some(fields),
        ..ListParams::default()
    };
    let (client, failed) = (client.clone(), |error: kube::Error| status(&error));
    Ok(match (resource, namespace) {
        (Resource::Nodes, _) => {
            let api: Api<Node> = Api::all(client);
            let list = api.list_metadata(&params).await.map_err(failed)?;
            list.items.into_iter().map(|one| one.metadata).collect()
        }
        (Resource::Pods, namespace) => {
            let api: Api<Pod> = match namespace {
                "" => Api::all(client),
                namespace => Api::namespaced(client, namespace),
            };
            let list = api.list_metadata(&params).await.map_err(failed)?;
            list.items.into_iter().map(|one| one.metadata).collect()
        }
    })
}

/// The metadata of one object.
///
/// # Errors
/// Those of the API: 404 where there is none.
pub(crate) async fn get(
    client: &Client,
    resource: Resource,
    namespace: &str,
    name: &str,
) -> Result<ObjectMeta, Status> {
    let (client, failed) = (client.clone(), |error: kube::Error| status(&error));
    Ok(match resource {
        Resource::Nodes => {
            let api: Api<Node> = Api::all(client);
            api.get_metadata(name).await.map_err(failed)?.metadata
        }
        Resource::Pods => {
            let api: Api<Pod> = Api::namespaced(client, namespace);
            api.get_metadata(name).await.map_err(failed)?.metadata
        }
    })
}

/// What the caller did wrong is told as it is; the rest is this server's.
fn status(error: &kube::Error) -> Status {
    let message = errors::message(error);
    match errors::status(error).map(|status| status.code) {
        Some(400) => Status::bad_request(message),
        Some(404) => Status::new(404, Reason::NotFound, message),
        _ => Status::internal(message),
    }
}

/// Objects for which there are points, sorted by namespace and name.
pub(crate) fn metrics(
    resource: Resource,
    mut found: Vec<ObjectMeta>,
    points: &Points,
) -> Vec<Value> {
    found.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    found
        .into_iter()
        .filter_map(|meta| match resource {
            Resource::Nodes => node(&meta, points),
            Resource::Pods => pod(&meta, points),
        })
        .collect()
}

fn node(meta: &ObjectMeta, points: &Points) -> Option<Value> {
    let usage = points.node(meta.name.as_deref()?)?;
    let mut object = object(Resource::Nodes, meta, &usage);
    object["usage"] = resources(&usage);
    Some(object)
}

fn pod(meta: &ObjectMeta, points: &Points) -> Option<Value> {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    let containers = points.pod(namespace, meta.name.as_deref()?)?;
    // What is known of the whole is as old as the oldest part.
    let oldest = containers
        .iter()
        .map(|(_, usage)| usage)
        .min_by_key(|usage| usage.at)?;
    let mut object = object(Resource::Pods, meta, oldest);
    object["containers"] = containers
        .iter()
        .map(|(name, usage)| json!({"name": name, "usage": resources(usage)}))
        .collect();
    Some(object)
}

fn object(resource: Resource, meta: &ObjectMeta, usage: &Usage) -> Value {
    let mut metadata = json!({
        "name": meta.name,
        "creationTimestamp": time(crate::scrape::now()),
    });
    if let Some(namespace) = &meta.namespace {
        metadata["namespace"] = json!(namespace);
    }
    if let Some(labels) = meta.labels.as_ref().filter(|labels| !labels.is_empty()) {
        metadata["labels"] = json!(labels);
    }
    json!({
        "kind": resource.kind(),
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "metadata": metadata,
        "timestamp": time(usage.at),
        "window": duration(usage.window),
    })
}

fn resources(usage: &Usage) -> Value {
    let cpu = Quantity::parse(&format!("{}n", usage.cpu)).map(|quantity| quantity.to_string());
    let memory = i64::try_from(usage.memory).unwrap_or(i64::MAX);
    json!({
        "cpu": cpu.unwrap_or_default(),
        "memory": Quantity::new(memory, Format::BinarySi).to_string(),
    })
}

/// As the API writes times: whole seconds.
fn time(nanos: i64) -> String {
    let at = Timestamp::from_second(nanos.div_euclid(1_000_000_000));
    at.unwrap_or_default().to_string()
}

/// As Go prints durations: `15.2s`, `1m0.5s`, `500ms`.
fn duration(nanos: i64) -> String {
    let nanos = nanos.unsigned_abs();
    let decimal = |value: u64, unit: u64| {
        let fraction = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        match fraction.trim_end_matches('0') {
            "" => format!("{}", value / unit),
            fraction => format!("{}.{fraction}", value / unit),
        }
    };
    match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", decimal(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", decimal(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = decimal(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// The columns and rows that metrics-server gives an object or a list; names of resources are columns.
pub(crate) fn table(object: &Value) -> Value {
    let one = std::slice::from_ref(object);
    let items = object["items"].as_array().map_or(one, Vec::as_slice);
    let rows: Vec<(&Value, BTreeMap<String, Quantity>)> =
        items.iter().map(|item| (item, used(item))).collect();
    let Some((_, first)) = rows.first() else {
        return json!({"columnDefinitions": [], "rows": []});
    };
    let column = |name: &str, format: &str, description: &str| {
        json!({
            "name": name,
            "type": "string",
            "format": format,
            "description": description,
            "priority": 0,
        })
    };
    let names: Vec<&String> = first.keys().collect();
    let mut columns = vec![column("Name", "name", "Name of the resource")];
    columns.extend(names.iter().map(|name| column(name, "quantity", "")));
    columns.push(column("Window", "duration", ""));
    let rows: Vec<Value> = rows
        .iter()
        .map(|(item, used)| {
            let mut cells = vec![item["metadata"]["name"].clone()];
            let shown =
                |name: &&String| used.get(*name).map_or("0".to_owned(), Quantity::to_string);
            cells.extend(names.iter().map(|name| json!(shown(name))));
            cells.push(item["window"].clone());
            json!({"cells": cells, "object": item})
        })
        .collect();
    json!({"columnDefinitions": columns, "rows": rows})
}

/// What an object says that is used: a node's, or the sums of a pod's containers.
fn used(item: &Value) -> BTreeMap<String, Quantity> {
    let own = item.get("usage").into_iter();
    let containers = item["containers"].as_array().into_iter().flatten();
    let mut sums: BTreeMap<String, Quantity> = BTreeMap::new();
    for usage in own.chain(containers.filter_map(|one| one.get("usage"))) {
        for (name, value) in usage.as_object().into_iter().flatten() {
            let quantity = value.as_str().and_then(|text| Quantity::parse(text).ok());
            let Some(quantity) = quantity else { continue };
            match sums.get_mut(name) {
                Some(sum) => *sum += quantity,
                None => drop(sums.insert(name.clone(), quantity)),
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (nanos, wanted) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (20_000_000, "20ms"),
            (15_000_000_000, "15s"),
            (15_020_000_000, "15.02s"),
            (60_500_000_000, "1m0.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(nanos), wanted);
        }
    }

    #[test]
    fn a_table_sums_containers() {
        let pod = json!({
            "metadata": {"name": "p"}, "window": "15s",
            "containers": [
                {"name": "a", "usage": {"cpu": "1500000n", "memory": "1Mi"}},
                {"name": "b", "usage": {"cpu": "2m", "memory": "512Ki"}},
            ],
        });
        let table = table(&json!({"items": [pod]}));
        let columns = table["columnDefinitions"].as_array().expect("columns");
        let names: Vec<_> = columns.iter().map(|column| &column["name"]).collect();
        assert_eq!(names, ["Name", "cpu", "memory", "Window"]);
        assert_eq!(
            table["rows"][0]["cells"],
            json!(["p", "3500u", "1536Ki", "15s"])
        );
        let none = super::table(&json!({"items": []}));
        assert_eq!(none, json!({"columnDefinitions": [], "rows": []}));
    }
}
