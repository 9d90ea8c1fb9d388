//! Removing the pods, through the runtime that has them.

use std::{collections::HashMap, future::Future, path::Path, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use knarr_cri::{
    tonic::{Response, Status, transport::Channel},
    v1::{
        ListPodSandboxRequest, PodSandboxFilter, RemovePodSandboxRequest, StatusRequest,
        StopPodSandboxRequest, runtime_service_client::RuntimeServiceClient,
    },
};
use knarr_runtime::Runtime;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::instance::{ForeignRuntime, Record};

/// The embedded runtime makes its socket first thing; another one has it, unless it is being started again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECT_POLL: Duration = Duration::from_millis(10);
/// Longest that a runtime may take over one sandbox: killing its containers, its network, its mounts.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Removes every pod of the cluster. Repeating it is fine.
pub async fn remove(data_dir: &Path, record: Option<&Record>) -> Result<()> {
    if let Some(runtime) = record.and_then(|record| record.foreign_runtime.as_ref()) {
        remove_foreign(runtime).await?;
    }
    // The cluster may have had the embedded runtime before.
    remove_embedded(data_dir, record).await
}

/// Those that this cluster's kubelet made; the runtime may have others'.
async fn remove_foreign(runtime: &ForeignRuntime) -> Result<()> {
    let endpoint = &runtime.endpoint;
    let mut client = reach(endpoint).await.with_context(|| {
        format!(
            "pods of this cluster are in the container runtime at {endpoint}, which does not answer; start it and run \
             knarr down again"
        )
    })?;
    let owner = (knarr_kubelet::OWNER_LABEL.to_owned(), runtime.owner.clone());
    let filter = PodSandboxFilter {
        label_selector: HashMap::from([owner]),
        ..PodSandboxFilter::default()
    };
    remove_sandboxes(&mut client, Some(filter))
        .await
        .with_context(|| {
            format!("cannot remove this cluster's pods from the container runtime at {endpoint}")
        })
}

/// Starts the embedded runtime alone and has it remove every sandbox.
async fn remove_embedded(data_dir: &Path, record: Option<&Record>) -> Result<()> {
    let mut config = knarr_runtime::Config::new(data_dir);
    if let Some(record) = record {
        config.cgroup_root.clone_from(&record.cgroup_root);
    }
    let endpoint = config.socket.display().to_string();
    let token = CancellationToken::new();
    let runtime = Runtime::new(config).await?;
    let serving = knarr_tasks::spawn("the container runtime", runtime.run(token.clone()));
    let removed = async {
        let mut client = reach(&endpoint).await?;
        remove_sandboxes(&mut client, None).await
    };
    let result = removed.await;
    token.cancel();
    serving.await.context("the runtime was aborted")??;
    result
}

async fn remove_sandboxes(
    client: &mut RuntimeServiceClient<Channel>,
    filter: Option<PodSandboxFilter>,
) -> Result<()> {
    let listed = in_time(client.list_pod_sandbox(ListPodSandboxRequest { filter }))
        .await
        .context("cannot list sandboxes")?;
    for sandbox in listed.items {
        let pod_sandbox_id = sandbox.id;
        in_time(client.stop_pod_sandbox(StopPodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        }))
        .await
        .with_context(|| format!("cannot stop sandbox {pod_sandbox_id}"))?;
        in_time(client.remove_pod_sandbox(RemovePodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        }))
        .await
        .with_context(|| format!("cannot remove sandbox {pod_sandbox_id}"))?;
    }
    Ok(())
}

async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    match timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => Ok(answer?.into_inner()),
        Err(_) => bail!("no answer within {}s", CALL_TIMEOUT.as_secs()),
    }
}

/// Connects to a runtime that is maybe still starting: its socket is there before it can do anything.
async fn reach(endpoint: &str) -> Result<RuntimeServiceClient<Channel>> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let mut last = anyhow!("no answer within {}s", CONNECT_TIMEOUT.as_secs());
    while Instant::now() < deadline {
        match timeout_at(deadline, connect(endpoint)).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => last = error,
            Err(_) => break,
        }
        sleep(CONNECT_POLL).await;
    }
    Err(last)
}

async fn connect(endpoint: &str) -> Result<RuntimeServiceClient<Channel>> {
    let (mut client, _) = knarr_cri::connect(endpoint).await?;
    client.status(StatusRequest::default()).await?;
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_runtime_that_is_away_is_named() {
        let runtime = ForeignRuntime {
            endpoint: "unix:///nonexistent/runtime.sock".to_owned(),
            owner: "/var/lib/knarr".to_owned(),
        };
        let started = Instant::now();
        let error = remove_foreign(&runtime).await.unwrap_err();
        assert!(started.elapsed() < CONNECT_TIMEOUT * 2);
        let text = error.to_string();
        assert!(text.contains("/nonexistent/runtime.sock"), "{text}");
        assert!(text.contains("run knarr down again"), "{text}");
        let cause = error.root_cause().to_string();
        assert!(cause.contains("No such file"), "{cause}");
    }
}
