//! The Node object: made once, kept true, and the lease that says we live.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus};
use knarr_client::{errors, lease::NodeLease};
use kube::{
    Api, Resource,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::context::Shared;

mod machine;
mod status;

pub(crate) use machine::Machine;

/// Pause before a second look after something that should have made the node ready, or after a failed write; it doubles
/// up to the period. Another runtime than ours notices a new network configuration in its own time.
const SECOND_LOOK: Duration = Duration::from_millis(50);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(7);

/// Volumes of this node are attached by the controller: upstream's, too, attaches to no other nodes (`initialNode` in
/// `pkg/kubelet/kubelet_node_status.go`).
const ATTACHED_BY_CONTROLLER: (&str, &str) = (
    "volumes.kubernetes.io/controller-managed-attach-detach",
    "true",
);

/// Registers the node and keeps status and lease until the token is cancelled.
pub(crate) async fn run(ctx: Shared, port: u16, token: CancellationToken) {
    let Some(node) = token.run_until_cancelled(register(&ctx, port)).await else {
        return;
    };
    ctx.events
        .node(&ctx.config.node_name, "Starting", "Starting kubelet.");
    let lease = NodeLease::new(
        ctx.client.clone(),
        ctx.config.node_name.clone(),
        node.metadata.uid.clone(),
    )
    .lasting(
        ctx.config
            .configuration
            .settings
            .node_lease_duration_seconds,
    );
    tokio::join!(
        lease.run(token.clone()),
        token.run_until_cancelled(keep(&ctx, port, node))
    );
}

/// Creates the Node, or takes over the one that is there; tries until it works.
async fn register(ctx: &Shared, port: u16) -> Node {
    let mut wait = RETRY_FIRST;
    let mut told = String::new();
    loop {
        let error = match tokio::time::timeout(REQUEST_TIMEOUT, try_register(ctx, port)).await {
            Ok(Ok(node)) => return node,
            Ok(Err(error)) => errors::message(&error),
            Err(_) => "it takes too long".to_owned(),
        };
        // Once, for as long as it is the same: the API may be away for hours.
        if error != told {
            tracing::warn!(error, "cannot register the node, trying again");
            told = error;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RETRY_LONGEST);
    }
}

fn labels(ctx: &Shared) -> BTreeMap<String, String> {
    let mut labels = ctx.config.node_labels.clone();
    let arch = machine::architecture().to_owned();
    for (key, value) in [
        ("kubernetes.io/hostname", ctx.config.node_name.clone()),
        ("kubernetes.io/os", "linux".to_owned()),
        ("kubernetes.io/arch", arch.clone()),
        ("beta.kubernetes.io/os", "linux".to_owned()),
        ("beta.kubernetes.io/arch", arch),
    ] {
        labels.insert(key.to_owned(), value);
    }
    labels
}

fn annotations() -> BTreeMap<String, String> {
    let (key, value) = ATTACHED_BY_CONTROLLER;
    BTreeMap::from([(key.to_owned(), value.to_owned())])
}

/// What of `wanted` is not so.
fn missing(
    wanted: BTreeMap<String, String>,
    there: Option<&BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let differs =
        |(key, value): &(String, String)| there.and_then(|there| there.get(key)) != Some(value);
    wanted.into_iter().filter(differs).collect()
}

/// What a new node is made with.
fn spec(ctx: &Shared) -> Option<NodeSpec> {
    let settings = &ctx.config.configuration.settings;
    let taints = match ctx.config.node_taints.as_slice() {
        [] => settings.register_with_taints.clone(),
        told => told.to_vec(),
    };
    let provider = Some(settings.provider_id.clone()).filter(|id| !id.is_empty());
    (provider.is_some() || !taints.is_empty()).then(|| NodeSpec {
        provider_id: provider,
        taints: (!taints.is_empty()).then_some(taints),
        ..NodeSpec::default()
    })
}

async fn try_register(ctx: &Shared, port: u16) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(ctx.client.clone());
    let name = &ctx.config.node_name;
    let status = status::make(ctx, port, &NodeStatus::default()).await;
    let node = Node {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            labels: Some(labels(ctx)),
            annotations: Some(annotations()),
            ..Default::default()
        },
        spec: spec(ctx),
        status: Some(status),
    };
    match api.create(&PostParams::default(), &node).await {
        Ok(made) => {
            let status = node.status.unwrap_or_default();
            record_changes(ctx, &NodeStatus::default(), &status);
            return Ok(made);
        }
        Err(error) if errors::is_already_exists(&error) => {}
        Err(error) => return Err(error),
    }
    let node = api.get(name).await?;
    let meta = node.meta();
    let labels = missing(labels(ctx), meta.labels.as_ref());
    let annotations = missing(annotations(), meta.annotations.as_ref());
    if labels.is_empty() && annotations.is_empty() {
        return Ok(node);
    }
    let patch = json!({ "metadata": { "labels": labels, "annotations": annotations } });
    api.patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
}

