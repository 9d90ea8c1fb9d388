//! What the node server tells of the node as a whole.

use bytes::Bytes;
use http::{Response, StatusCode};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::{Body, text, typed};
use crate::{
    context::Shared,
    pods,
    stats::{self, Text, Type},
    volume::csi::VolumeStats,
};

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// The pods of this node.
pub(super) fn pods(ctx: &Shared) -> Response<Body> {
    let items = pods::list(ctx);
    let items: Vec<&Pod> = items.iter().map(AsRef::as_ref).collect();
    let list = json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items });
    typed(StatusCode::OK, JSON, Bytes::from(list.to_string()))
}

/// What node, pods and containers use. `query` may ask for less, as upstream's `only_cpu_and_memory=true`.
pub(super) async fn summary(ctx: &Shared, query: &str) -> Response<Body> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let less = pairs
        .filter(|(name, _)| *name == "only_cpu_and_memory")
        .any(|(_, value)| value == "true");
    match stats::summary(ctx, less).await {
        Ok(summary) => typed(StatusCode::OK, JSON, Bytes::from(summary.to_string())),
        Err(error) => failed(&error),
    }
}

/// What metrics-server scrapes. A failure is a figure of its own there, as upstream's.
pub(super) async fn resource(ctx: &Shared) -> Response<Body> {
    let usage = ctx.stats.usage(ctx).await;
    if let Err(error) = &usage {
        tracing::warn!(error, "cannot tell what pods use");
    }
    let usage = usage.ok();
    prometheus(stats::resource(usage.as_deref()))
}

/// What dashboards read.
pub(super) async fn cadvisor(ctx: &Shared) -> Response<Body> {
    match stats::cadvisor(ctx).await {
        Ok(text) => prometheus(text),
        Err(error) => failed(&error),
    }
}

/// How probes have ended.
pub(super) fn probes(ctx: &Shared) -> Response<Body> {
    prometheus(ctx.probed.text())
}

/// A document of figures.
pub(super) fn prometheus(text: String) -> Response<Body> {
    typed(StatusCode::OK, PROMETHEUS, Bytes::from(text))
}

fn failed(error: &str) -> Response<Body> {
    tracing::warn!(error, "cannot tell what pods use");
    text(StatusCode::INTERNAL_SERVER_ERROR, error)
}

/// How much of claims' volumes is used, as upstream's `pkg/kubelet/metrics/collectors/volume_stats.go`.
async fn volumes(ctx: &Shared, document: &mut Text) {
    let mut all = ctx.csi.stats().await;
    // Pods that share a claim have the same figures.
    all.retain(|volume| volume.claim.is_some());
    all.sort_by(|a, b| a.claim.cmp(&b.claim));
    all.dedup_by(|a, b| a.claim == b.claim);
    type Figure = fn(&VolumeStats) -> Option<u64>;
    let families: [(&str, &str, Figure); 6] = [
        ("capacity_bytes", "Capacity in bytes of the volume", |v| {
            v.usage.capacity
        }),
        (
            "available_bytes",
            "Number of available bytes in the volume",
            |v| v.usage.available,
        ),
        ("used_bytes", "Number of used bytes in the volume", |v| {
            v.usage.used
        }),
        ("inodes", "Maximum number of inodes in the volume", |v| {
            v.usage.inodes
        }),
        ("inodes_free", "Number of free inodes in the volume", |v| {
            v.usage.inodes_free
        }),
        ("inodes_used", "Number of used inodes in the volume", |v| {
            v.usage.inodes_used
        }),
    ];
    for (name, help, figure) in families {
        let name = format!("kubelet_volume_stats_{name}");
        let told: Vec<_> = all
            .iter()
            .filter_map(|volume| Some((volume.claim.as_ref()?, figure(volume)?)))
            .collect();
        if told.is_empty() {
            continue;
        }
        document.family(&name, help, Type::Gauge);
        for ((namespace, claim), value) in told {
            let labels = [
                ("namespace", namespace.as_str()),
                ("persistentvolumeclaim", claim.as_str()),
            ];
            document.sample(&name, &labels, value as f64, 0);
        }
    }
}

/// What the kubelet does.
pub(super) async fn metrics(ctx: &Shared) -> Response<Body> {
    let mut text = stats::kubelet(ctx);
    let mut document = Text::default();
    volumes(ctx, &mut document).await;
    text.push_str(&document.finish());
    if let Some(logs) = &ctx.config.node_logs {
        text.push_str(&logs.metrics());
    }
    prometheus(text)
}
