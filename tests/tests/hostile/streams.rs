//! More streams than a pod may have: the others are refused with a word, and pods, theirs and others', go on.

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use knarr_testkit::{Cluster, Raw, eventually};
use kube::client::Body;
use serde_json::json;

use crate::{
    neighbours::Neighbours,
    support::{SOON, Shell, block_on, newest, step, with_running_cluster},
};

/// Streams that a pod may have.
const STREAMS: usize = 64;
const PODS: [&str; 2] = ["crowd", "other"];

#[test]
fn a_pod_has_so_many_streams_and_no_more() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("a bystander", || Neighbours::settle(&shell))?;
        step("two pods", || start(&shell))?;
        // Once before it is measured: what a server that has just started has not touched yet is nobody's doing.
        step("streams, once", || block_on(streams(cluster)))?;
        let neighbours = Neighbours::meet(cluster, &shell)?;
        step("streams", || block_on(streams(cluster)))?;
        step("the cluster is as it was", || {
            neighbours.unharmed(cluster, &shell)
        })
    });
}

fn start(shell: &Shell<'_>) -> Result<()> {
    for name in PODS {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "image": "knarr/busybox:latest", "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", "echo here; exec sleep 3600"],
                }],
            },
        });
        shell.apply(&pod.to_string())?;
        eventually(SOON, "the pod says something", || {
            ensure!(shell.run(&format!("logs {name}"))? == "here\n", "nothing");
            Ok(())
        })?;
    }
    Ok(())
}

async fn streams(cluster: &Cluster) -> Result<()> {
    let client = cluster.client().await?;
    let path = |pod: &str| format!("/api/v1/namespaces/default/pods/{pod}/log");
    let follow = || async {
        let request = http::Request::get(format!("{}?follow=true", path("crowd")));
        let answer = client.send(request.body(Body::empty())?).await?;
        ensure!(answer.status() == 200, "{}", answer.status());
        anyhow::Ok(answer)
    };
    let held = try_join_all((0..STREAMS).map(|_| follow())).await?;
    let one_more = Raw::send(&client, "GET", &path("crowd"), &[], "").await?;
    ensure!(
        one_more.code == 429
            && one_more
                .message()
                .starts_with("too many streams of pod \"crowd\": 64 of it are open"),
        "{} {}",
        one_more.code,
        one_more.text
    );
    let other = Raw::send(&client, "GET", &path("other"), &[], "").await?;
    ensure!(other.text == "here\n", "{} {}", other.code, other.text);
    drop(held);
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let again = Raw::send(&client, "GET", &path("crowd"), &[], "").await?;
        if again.code == 200 {
            return Ok(());
        }
        let left = deadline.checked_duration_since(tokio::time::Instant::now());
        left.with_context(|| format!("places are not given back: {}", again.text))?;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}
