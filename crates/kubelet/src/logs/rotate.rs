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
/// What the files of a container take together but for the present one: between two looks it may get as long as the disk is fast.
const MAX_ASIDE_BYTES: u64 = MAX_BYTES * (MAX_FILES as u64 - 1);
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
    let (directory, name) = log.locate()?;
    let mut aside = put_aside(&directory, &name)?;
    let sizes = aside.iter().map(|name| size(&directory, name));
    for old in aside.drain(..too_much(sizes.collect())) {
        directory.remove(Path::new(&old))?;
    }
    if length <= MAX_BYTES {
        return Ok(false);
    }
    for old in surplus(aside, MAX_FILES - 2) {
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

/// Zero of what is no file.
fn size(directory: &Directory, name: &OsStr) -> u64 {
    let file = directory
        .open_file(Path::new(name))
        .and_then(|file| file.metadata());
    file.map_or(0, |metadata| metadata.len())
}

/// How many of the oldest are too much, by the sizes of all from the oldest on.
fn too_much(sizes: Vec<u64>) -> usize {
    let mut room = MAX_ASIDE_BYTES;
    let newest = sizes.iter().rev();
    let kept = newest.take_while(|size| match room.checked_sub(**size) {
        Some(left) => {
            room = left;
            true
        }
        None => false,
    });
    sizes.len() - kept.count()
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

    #[test]
    fn a_flood_that_was_put_aside_goes_at_the_next_look() {
        const MIB: u64 = 1 << 20;
        for (sizes, expected) in [
            (vec![], 0),
            (vec![10 * MIB, 11 * MIB, 12 * MIB], 0),
            (vec![10 * MIB, 20 * MIB, 15 * MIB], 1),
            (vec![10 * MIB, 740 * MIB], 2),
            (vec![740 * MIB, 10 * MIB], 1),
        ] {
            assert_eq!(too_much(sizes.clone()), expected, "{sizes:?}");
        }
    }
}
