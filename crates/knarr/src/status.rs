//! `knarr status`: whether the cluster of a data directory runs, and what is on it.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{Api, Client, api::ListParams};
use tokio::time::timeout;

use crate::{
    access,
    cli::Status,
    instance::{Instance, Record},
};

/// A cluster that does not answer by then is not well.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

pub fn run(flags: &Status) -> Result<()> {
    let data_dir = &flags.data_dir;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let Some(record) = running(data_dir)? else {
        bail!(
            "no knarr runs on {}; start one with: knarr up",
            data_dir.display()
        );
    };
    if record.kubeconfig.is_none() {
        show_agent(&record);
        return Ok(());
    }
    match runtime.block_on(async { timeout(ANSWER_TIMEOUT, show(&record)).await }) {
        Ok(result) => result,
        Err(_) => bail!(
            "knarr runs (pid {}) but {} gave no answer within {}s; see its log",
            record.pid,
            record.api,
            ANSWER_TIMEOUT.as_secs()
        ),
    }
}

/// The record of the instance that holds the data directory's lock.
pub fn running(data_dir: &Path) -> Result<Option<Record>> {
    if !data_dir.is_dir() || Instance::try_acquire(data_dir)?.is_some() {
        return Ok(None);
    }
    match Record::read(data_dir)? {
        Some(record) if record.ready => Ok(Some(record)),
        _ => bail!("knarr is starting on {}", data_dir.display()),
    }
}

/// A node has no rights to tell of its cluster.
#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn show_agent(record: &Record) {
    println!("knarr agent runs (pid {})", record.pid);
    println!("  node of     {}", record.api);
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
async fn show(record: &Record) -> Result<()> {
    let client = client(record).await?;
    let version = client
        .apiserver_version()
        .await
        .context("the API server does not answer")?;
    let nodes = Api::<Node>::all(client.clone())
        .list(&ListParams::default())
        .await?;
    let pods = Api::<Pod>::all(client).list(&ListParams::default()).await?;
    println!("knarr {} runs (pid {})", version.git_version, record.pid);
    println!("  API         {}", record.api);
    if let Some(kubeconfig) = &record.kubeconfig {
        println!("  kubeconfig  {}", kubeconfig.display());
    }
    if nodes.items.is_empty() {
        println!("  node        none has registered yet");
    }
    for node in &nodes.items {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        println!(
            "  node        {name}: {}",
            if is_ready(node) { "Ready" } else { "NotReady" }
        );
    }
    let ready = pods.items.iter().filter(|pod| is_running(pod)).count();
    println!("  pods        {ready} running of {}", pods.items.len());
    Ok(())
}

/// A client of the cluster, as its administrator.
pub async fn client(record: &Record) -> Result<Client> {
    let Some(path) = &record.kubeconfig else {
        bail!(
            "this is the data directory of a node; ask the cluster of {}",
            record.api
        );
    };
    access::by_kubeconfig(path).await
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running")
}
