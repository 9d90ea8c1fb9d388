//! `knarr down`: stops the cluster and removes what it made on this machine.

mod deleted;
mod groups;
mod pods;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use knarr_cni::InstanceId;
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
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
            release_mounts(data_dir, &data_dir.join("kubelet"))?;
            match record.as_ref().and_then(|record| record.root_dir.as_ref()) {
                Some(root) => leave_root(root, purge),
                None => Ok(()),
            }
        })
        .await?;
    if purge {
        progress
            .step("delete the data directory", async {
                knarr_host::remove(data_dir)
                    .with_context(|| format!("cannot delete {}", data_dir.display()))
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
    release_mounts(root, root)?;
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

/// Unmounts what is left below a directory, the deepest first, and removes the pod directories of the kubelet whose root is `root`.
fn release_mounts(dir: &Path, root: &Path) -> Result<()> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    // As the kernel lists what is mounted there; a directory that has gone has nothing.
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let (dir, root) = (&*real(dir), &*real(root));
    let mut mounts = mounts_below(&table, dir);
    if root == dir && is_bound_onto_itself(&table, root) {
        mounts.insert(0, root.to_owned());
    }
    mounts.reverse();
    for mount in mounts {
        match umount2(&mount, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("cannot unmount {}", mount.display()));
            }
        }
    }
    let pods = root.join("pods");
    knarr_host::remove(&pods).with_context(|| format!("cannot remove {}", pods.display()))
}

/// Mount points below `dir`, in the order they were made.
fn mounts_below(table: &str, dir: &Path) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(field.replace("\\040", " ")))
        .filter(|path| path.starts_with(dir) && path != dir)
        .collect()
}

/// Whether what is seen at `dir` is a mount of just that directory, as the kubelet makes it for propagation, and not a disk.
fn is_bound_onto_itself(table: &str, dir: &Path) -> bool {
    // Device, path within it, mount point.
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let mut own = None;
    let mut outer: Option<(&str, &str, &str)> = None;
    for mount in mounts {
        let (_, _, point) = mount;
        if Path::new(point) == dir {
            own = Some(mount);
        } else if dir.starts_with(point) && outer.is_none_or(|outer| outer.2.len() <= point.len()) {
            outer = Some(mount);
        }
    }
    let (Some((device, within, _)), Some(outer)) = (own, outer) else {
        return false;
    };
    let place = dir
        .strip_prefix(outer.2)
        .map(|below| Path::new(outer.1).join(below));
    device == outer.0 && place.is_ok_and(|place| place == Path::new(within))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_at_the_root_directory_is_not_taken_for_the_kubelets_own_mount() {
        let root = "22 1 254:0 / / rw - ext4 /dev/vda rw\n";
        for (line, wanted) in [
            ("", false),
            (
                "40 22 254:0 /var/lib/kubelet /var/lib/kubelet rw - ext4 /dev/vda rw",
                true,
            ),
            (
                "40 22 254:1 / /var/lib/kubelet rw - ext4 /dev/vdb rw",
                false,
            ),
            (
                "40 22 254:0 /@kubelet /var/lib/kubelet rw - btrfs /dev/vda rw",
                false,
            ),
        ] {
            let table = format!("{root}{line}");
            let found = is_bound_onto_itself(&table, Path::new("/var/lib/kubelet"));
            assert_eq!(found, wanted, "{line}");
        }
    }

    #[test]
    fn mounts_of_the_data_directory_are_found() {
        let table = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                     40 22 0:40 / /var/lib/knarr/a\\040b rw - tmpfs tmpfs rw\n\
                     41 22 0:41 / /var/lib/knarr2/c rw - tmpfs tmpfs rw\n\
                     42 22 0:42 / /var/lib/knarr rw - tmpfs tmpfs rw\n";
        let found = mounts_below(table, Path::new("/var/lib/knarr"));
        assert_eq!(found, [PathBuf::from("/var/lib/knarr/a b")]);
    }
}
