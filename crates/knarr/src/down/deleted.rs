//! A cluster whose data directory somebody has deleted by hand while it had pods: what was mounted in it is still there, and so are its
//! processes, and its name on the network. Its records are not, so that it has to be ended without them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use knarr_cni::InstanceId;
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::time::{Instant, sleep};

use super::{STOP_POLL, STOP_TIMEOUT, groups, mounts};
use crate::{instance, network};

/// How deep the group of a cluster is looked for: an administrator may have given it another parent.
const MAX_GROUP_DEPTH: usize = 4;

/// The identity of a cluster here whose directory was `data_dir`, unless that says so itself.
pub async fn identity(data_dir: &Path) -> Result<Option<InstanceId>> {
    let claimed = knarr_cni::node::claimed(data_dir, network::DNS_LISTEN.ipv4).await;
    claimed.context("cannot find out whose the network is")
}

/// Ends its processes and takes what is mounted in its directory away, with the rest of what needs records.
pub async fn end(data_dir: PathBuf, identity: InstanceId) -> Result<()> {
    stop(&instance::lock_path(&data_dir), STOP_TIMEOUT).await?;
    let ended = tokio::task::spawn_blocking(move || {
        let mut all = groups::named(identity.as_str(), MAX_GROUP_DEPTH)?;
        all.extend(groups::of_shims(&data_dir).context("cannot look at processes")?);
        for group in all {
            knarr_runtime::remove_cgroups(&group).with_context(|| {
                format!("cannot remove the control groups below {}", group.display())
            })?;
            groups::remove_empty(&group)?;
        }
        mounts::release(&data_dir)?;
        for name in ["runtime", "run"] {
            let path = data_dir.join(name);
            knarr_host::remove(&path)
                .with_context(|| format!("cannot remove {}", path.display()))?;
        }
        anyhow::Ok(())
    });
    ended.await.context("ending it was aborted")?
}

/// Ends the process that has a lock which is no longer there, if there is one.
async fn stop(lock: &Path, limit: Duration) -> Result<()> {
    let deadline = Instant::now() + limit;
    while let Some(pid) = holder_of_deleted(lock).context("cannot look at processes")? {
        if Instant::now() > deadline {
            bail!("knarr (pid {pid}) did not stop within {}s", limit.as_secs());
        }
        match kill(Pid::from_raw(pid), Signal::SIGTERM) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("cannot stop knarr (pid {pid})"));
            }
        }
        sleep(STOP_POLL).await;
    }
    Ok(())
}

fn holder_of_deleted(lock: &Path) -> io::Result<Option<i32>> {
    let mut name = lock.as_os_str().to_owned();
    name.push(" (deleted)");
    for process in fs::read_dir("/proc")? {
        let process = process?;
        let pid = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        // One that ends meanwhile has nothing open.
        let (Some(pid), Ok(files)) = (pid, fs::read_dir(process.path().join("fd"))) else {
            continue;
        };
        let mut files = files.flatten();
        if files.any(|file| fs::read_link(file.path()).is_ok_and(|to| to.as_os_str() == name)) {
            return Ok(Some(pid));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_a_lock_that_is_gone_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().canonicalize().unwrap();
        let lock = dir.join("lock");
        let open = fs::File::create(&lock).unwrap();
        assert_eq!(holder_of_deleted(&lock).unwrap(), None);
        fs::remove_file(&lock).unwrap();
        let own = std::process::id().cast_signed();
        assert_eq!(holder_of_deleted(&lock).unwrap(), Some(own));
        drop(open);
        assert_eq!(holder_of_deleted(&lock).unwrap(), None);
    }
}
