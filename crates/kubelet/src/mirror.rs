//! Mirrors: what the API shows of static pods.
//!
//! A mirror is a pod of the API with the static pod's name, specification and, by the worker, status; it is made by the kubelet, and
//! nothing comes back from it: who deletes it deletes the picture, which is made anew. It goes when nothing of its pod is left.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::core::v1::{Node, Pod},
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use knarr_client::errors;
use kube::{
    Api,
    api::{DeleteParams, PostParams, Preconditions},
};
use tokio_util::sync::CancellationToken;

use crate::{
    context::{self, Shared},
    pods::Pods,
    sources::{HASH, Key, MIRROR, Want, is_mirror, key},
};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Before what has failed is tried again; doubles.
const RETRY_FIRST: Duration = Duration::from_secs(1);
/// Longest pause between such tries.
const RETRY_LONGEST: Duration = Duration::from_secs(60);
/// How long a mirror that somebody deletes stays. `kubectl delete` asks for it twice before it watches it go, and waits for ever where
/// another of its name is there by the second time: upstream's kubelet is slower than that.
const DELETION: Duration = Duration::from_millis(200);

/// A change of what the API shows.
#[derive(Clone, Debug, PartialEq)]
enum Operation {
    Create(Arc<Pod>),
    /// Of the mirror with this uid.
    Delete(Key, String),
}

/// From what is wanted and what is there to what is to be done. A mirror that is in the way goes first; its place is taken when the
/// API has said that it is gone. Until all sources have been read (`complete`), one that nobody wants may be somebody's.
fn plan(wants: &HashMap<Key, Want>, mirrors: &[Arc<Pod>], complete: bool) -> Vec<Operation> {
    let mut plan = Vec::new();
    let mut taken = HashSet::new();
    for mirror in mirrors {
        let key = key(mirror);
        let uid = context::uid(mirror);
        let keep = match wants.get(&key) {
            Some(Want::Mirror(_, accepted)) => accepted.as_deref() == Some(uid),
            Some(Want::Whatever) => true,
            None => !complete,
        };
        if !keep {
            plan.push(Operation::Delete(key.clone(), uid.to_owned()));
        }
        taken.insert(key);
    }
    for (key, want) in wants {
        if let Want::Mirror(pod, _) = want
            && !taken.contains(key)
        {
            plan.push(Operation::Create(pod.clone()));
        }
    }
    plan
}

/// Keeps the mirrors until the token is cancelled.
pub(crate) async fn run(ctx: Shared, pods: Pods, token: CancellationToken) {
    let work = async {
        ctx.pods.synced().await;
        let mut pause = RETRY_FIRST;
        let mut told = HashSet::new();
        loop {
            let failed = round(&ctx, pods.are_complete(), &mut told).await;
            if !failed {
                pause = RETRY_FIRST;
                told.clear();
            }
            let retry = async {
                match failed {
                    true => tokio::time::sleep(pause).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                () = ctx.mirrors_changed.notified() => {}
                () = retry => pause = (pause * 2).min(RETRY_LONGEST),
            }
        }
    };
    token.run_until_cancelled(work).await;
}

/// Whether something is to be tried again. What has been `told` is not told once more.
async fn round(ctx: &Shared, complete: bool, told: &mut HashSet<String>) -> bool {
    if mirrors(ctx).iter().any(|pod| is_going(pod)) {
        tokio::time::sleep(DELETION).await;
    }
    let mirrors = mirrors(ctx);
    let wants = ctx.statics.lock().wants(&mirrors);
    let node = ctx.node.get("", &ctx.config.node_name);
    let mut failed = false;
    for operation in plan(&wants, &mirrors, complete) {
        let done =
            match tokio::time::timeout(REQUEST_TIMEOUT, execute(ctx, &operation, node.as_deref()))
                .await
            {
                Ok(done) => done.map_err(|error| errors::message(&error)),
                Err(_) => Err("context deadline exceeded".to_owned()),
            };
        if let Err(error) = done {
            failed = true;
            let (what, (namespace, name)) = match &operation {
                Operation::Create(pod) => ("make", key(pod)),
                Operation::Delete(key, _) => ("delete", key.clone()),
            };
            let line =
                format!("cannot {what} the mirror of static pod {namespace}/{name}: {error}");
            if told.insert(line.clone()) {
                tracing::warn!("{line}");
            }
        }
    }
    failed
}

fn mirrors(ctx: &Shared) -> Vec<Arc<Pod>> {
    let mut pods = ctx.pods.list();
    pods.retain(|pod| is_mirror(pod));
    pods
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

async fn execute(
    ctx: &Shared,
    operation: &Operation,
    node: Option<&Node>,
) -> Result<(), kube::Error> {
    let api = |namespace: &str| Api::<Pod>::namespaced(ctx.client.clone(), namespace);
    match operation {
        Operation::Delete((namespace, name), uid) => {
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: Some(uid.clone()),
                    resource_version: None,
                }),
                ..Default::default()
            };
            match api(namespace).delete(name, &params).await {
                Err(error) if !errors::is_not_found(&error) && !errors::is_conflict(&error) => {
                    Err(error)
                }
                _ => Ok(()),
            }
        }
        Operation::Create(pod) => {
            // Of a node that is not there, or about to go, nothing is shown; its object's return wakes us.
            let Some(owner) = node.and_then(owner) else {
                return Ok(());
            };
            let api = api(context::namespace(pod));
            api.create(&PostParams::default(), &mirror(pod, owner))
                .await
                .map(drop)
        }
    }
}

/// The node as what its mirrors belong to: they are collected with it.
fn owner(node: &Node) -> Option<OwnerReference> {
    let meta = &node.metadata;
    if meta.deletion_timestamp.is_some() {
        return None;
    }
    Some(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: meta.name.clone()?,
        uid: meta.uid.clone().filter(|uid| !uid.is_empty())?,
        controller: Some(true),
        block_owner_deletion: None,
    })
}

fn mirror(pod: &Pod, owner: OwnerReference) -> Pod {
    let mut mirror = pod.clone();
    let meta = &mut mirror.metadata;
    let annotations = meta.annotations.get_or_insert_default();
    let hash = annotations.get(HASH).cloned().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), hash);
    meta.uid = None;
    meta.owner_references = Some(vec![owner]);
    mirror.status = None;
    mirror
}

#[cfg(test)]
mod tests;
