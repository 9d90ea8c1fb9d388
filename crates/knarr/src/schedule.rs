//! `knarr schedule`: where the scheduler would put a pod, and why not elsewhere.
//!
//! The scheduler's own plugins are asked, about the cluster as it is read now, or about one that was saved to files. A manifest is sent
//! to the server as a dry run first, so that defaults, priority and whatever else admission adds are in it; a saved cluster's gets
//! defaults and priority.

mod saved;
mod text;

use std::{fmt::Debug, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use knarr_scheduler::{
    Config,
    simulation::{Object, Simulation},
};
use kube::{
    Api, Client, Resource,
    api::{ListParams, ObjectList},
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use saved::Saved;

use crate::{
    cli::Schedule,
    progress,
    status::{client, running},
};

/// All that is read has to be there by then.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// As much as the server takes of a manifest.
const MANIFEST_BYTES_MAX: u64 = 3 * 1024 * 1024;

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
pub fn run(flags: &Schedule) -> Result<()> {
    let config = flags.scheduler_config.as_deref().map(Config::read);
    let config = config.transpose().context("--scheduler-config")?;
    let config = config.unwrap_or_default();
    let (pod, mut simulation) = match flags.cluster.as_slice() {
        [] => read_running(flags, &config)?,
        files => {
            let saved = Saved::read(files)?;
            let mut pod = saved.pod(&flags.namespace, &flags.pod)?;
            forget_node(&mut pod);
            let simulation = saved.simulation(&config, &pod)?;
            (pod, simulation)
        }
    };
    let color = progress::in_color();
    if flags.explain {
        let explanation = simulation.explain(pod.clone());
        let width = progress::width();
        print!(
            "{}",
            text::explanation(&explanation, text::Look { color, width })
        );
    }
    let name = pod.metadata.name.clone().unwrap_or_default();
    let placement = simulation.schedule(pod);
    print!("{}", text::placement(&name, &placement, color));
    Ok(())
}

/// The pod and the cluster that runs here.
fn read_running(flags: &Schedule, config: &Config) -> Result<(Pod, Simulation)> {
    let Some(record) = running(&flags.data_dir)? else {
        let dir = flags.data_dir.display();
        bail!(
            "no knarr runs on {dir}; start one with: knarr up, or name a saved cluster by --cluster"
        );
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let work = async {
        let client = client(&record).await?;
        let pod = pod(&client, flags).await?;
        let simulation = simulation(&client, config, &pod).await?;
        Ok::<_, anyhow::Error>((pod, simulation))
    };
    let read = runtime.block_on(async { timeout(ANSWER_TIMEOUT, work).await });
    read.context("the API server takes too long")?
}

/// The pod that is asked about, as it was before it had a node.
async fn pod(client: &Client, flags: &Schedule) -> Result<Pod> {
    let path = Path::new(&flags.pod);
    let mut pod = if path.is_file() {
        dry_run(client, &flags.namespace, path).await?
    } else {
        let pods: Api<Pod> = Api::namespaced(client.clone(), &flags.namespace);
        let found = pods.get_opt(&flags.pod).await?;
        found.with_context(|| {
            let (name, namespace) = (&flags.pod, &flags.namespace);
            format!("there is no pod {name} in namespace {namespace}, and no such file")
        })?
    };
    forget_node(&mut pod);
    Ok(pod)
}

fn forget_node(pod: &mut Pod) {
    if let Some(spec) = &mut pod.spec {
        spec.node_name = None;
    }
}

/// The pod that the server would make of a manifest.
async fn dry_run(client: &Client, namespace: &str, path: &Path) -> Result<Pod> {
    let shown = path.display();
    let size = path
        .metadata()
        .with_context(|| format!("cannot read {shown}"))?;
    ensure!(size.len() <= MANIFEST_BYTES_MAX, "{shown} is too large");
    let manifest = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    let request = http::Request::post(format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"))
        .header(http::header::CONTENT_TYPE, "application/yaml")
        .body(manifest)
        .context("cannot make a request")?;
    let answer = client.request(request).await;
    answer.with_context(|| format!("the API server refuses {shown}"))
}

/// The cluster, without the pod.
async fn simulation(client: &Client, config: &Config, without: &Pod) -> Result<Simulation> {
    let mut simulation = Simulation::new(config);
    let mut add = |object| simulation.add(object);
    // Nodes come first: a pod counts on a node that is known.
    each(client, |o| add(Object::Node(o))).await?;
    each(client, |o| add(Object::Namespace(o))).await?;
    each(client, |o| add(Object::Service(o))).await?;
    each(client, |o| add(Object::ReplicationController(o))).await?;
    each(client, |o| add(Object::ReplicaSet(o))).await?;
    each(client, |o| add(Object::StatefulSet(o))).await?;
    each(client, |o| add(Object::PodDisruptionBudget(o))).await?;
    each(client, |o| add(Object::PersistentVolumeClaim(o))).await?;
    each(client, |o| add(Object::PersistentVolume(o))).await?;
    each(client, |o| add(Object::StorageClass(o))).await?;
    each(client, |o| add(Object::DeviceClass(o))).await?;
    each(client, |o| add(Object::DeviceTaintRule(o))).await?;
    each(client, |o| add(Object::ResourceSlice(o))).await?;
    each(client, |o| add(Object::ResourceClaim(o))).await?;
    each(client, |o| add(Object::CsiDriver(o))).await?;
    each(client, |o| add(Object::CsiNode(o))).await?;
    each(client, |o| add(Object::CsiStorageCapacity(o))).await?;
    each(client, |o| add(Object::VolumeAttachment(o))).await?;
    each(client, |pod: Box<Pod>| {
        if pod.metadata.uid != without.metadata.uid && !has_ended(&pod) {
            add(Object::Pod(pod));
        }
    })
    .await?;
    Ok(simulation)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// Calls `add` with every object of a kind.
async fn each<K>(client: &Client, mut add: impl FnMut(Box<K>)) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::all(client.clone());
    let list: ObjectList<K> = api
        .list(&ListParams::default())
        .await
        .with_context(|| format!("cannot list {}", K::plural(&())))?;
    for object in list.items {
        add(Box::new(object));
    }
    Ok(())
}
