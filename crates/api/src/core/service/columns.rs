//! How `kubectl get services` shows a service.

use std::collections::BTreeSet;

use knarr_meta::object::{at, i64_at, list_at, str_at};
use serde_json::Value;

use crate::{
    kind::Column,
    now::Now,
    table::{self, AGE, NAME, column, wide},
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Type",
        "string",
        "ClusterIP, NodePort, LoadBalancer or ExternalName.",
    ),
    column(
        "Cluster-IP",
        "string",
        "The service's address inside the cluster.",
    ),
    column("External-IP", "string", "Addresses outside the cluster."),
    column(
        "Port(s)",
        "string",
        "Ports, with the nodes' ports behind a colon.",
    ),
    AGE,
    wide(
        "Selector",
        "string",
        "Labels of the pods behind the service.",
    ),
];

pub(super) fn cells(service: &Value, now: &Now) -> Vec<Value> {
    let address = list_at(service, &["spec", "clusterIPs"])
        .first()
        .and_then(Value::as_str)
        .unwrap_or_default();
    vec![
        table::name(service),
        str_at(service, &["spec", "type"]).into(),
        table::or(address, "<none>"),
        external(service).into(),
        table::or(&ports(service), "<none>"),
        table::age(service, now),
        table::labels(at(service, &["spec", "selector"])),
    ]
}

fn ports(service: &Value) -> String {
    let pieces: Vec<String> = list_at(service, &["spec", "ports"])
        .iter()
        .map(|port| {
            let number = i64_at(port, &["port"]).unwrap_or_default();
            let protocol = str_at(port, &["protocol"]);
            match i64_at(port, &["nodePort"]).unwrap_or_default() {
                node_port @ 1.. => format!("{number}:{node_port}/{protocol}"),
                _ => format!("{number}/{protocol}"),
            }
        })
        .collect();
    pieces.join(",")
}

fn external(service: &Value) -> String {
    let external: Vec<&str> = list_at(service, &["spec", "externalIPs"])
        .iter()
        .filter_map(Value::as_str)
        .collect();
    match str_at(service, &["spec", "type"]) {
        "ClusterIP" | "NodePort" if external.is_empty() => "<none>".to_owned(),
        "ClusterIP" | "NodePort" => external.join(","),
        "LoadBalancer" => {
            let ingress: BTreeSet<&str> = list_at(service, &["status", "loadBalancer", "ingress"])
                .iter()
                .map(|point| match str_at(point, &["ip"]) {
                    "" => str_at(point, &["hostname"]),
                    ip => ip,
                })
                .filter(|point| !point.is_empty())
                .collect();
            let all: Vec<&str> = ingress.into_iter().chain(external).collect();
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        "ExternalName" => str_at(service, &["spec", "externalName"]).to_owned(),
        _ => "<unknown>".to_owned(),
    }
}