/// Writes the status at once, then when it changed or has not been written for long.
async fn keep(ctx: &Shared, port: u16, mut node: Node) {
    let mut written: Option<tokio::time::Instant> = None;
    let settings = &ctx.config.configuration.settings;
    // How often it is looked at when nothing is heard, and how often it is written although nothing changed.
    let check_period = settings.node_status_update_frequency;
    let report_period = settings.node_status_report_frequency;
    let mut pause = check_period;
    let mut cordoned = false;
    loop {
        let mut failed = false;
        let now = node.spec.as_ref().and_then(|spec| spec.unschedulable);
        if cordoned != now.unwrap_or(false) {
            cordoned = !cordoned;
            tell(
                ctx,
                if cordoned {
                    "NodeNotSchedulable"
                } else {
                    "NodeSchedulable"
                },
            );
        }
        let old = node.status.clone().unwrap_or_default();
        let new = status::make(ctx, port, &old).await;
        let due = written.is_none_or(|at| at.elapsed() >= report_period);
        if due || status::changed(&old, &new) {
            match tokio::time::timeout(REQUEST_TIMEOUT, write(ctx, &old, &new)).await {
                Ok(Ok(now)) => {
                    record_changes(ctx, &old, &new);
                    node = now;
                    written = Some(tokio::time::Instant::now());
                }
                Ok(Err(error)) if errors::is_not_found(&error) => node = register(ctx, port).await,
                Ok(Err(error)) => {
                    failed = true;
                    tracing::warn!(
                        error = errors::message(&error),
                        "cannot write the node's status"
                    );
                }
                Err(_) => {
                    failed = true;
                    tracing::warn!("writing the node's status takes too long");
                }
            }
        }
        if status::holds(&new, "Ready") == Some(true) && !failed {
            pause = check_period;
        } else if failed {
            pause = pause.min(RETRY_LONGEST);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(check_period),
            () = ctx.config.network_configured.notified() => pause = SECOND_LOOK,
            () = ctx.observed.runtime_turned() => pause = SECOND_LOOK,
            () = ctx.devices.changed.notified() => pause = check_period,
            () = ctx.shutdown.changed.notified() => {}
            // Pods wait for it to be told.
            () = ctx.csi.in_use_changed() => {}
        }
        // Conditions that others write (NetworkUnavailable) and addresses they add are kept by the patch's merge.
        if let Some(seen) = ctx.node.get("", &ctx.config.node_name) {
            node = newest(node, &seen);
        }
    }
}

/// The node as it is by what was written last and by what the informer has, which may be behind: a change that is looked for from
/// there would be found, and told, once more.
fn newest(written: Node, seen: &Node) -> Node {
    let version = |node: &Node| {
        let version = node.metadata.resource_version.as_deref();
        version.and_then(|version| version.parse::<u64>().ok())
    };
    let is_behind = version(seen) < version(&written) && seen.metadata.uid == written.metadata.uid;
    match is_behind {
        true => written,
        false => seen.clone(),
    }
}

fn record_changes(ctx: &Shared, old: &NodeStatus, new: &NodeStatus) {
    for reason in status::transitions(old, new) {
        tell(ctx, reason);
    }
}

/// In upstream's words.
fn tell(ctx: &Shared, reason: &str) {
    let name = &ctx.config.node_name;
    let note = format!("Node {name} status is now: {reason}");
    ctx.events.node(name, reason, note);
}

async fn write(ctx: &Shared, old: &NodeStatus, new: &NodeStatus) -> Result<Node, kube::Error> {
    let api: Api<Node> = Api::all(ctx.client.clone());
    let status = serde_json::to_value(new).map_err(kube::Error::SerdeError)?;
    let before = serde_json::to_value(old).map_err(kube::Error::SerdeError)?;
    let patch = json!({ "status": status::patch(&before, status) });
    api.patch_status(
        &ctx.config.node_name,
        &PatchParams::default(),
        &Patch::Strategic(&patch),
    )
    .await
}

#[cfg(test)]
mod tests;
