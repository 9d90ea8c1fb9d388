//! `knarr down`: stops the cluster and removes what it made on this machine.

mod deleted;
mod groups;
mod mounts;
mod pods;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use knarr_cni::InstanceId;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use crate::{
    cli::Down,
    instance::{self, Instance, Record},
    network, nodes,
    progress::Progress,
};

/// The running instance's own stages take at most 20 seconds.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);
/// How often the lock of a stopping instance is looked at: it is not something one can wait for.
const STOP_POLL: Duration = Duration::from_millis(50);

pub fn run(flags: &Down) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("knarr down needs root; try: sudo knarr down");
    }
    let data_dir = &flags.data_dir;
    if !data_dir.is_dir() {
        bail!("there is no cluster on {}", data_dir.display());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(remove(data_dir, flags.purge))
}

async fn remove(data_dir: &Path, purge: bool) -> Result<()> {
    let progress = Progress::new();
    let record = Record::read(data_dir)?;
    let (known, deleted) = match instance::identity(data_dir)? {
        Some(known) => (Some(known), None),
        None => (None, deleted::identity(data_dir).await?),
    };
    let identity = known.or(deleted);
    instance::here(data_dir, record.as_ref(), "down")?;
    let instance = progress
        .step("stop knarr", stop(data_dir, record.as_ref()))
        .await?;
    if let Some(identity) = deleted {
        let end = deleted::end(data_dir.to_owned(), identity);
        progress
            .step("end what a deleted directory left", end)
            .await?;
    }
    progress
        .step("remove nodes", nodes::take_down_all(data_dir, identity))
        .await?;
    progress
        .step("remove pods", pods::remove(data_dir, record.as_ref()))
        .await?;
    progress
        .step("remove control groups", remove_cgroups(record.as_ref()))
        .await?;
    progress
        .step("remove networks and rules", remove_network(identity))
        .await?;
    progress
        .step("release mounts", async {
            mounts::release(data_dir)?;
            match record.as_ref().and_then(|record| record.root_dir.as_ref()) {
                Some(root) => leave_root(root, purge),
                None => Ok(()),
            }
        })
        .await?;
    if purge {
        progress
            .step("delete the data directory", async {
                mounts::delete(data_dir)
            })
            .await?;
    }
    drop(instance);
    Ok(())
}

/// Ends a running instance and takes its lock, so that none starts meanwhile.
async fn stop(data_dir: &Path, record: Option<&Record>) -> Result<Instance> {
    if let Some(instance) = Instance::try_acquire(data_dir)? {
        return Ok(instance);
    }
    let record = record.context("knarr is still starting; try again")?;
    if !record.lives(data_dir) {
        bail!(
            "knarr runs on {} in another pid namespace (there as pid {}); run knarr down there",
            data_dir.display(),
            record.pid
        );
    }
    match kill(Pid::from_raw(record.pid), Signal::SIGTERM) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(errno) => {
            return Err(errno).with_context(|| format!("cannot stop knarr (pid {})", record.pid));
        }
    }
    let deadline = Instant::now() + STOP_TIMEOUT;
    loop {
        if let Some(instance) = Instance::try_acquire(data_dir)? {
            return Ok(instance);
        }
        if Instant::now() > deadline {
            bail!(
                "knarr (pid {}) did not stop within {}s",
                record.pid,
                STOP_TIMEOUT.as_secs()
            );
        }
        sleep(STOP_POLL).await;
    }
}

/// Those of pods and shims; a cluster that never came up has none.
async fn remove_cgroups(record: Option<&Record>) -> Result<()> {
    let Some(root) = record.map(|record| record.cgroup_root.clone()) else {
        return Ok(());
    };
    let removed = tokio::task::spawn_blocking(move || {
        knarr_runtime::remove_cgroups(&root).with_context(|| {
            format!("cannot remove the control groups below {}", root.display())
        })?;
        groups::remove_empty(&root)
    });
    removed
        .await
        .context("removing control groups was aborted")?
}

/// What bears the cluster's identity; without one nothing was made.
async fn remove_network(identity: Option<InstanceId>) -> Result<()> {
    if let Some(instance) = identity {
        knarr_policy::teardown(&instance).await?;
        knarr_proxy::teardown(&instance).await?;
        knarr_cni::node::teardown(&instance, network::DNS_LISTEN).await?;
    }
    Ok(())
}

/// Gives up a root directory of the kubelet that is not within the data directory. Drivers' sockets there are their own.
fn leave_root(root: &Path, purge: bool) -> Result<()> {
    mounts::release_outside(root)?;
    let own: &[&str] = match purge {
        true => &[
            "plugins/kubernetes.io",
            "images",
            knarr_kubelet::ROOT_OWNER_FILE,
        ],
        false => &[],
    };
    for name in own {
        let path = root.join(name);
        knarr_host::remove(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
