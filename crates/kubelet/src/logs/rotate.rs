//! Log rotation: a file of 10 MiB is put aside and the runtime opens a new one; five files a container are kept, or as many and as
//! long ones as the configuration has. Those that were put aside before are compressed.

mod compress;

use std::{
    ffi::{OsStr, OsString},
    io,
    path::Path,
};

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::TimeZone};
use knarr_cri::v1;
use knarr_host::Directory;
use tokio_util::sync::CancellationToken;

use super::Log;
use crate::{configuration::Settings, context::Shared, labels};

/// When a file was put aside, UTC.
const STAMP: &str = "%Y%m%d-%H%M%S";
const ONE_SECOND: SignedDuration = SignedDuration::from_secs(1);

/// How much of a container's log is kept.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// Length from which on a file is put aside (`containerLogMaxSize`).
    bytes: u64,
    /// Files, the present one included (`containerLogMaxFiles`): at least two.
    files: usize,
}

impl Kept {
    fn of(settings: &Settings) -> Self {
        Self {
            bytes: settings.container_log_max_size,
            files: usize::try_from(settings.container_log_max_files)
                .unwrap_or(2)
                .max(2),
        }
    }

    /// What the files of a container take together but for the present one: between two looks it may get as long as the disk is
    /// fast.
    fn bytes_aside(self) -> u64 {
        self.bytes.saturating_mul(self.files as u64 - 1)
    }
}

/// Looks at the logs of running containers until the token is cancelled.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    let settings = &ctx.config.configuration.settings;
    let kept = Kept::of(settings);
    let workers = usize::try_from(settings.container_log_max_workers).unwrap_or(1);
    while token
        .run_until_cancelled(tokio::time::sleep(settings.container_log_monitor_interval))
        .await
        .is_some()
    {
        let views = ctx.observed.uids();
        let views = views.iter().map(|uid| ctx.observed.view(uid));
        let containers: Vec<v1::ContainerStatus> = views
            .flat_map(|view| view.running().cloned().collect::<Vec<_>>())
            .filter(|container| !container.log_path.is_empty())
            .collect();
        let ctx = &ctx;
        futures::stream::iter(containers)
            .for_each_concurrent(workers, |container| async move {
                let log = Log::new(ctx.config.logs_dir(), &container.log_path);
                if let Err(error) = rotate(ctx, &container, log, kept).await {
                    let (name, path) = (labels::container_name(&container), &container.log_path);
                    tracing::warn!(%error, container = name, path, "cannot rotate a log");
                }
            })
            .await;
    }
}

/// Puts the log aside if it has grown too long, and has the runtime open a new one.
async fn rotate(
    ctx: &Shared,
    container: &v1::ContainerStatus,
    log: Log,
    kept: Kept,
) -> io::Result<()> {
    let putting = log.clone();
    let now = Timestamp::now();
    let put = off_thread(move || put_long_one_aside(&putting, now, kept)).await?;
    let Some(aside) = put else {
        return Ok(());
    };
    let request = v1::ReopenContainerLogRequest {
        container_id: container.id.clone(),
    };
    if let Err(error) = ctx.runtime.reopen_container_log(request).await {
        // The runtime still writes to the old file; let it have its name again.
        off_thread(move || {
            let (directory, name) = log.locate()?;
            directory.rename(Path::new(&aside), Path::new(&name))
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

/// The name under which a log is put aside beside the others: of the time, but never before one that is there. A clock may be set back,
/// and whoever reads the files knows their order by their names.
fn stamped(name: &OsStr, aside: &[OsString], now: Timestamp) -> OsString {
    let prefix = format!("{}.", name.to_string_lossy());
    let stamps = aside.iter().filter_map(|other| {
        let other = other.to_string_lossy();
        let rest = other.strip_prefix(&prefix)?;
        let stamp = rest.split('.').next().unwrap_or(rest);
        DateTime::strptime(STAMP, stamp).ok()
    });
    let now = now.to_zoned(TimeZone::UTC).datetime();
    let next = stamps.max().map(|newest| newest.saturating_add(ONE_SECOND));
    let stamp = next.map_or(now, |next| next.max(now));
    let mut stamped = name.to_owned();
    stamped.push(format!(".{}", stamp.strftime(STAMP)));
    stamped
}

/// The name that a log has now which has grown too long; `None` for others.
fn put_long_one_aside(log: &Log, now: Timestamp, kept: Kept) -> io::Result<Option<OsString>> {
    let length = match log.open() {
        // Nothing was written yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?.metadata()?.len(),
    };
    let (directory, name) = log.locate()?;
    let mut aside = compress::tidy(&directory, put_aside(&directory, &name)?)?;
    let stamped = stamped(&name, &aside, now);
    let sizes = aside.iter().map(|name| size(&directory, name));
    for old in aside.drain(..too_much(sizes.collect(), kept.bytes_aside())) {
        directory.remove(Path::new(&old))?;
    }
    if length <= kept.bytes {
        return Ok(None);
    }
    for old in surplus(&mut aside, kept.files - 2) {
        directory.remove(Path::new(&old))?;
    }
    compress::all(&directory, &aside)?;
    directory.rename(Path::new(&name), Path::new(&stamped))?;
    Ok(Some(stamped))
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
fn too_much(sizes: Vec<u64>, mut room: u64) -> usize {
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

/// Takes out all but the newest `keep`.
fn surplus(old: &mut Vec<OsString>, keep: usize) -> Vec<OsString> {
    old.drain(..old.len().saturating_sub(keep)).collect()
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
        assert_eq!(surplus(&mut old.clone(), 2), ["0.log.1"]);
        assert!(surplus(&mut old.clone(), 3).is_empty());
        Ok(())
    }

    #[test]
    fn a_log_is_put_aside_behind_those_that_are_there_whatever_the_clock_says() {
        let now: Timestamp = "2030-01-01T00:00:00.9Z".parse().expect("a time");
        for (there, wanted) in [
            (&[][..], "0.log.20300101-000000"),
            (&["0.log.20291231-235959.gz"], "0.log.20300101-000000"),
            (&["0.log.20300101-000000"], "0.log.20300101-000001"),
            (
                &[
                    "0.log.20300501-120000.gz",
                    "0.log.20300501-125959",
                    "0.log.z",
                ],
                "0.log.20300501-130000",
            ),
        ] {
            let there: Vec<OsString> = there.iter().map(OsString::from).collect();
            assert_eq!(stamped(OsStr::new("0.log"), &there, now), wanted);
            let wanted = OsStr::new(wanted);
            let others = there.iter().filter(|there| *there != "0.log.z");
            assert!(others.into_iter().all(|other| wanted > other.as_os_str()));
        }
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
            assert_eq!(too_much(sizes.clone(), 40 * MIB), expected, "{sizes:?}");
        }
    }
}
