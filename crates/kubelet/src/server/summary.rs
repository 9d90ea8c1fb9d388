//! What the node server tells of the node as a whole.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{Body, typed};
use crate::context::{self, Shared};

const JSON: &str = "application/json";

/// The pods bound to this node.
pub(super) fn pods(ctx: &Shared) -> Response<Body> {
    let items: Vec<_> = ctx.pods.list();
    let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    typed(StatusCode::OK, JSON, Bytes::from(list.to_string()))
}

/// The node and its pods by name; figures of use are the runtime's to give.
pub(super) async fn summary(ctx: &Shared) -> Response<Body> {
    let pods: Vec<_> = ctx
        .pods
        .list()
        .iter()
        .map(|pod| {
            let reference = json!({ "name": context::name(pod), "namespace": context::namespace(pod), "uid": context::uid(pod) });
            let start = pod.status.as_ref().and_then(|s| s.start_time.clone());
            json!({ "podRef": reference, "startTime": start, "containers": [] })
        })
        .collect();
    let summary = json!({ "node": { "nodeName": ctx.config.node_name }, "pods": pods });
    typed(StatusCode::OK, JSON, Bytes::from(summary.to_string()))
}

/// Counters in Prometheus' text format.
pub(super) fn metrics(ctx: &Shared) -> Response<Body> {
    let views: Vec<_> = ctx
        .observed
        .uids()
        .iter()
        .map(|uid| ctx.observed.view(uid))
        .collect();
    let pods = views
        .iter()
        .filter(|view| view.running().next().is_some())
        .count();
    let containers: usize = views.iter().map(|view| view.running().count()).sum();
    let mut text = String::new();
    for (name, help, value) in [
        (
            "kubelet_running_pods",
            "Number of pods that have a running pod sandbox",
            pods,
        ),
        (
            "kubelet_running_containers",
            "Number of containers currently running",
            containers,
        ),
    ] {
        // Writing to a string cannot fail.
        let _ok = write!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"
        );
    }
    typed(
        StatusCode::OK,
        "text/plain; version=0.0.4; charset=utf-8",
        Bytes::from(text),
    )
}
