//! Log rotation: a file of 10 MiB is put aside and the runtime opens a new one; five files a container are kept.

use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
    time::Duration,
};

use knarr_cri::v1;
use knarr_host::Directory;
use tokio_util::sync::CancellationToken;

use super::Log;
use crate::{context::Shared, labels};

/// Upstream's containerLogMaxSize.
const MAX_BYTES: u64 = 10 << 20;
/// Upstream's containerLogMaxFiles, the present one included.
const MAX_FILES: usize = 5;
/// Upstream's containerLogMonitorInterval.
const PERIOD: Duration = Duration::from_secs(10);

/// Looks at the logs of running containers until the token is cancelled.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    while token
        .run_until_cancelled(tokio::time::sleep(PERIOD))
        .await
        .is_some()
    {
        for uid in ctx.observed.uids() {
            let view = ctx.observed.view(&uid);
            for container in view.running().filter(|c| !c.log_path.is_empty()) {
                let log = Log::new(ctx.config.logs_dir(), &container.log_path);
                if let Err(error) = rotate(&ctx, container, log).await {
                    let (name, path) = (labels::container_name(container), &container.log_path);
                    tracing::warn!(%error, container = name, path, "cannot rotate a log");
                }
            }
        }
    }
}

/// Puts the log aside if it has grown too long, and has the runtime open a new one.
async fn rotate(ctx: &Shared, container: &v1::ContainerStatus, log: Log) -> io::Result<()> {
    let stamp = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let (putting, aside) = (log.clone(), stamp.clone());
    let put = off_thread(move || put_long_one_aside(&putting, &aside)).await?;
    if !put {
        return Ok(());
    }
    let request = v1::ReopenContainerLogRequest {
        container_id: container.id.clone(),
    };
    if let Err(error) = ctx.runtime.reopen_container_log(request).await {
        // The runtime still writes to the old file; let it have its name again.
        off_thread(move || {
            let (directory, name) = log.locate()?;
            directory.rename(Path::new(&stamped(&name, &stamp)), Path::new(&name))
        })
        .await?;
        return Err(io::Error::other(error));
    }
    Ok(())
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

fn stamped(name: &OsStr, stamp: &str) -> OsString {
    let mut aside = name.to_owned();
    aside.push(".");
    aside.push(stamp);
    aside
}

fn put_long_one_aside(log: &Log, stamp: &str) -> io::Result<bool> {
    let length = match log.open() {
        // Nothing was written yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file?.metadata()?.len(),
    };
    if length <= MAX_BYTES {
        return Ok(false);
    }
    let (directory, name) = log.locate()?;
    for old in surplus(put_aside(&directory, &name)?, MAX_FILES - 2) {
        directory.remove(Path::new(&old))?;
    }
    directory.rename(Path::new(&name), Path::new(&stamped(&name, stamp)))?;
    Ok(true)
}

/// Files of this log that were put aside before; their names sort by age.
pub(super) fn put_aside(directory: &Directory, name: &OsStr) -> io::Result<Vec<OsString>> {
    let prefix = format!("{}.", name.to_string_lossy());
    let mut old: Vec<OsString> = directory
        .entries()?
        .into_iter()
        .map(|(entry, _)| entry)
        .filter(|entry| entry.to_string_lossy().starts_with(&prefix))
        .collect();
    old.sort();
    Ok(old)
}

/// All but the newest `keep`.
fn surplus(mut old: Vec<OsString>, keep: usize) -> Vec<OsString> {
    old.truncate(old.len().saturating_sub(keep));
    old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_log_files_are_counted_from_the_oldest() -> io::Result<()> {
        let home = tempfile::tempdir()?;
        for name in ["0.log", "0.log.3", "0.log.1", "0.log.2", "1.log.0"] {
            std::fs::write(home.path().join(name), "")?;
        }
        let directory = Directory::open(home.path())?;
        let old = put_aside(&directory, OsStr::new("0.log"))?;
        assert_eq!(old, ["0.log.1", "0.log.2", "0.log.3"]);
        assert_eq!(surplus(old.clone(), 2), ["0.log.1"]);
        assert!(surplus(old, 3).is_empty());
        Ok(())
    }
}
