//! `knarr node drain` and `rm`: a node is emptied by evictions, so that disruption budgets are kept, and taken out of the cluster.
//!
//! As `kubectl drain`: the node is cordoned first; pods of a DaemonSet and static pods stay, since both come back at once; what nobody
//! would make anew, and what would lose its data, is for who says so.

mod plan;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::errors;
use kube::{
    Api, Client,
    api::{DeleteParams, EvictParams, ListParams, Patch, PatchParams},
};
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::cli::{DrainNode, RemoveNode};
use plan::{Evicted, Refusal};

/// Between looks at pods that are still there, and tries of evictions that a budget does not allow yet.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Evictions that are asked for at once: one that the server lets wait holds up few others.
const AT_ONCE: usize = 16;
/// Pods in one page of a list.
const PAGE: u32 = 500;

/// Empties a node.
pub async fn drain(client: &Client, flags: &DrainNode) -> Result<()> {
    let deadline = Instant::now() + flags.timeout;
    cordon(client, &flags.name).await?;
    say(&format!("node {} takes no more pods", flags.name));
    let pods = pods_of(client, &flags.name).await?;
    let plan = plan::plan(&pods, flags).map_err(|refusals| refused(&refusals, flags))?;
    for kept in &plan.kept {
        say(&format!("  {kept} stays: a DaemonSet's or static"));
    }
    evict(client, plan.evicted, deadline, flags).await?;
    say(&format!("node {} is drained", flags.name));
    Ok(())
}

/// Takes a node out of the cluster.
pub async fn remove(client: &Client, flags: &RemoveNode) -> Result<()> {
    if flags.no_drain {
        cordon(client, &flags.drain.name).await?;
    } else {
        drain(client, &flags.drain).await?;
    }
    let nodes: Api<Node> = Api::all(client.clone());
    let name = &flags.drain.name;
    let deleted = answer(nodes.delete(name, &DeleteParams::default())).await?;
    deleted.with_context(|| format!("cannot delete node {name}"))?;
    say(&format!(
        "node {name} is no more of the cluster; stop its knarr agent, which would join again: knarr down on that machine"
    ));
    Ok(())
}

async fn cordon(client: &Client, name: &str) -> Result<()> {
    let nodes: Api<Node> = Api::all(client.clone());
    let patch = json!({"spec": {"unschedulable": true}});
    let params = PatchParams::default();
    match answer(nodes.patch(name, &params, &Patch::Merge(&patch))).await? {
        Err(error) if errors::is_not_found(&error) => {
            bail!("there is no node {name}; kubectl get nodes lists them")
        }
        patched => patched
            .map(drop)
            .with_context(|| format!("cannot cordon node {name}")),
    }
}

async fn pods_of(client: &Client, node: &str) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::all(client.clone());
    let mut params = ListParams::default()
        .fields(&format!("spec.nodeName={node}"))
        .limit(PAGE);
    let mut found = Vec::new();
    loop {
        let page = answer(pods.list(&params))
            .await?
            .context("cannot list pods")?;
        found.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

/// Evicts pods and waits until they have gone.
async fn evict(
    client: &Client,
    evicted: Vec<Evicted>,
    deadline: Instant,
    flags: &DrainNode,
) -> Result<()> {
    let total = evicted.len();
    // By uid: whether the eviction was granted, and what was said of it last.
    let mut left: BTreeMap<Evicted, Option<String>> =
        evicted.into_iter().map(|pod| (pod, None)).collect();
    let mut granted: Vec<Evicted> = Vec::new();
    let mut gone = 0;
    while !left.is_empty() || !granted.is_empty() {
        if Instant::now() >= deadline {
            return Err(late(&left, &granted, flags));
        }
        let pods: Vec<Evicted> = left.keys().cloned().collect();
        let asked = pods.into_iter().map(|pod| async {
            let asked = ask_eviction(client, &pod).await;
            (pod, asked)
        });
        let mut asked = stream::iter(asked).buffer_unordered(AT_ONCE);
        while let Some((pod, asked)) = asked.next().await {
            match asked? {
                Asked::Granted => {
                    say(&format!("  {pod} is evicted"));
                    left.remove(&pod);
                    granted.push(pod);
                }
                Asked::NotYet(why) => {
                    let said = left.get_mut(&pod);
                    if let Some(said) = said.filter(|said| said.as_ref() != Some(&why)) {
                        say(&format!("  {pod} waits: {why}"));
                        *said = Some(why);
                    }
                }
            }
        }
        let mut there = Vec::new();
        for pod in granted {
            if is_there(client, &pod).await? {
                there.push(pod);
            } else {
                gone += 1;
                say(&format!("  {pod} has gone  ({gone} of {total})"));
            }
        }
        granted = there;
        if !left.is_empty() || !granted.is_empty() {
            sleep(PAUSE).await;
        }
    }
    Ok(())
}

enum Asked {
    Granted,
    /// A budget does not allow it, or the server has too much to do.
    NotYet(String),
}

async fn ask_eviction(client: &Client, pod: &Evicted) -> Result<Asked> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    // The client waits as the server says, and the looks at other pods no longer than this for it.
    let Ok(asked) = answer(pods.evict(&pod.name, &EvictParams::default())).await else {
        let why = format!("no answer within {}s", ANSWER_TIMEOUT.as_secs());
        return Ok(Asked::NotYet(why));
    };
    match asked {
        Ok(_) => Ok(Asked::Granted),
        Err(error) if errors::is_not_found(&error) => Ok(Asked::Granted),
        Err(kube::Error::Api(status)) if matches!(status.code, 429 | 500..) => {
            Ok(Asked::NotYet(status.message))
        }
        Err(error) => Err(error).with_context(|| format!("cannot evict {pod}")),
    }
}

/// Whether this very pod is there: another of its name is another one.
async fn is_there(client: &Client, pod: &Evicted) -> Result<bool> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace);
    let found = answer(pods.get_opt(&pod.name)).await?;
    let found = found.with_context(|| format!("cannot look at {pod}"))?;
    Ok(found.and_then(|found| found.metadata.uid).as_ref() == Some(&pod.uid))
}

async fn answer<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<kube::Result<T>> {
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .context("the API server takes too long")
}

fn refused(refusals: &[Refusal], flags: &DrainNode) -> anyhow::Error {
    let lines: Vec<String> = refusals.iter().map(ToString::to_string).collect();
    anyhow::anyhow!(
        "node {} is not drained, and takes no more pods (kubectl uncordon {} undoes that): {}",
        flags.name,
        flags.name,
        lines.join("; ")
    )
}

fn late(
    left: &BTreeMap<Evicted, Option<String>>,
    granted: &[Evicted],
    flags: &DrainNode,
) -> anyhow::Error {
    let waiting = left.iter().map(|(pod, why)| {
        let why = why.as_deref().unwrap_or("it was not asked yet");
        format!("{pod} ({why})")
    });
    let ending = granted.iter().map(|pod| format!("{pod} (it ends)"));
    let pods: Vec<String> = waiting.chain(ending).collect();
    anyhow::anyhow!(
        "node {} is not empty after {}s: {}; give it longer with --timeout, or change what keeps them",
        flags.name,
        flags.timeout.as_secs(),
        pods.join(", ")
    )
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn say(line: &str) {
    println!("{line}");
}
