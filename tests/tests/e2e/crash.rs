//! kill -9 under load, many times: no acknowledged write is lost, a watch misses and repeats nothing, and whatever the
//! crashes interrupted is gone after `knarr down`.

mod watcher;
mod writers;

use std::{env, sync::Arc, time::Duration};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use knarr_testkit::{Cluster, eventually_async};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use self::{watcher::Watcher, writers::Writers};
use crate::support::{SOON, block_on, step, step_async, with_running_cluster};

/// As many as a run of all tests can afford; `KNARR_CRASH_CYCLES` for a soak.
const CYCLES: u32 = 20;
const DEPLOYMENT: &str = "restless";
/// How long a write may take to be acknowledged in a cluster that has just come up.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn kill_9_under_load_loses_nothing() {
    with_running_cluster(|cluster| {
        let cycles = match env::var("KNARR_CRASH_CYCLES") {
            Ok(text) => text.parse().context("KNARR_CRASH_CYCLES is a number")?,
            Err(_) => CYCLES,
        };
        block_on(crash(cluster, cycles))?;
        step("down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

async fn crash(cluster: &mut Cluster, cycles: u32) -> Result<()> {
    let client = cluster.client().await?;
    let deployments = Api::<Deployment>::default_namespaced(client.clone());
    deployments
        .create(&PostParams::default(), &restless()?)
        .await?;
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    step_async("pods run before the first crash", settle(&deployments)).await?;
    let watcher = Watcher::start(maps.clone()).await?;
    let writers = Writers::start(&maps);
    let title = format!("{cycles} crashes");
    let cycled = step_async(&title, async {
        for cycle in 0..cycles {
            one_crash(cluster, &deployments, &writers, cycle)
                .await
                .with_context(|| format!("crash {cycle}"))?;
            watcher.check()?;
        }
        Ok(())
    });
    let cycled = cycled.await;
    let expected = writers.stop().await?;
    cycled?;
    eprintln!(
        "         {} acknowledged writes, {} names",
        expected.acknowledged,
        expected.names.len()
    );
    step_async(
        "every acknowledged write is there",
        check(&client, &watcher, &expected),
    )
    .await?;
    step_async("pods settle", settle(&deployments)).await
}

/// A deployment whose pods come and go while knarr is killed.
fn restless() -> Result<Deployment> {
    let pod = json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "main",
            "image": "knarr/busybox:latest",
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "3600"],
        }],
    });
    Ok(serde_json::from_value(json!({
        "metadata": {"name": DEPLOYMENT},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": DEPLOYMENT}},
            "template": {"metadata": {"labels": {"app": DEPLOYMENT}}, "spec": pod},
        },
    }))?)
}

async fn scale(deployments: &Api<Deployment>, replicas: u32) -> Result<()> {
    let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    deployments
        .patch(DEPLOYMENT, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

async fn one_crash(
    cluster: &mut Cluster,
    deployments: &Api<Deployment>,
    writers: &Writers,
    cycle: u32,
) -> Result<()> {
    // Pods are being made, removed or neither, and the writers are at another point each time.
    let writes = 20 + u64::from(cycle * 37 % 60);
    let replicas = [4, 1, 3, 0][cycle as usize % 4];
    eventually_async(SOON, "the deployment is scaled", async || {
        scale(deployments, replicas).await
    })
    .await?;
    tokio::time::timeout(WRITE_DEADLINE, writers.acknowledged(writes))
        .await
        .with_context(|| {
            format!(
                "{writes} writes are not acknowledged\n{}",
                cluster.log_tail()
            )
        })??;
    cluster.kill()?;
    cluster.up()?;
    Ok(())
}

async fn check(client: &Client, watcher: &Watcher, expected: &writers::Expected) -> Result<()> {
    let maps = Api::<ConfigMap>::default_namespaced(client.clone());
    // The watch has seen everything when it has seen the last write.
    let last: ConfigMap = serde_json::from_value(json!({"metadata": {"name": watcher::LAST}}))?;
    maps.create(&PostParams::default(), &last).await?;
    let seen = watcher.finish().await?;
    let listed = maps.list(&ListParams::default()).await?;
    let listed: writers::Contents = listed.items.iter().map(writers::content).collect();
    ensure!(
        seen == listed,
        "the watch saw {} maps, the list has {}",
        seen.len(),
        listed.len()
    );
    let mut lost = Vec::new();
    for (name, wanted) in &expected.names {
        let found = listed.get(name);
        if found != wanted.as_ref() {
            lost.push(format!("{name}: acknowledged {wanted:?}, found {found:?}"));
        }
    }
    ensure!(lost.is_empty(), "lost writes:\n{}", lost.join("\n"));
    ensure!(
        expected.names.len() > 100,
        "only {} names were written",
        expected.names.len()
    );
    Ok(())
}

/// After all crashes a deployment of two is a deployment of two.
async fn settle(deployments: &Api<Deployment>) -> Result<()> {
    scale(deployments, 2).await?;
    eventually_async(SOON, "the deployment is as it should be", async || {
        let deployment = deployments.get(DEPLOYMENT).await?;
        let status = deployment.status.clone().unwrap_or_default();
        let settled = status.replicas == Some(2) && status.ready_replicas == Some(2);
        ensure!(settled, "{}", serde_json::to_string(&status)?);
        Ok(())
    })
    .await
}

/// What several tasks share.
type Shared<T> = Arc<std::sync::Mutex<T>>;

fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
