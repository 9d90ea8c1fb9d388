//! Taking nodes of this machine down: all of them with their cluster, or those that it has no more.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::errors;
use knarr_cni::{
    InstanceId,
    local::{self, NodeNamespace},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Preconditions},
};
use tokio::{process::Command, runtime::Handle, time::timeout};

use super::names;
use crate::{
    failure,
    instance::{self, Record},
};

/// How many are taken down at a time: each is a process that removes containers.
const AT_ONCE: usize = 4;
/// How long one may take: stopping its process, then killing and removing its pods.
const DOWN_TIMEOUT: Duration = Duration::from_secs(180);
/// How long the API may take to delete a Node.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);

/// Stops every node beside the first and removes its pods, networks, rules and namespace. What it stored stays in its directory.
pub async fn take_down_all(data_dir: &Path, instance: Option<InstanceId>) -> Result<()> {
    let nodes = names::known(data_dir)?;
    stream::iter(nodes)
        .map(|node| async move { down(&instance::of_node(data_dir, &node)).await })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await?;
    if let Some(instance) = instance {
        local::teardown(&instance).await?;
    }
    Ok(())
}

/// The nodes that have a directory here and are none of the cluster that has `count` nodes.
pub fn surplus(data_dir: &Path, first: &str, count: u8) -> Result<Vec<String>> {
    let wanted: BTreeSet<String> = names::others(first, count)
        .into_iter()
        .map(|name| name.text)
        .collect();
    let mut known = names::known(data_dir)?;
    known.retain(|name| !wanted.contains(name));
    Ok(known)
}

/// Removes a node that the cluster has no more: its pods and networks, here and in the API, and its Node. Its directory stays, with what
/// pods have stored there.
pub async fn remove(
    data_dir: &Path,
    cluster: &InstanceId,
    node: &str,
    client: kube::Client,
) -> Result<()> {
    let dir = instance::of_node(data_dir, node);
    down(&dir).await?;
    local::delete(cluster, node).await?;
    let deleted = timeout(DELETE_TIMEOUT, delete_objects(node, client)).await;
    match deleted {
        Ok(deleted) => deleted.with_context(|| format!("cannot delete the node {node}"))?,
        Err(_) => bail!("the API did not delete the node {node} in time"),
    }
    // Last: until then the next start tries again.
    instance::give_up(&dir)
}

/// The Node and its pods: nobody else knows that they have ended before they are taken for lost.
async fn delete_objects(node: &str, client: kube::Client) -> Result<(), kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    or_gone(nodes.delete(node, &DeleteParams::default()).await)?;
    let of_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(client.clone()).list(&of_node).await?;
    for pod in pods {
        let (Some(namespace), Some(name)) = (pod.metadata.namespace, pod.metadata.name) else {
            continue;
        };
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        // Its controller may have made another of this name by now, which runs elsewhere.
        let at_once = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid,
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        or_gone(pods.delete(&name, &at_once).await)?;
    }
    Ok(())
}

fn or_gone<T>(deleted: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match deleted {
        Err(error) if !errors::is_not_found(&error) && !errors::is_conflict(&error) => Err(error),
        _ => Ok(()),
    }
}

/// `knarr down` of one node, where its network is.
async fn down(dir: &Path) -> Result<()> {
    let record = Record::read(dir)?;
    let namespace = record
        .and_then(|record| record.network)
        .and_then(|network| network.find());
    let program = std::env::current_exe().context("cannot find knarr's own program file")?;
    let mut command = Command::new(program);
    command
        .arg("down")
        .arg("--data-dir")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let spawned = match namespace {
        Some(path) => spawn_within(path, &mut command),
        // It has ended with all that was in it.
        None => command.spawn(),
    };
    let failed = || format!("cannot take down the node on {}", dir.display());
    let child = spawned.with_context(failed)?;
    let output = match timeout(DOWN_TIMEOUT, child.wait_with_output()).await {
        Ok(output) => output.with_context(failed)?,
        Err(_) => bail!("{}: not within {}s", failed(), DOWN_TIMEOUT.as_secs()),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let reason = failure::last_words(&said);
        let reason = reason.unwrap_or_else(|| output.status.to_string());
        bail!("{}: {reason}", failed());
    }
    Ok(())
}

fn spawn_within(path: PathBuf, command: &mut Command) -> std::io::Result<tokio::process::Child> {
    let namespace = NodeNamespace {
        node: String::new(),
        path,
        addresses: Vec::new(),
    };
    let runtime = Handle::current();
    namespace.within(|| {
        let _entered = runtime.enter();
        command.spawn()
    })?
}

#[cfg(test)]
mod tests {
    use knarr_client::fake;
    use serde_json::json;

    use super::*;

    /// A pod's controller makes another of its name as soon as the Node is gone; that one runs elsewhere.
    #[tokio::test]
    async fn pods_are_deleted_by_their_uid() {
        let (client, mut server) = fake::client();
        let deleting = tokio::spawn(delete_objects("gone", client));
        let node = server.next().await;
        assert_eq!(
            (&*node.method, &*node.uri),
            ("DELETE", "/api/v1/nodes/gone?")
        );
        node.answer(404, &status(404, "NotFound"));
        let list = server.next().await;
        assert_eq!(list.method, "GET");
        assert!(list.uri.contains("fieldSelector=spec.nodeName%3Dgone"));
        let pod = json!({"metadata": {"namespace": "x", "name": "web-0", "uid": "first"}});
        let pods = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod]});
        list.answer(200, &pods);
        let delete = server.next().await;
        assert_eq!(
            (&*delete.method, &*delete.uri),
            ("DELETE", "/api/v1/namespaces/x/pods/web-0?")
        );
        assert_eq!(delete.body["preconditions"]["uid"], "first");
        assert_eq!(delete.body["gracePeriodSeconds"], 0);
        delete.answer(409, &status(409, "Conflict"));
        assert!(deleting.await.unwrap().is_ok());
    }

    fn status(code: u16, reason: &str) -> serde_json::Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason})
    }
}
