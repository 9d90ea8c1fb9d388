//! Which sockets there are in the registry: in it and in directories below, what is hidden aside.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::watch::Watch;

/// Between two reads when nothing is heard.
const PERIOD: Duration = Duration::from_secs(10);
/// Between two reads where directories cannot be watched.
const UNWATCHED_PERIOD: Duration = Duration::from_secs(1);
/// How deep directories are read.
const MAX_DEPTH: usize = 8;
/// Most entries that are looked at.
const MAX_ENTRIES: usize = 1_024;

/// Which socket it is: one that was removed and made again under the same path is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    device: u64,
    inode: u64,
    /// When it was made, as nothing writes to it: seconds and nanoseconds.
    made: (i64, i64),
}

pub(super) struct Registry {
    path: PathBuf,
    watch: Option<Arc<Watch>>,
    told: Option<String>,
}

impl Registry {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            watch: None,
            told: None,
        }
    }

    /// All sockets by their paths. The directory is made where it is missing.
    pub(super) async fn read(&mut self) -> BTreeMap<PathBuf, Socket> {
        let (path, watch) = (self.path.clone(), self.watch.take());
        let reading = tokio::task::spawn_blocking(move || -> io::Result<_> {
            fs::create_dir_all(&path)?;
            // Before it is read, so that nothing is missed.
            let watch = watch.or_else(|| Watch::new(&path).ok().map(Arc::new));
            let found = read(&path, watch.as_deref())?;
            Ok((watch, found))
        });
        let read = reading.await.map_err(io::Error::other);
        let (found, whole) = match read.and_then(|read| read) {
            Ok((watch, (found, whole))) => {
                self.watch = watch;
                (found, whole)
            }
            Err(error) => {
                self.tell(Some(format!(
                    "cannot read the registry of plugins: {error}"
                )));
                return BTreeMap::new();
            }
        };
        self.tell((!whole).then(|| {
            format!("more than {MAX_ENTRIES} files in the registry of plugins: the last ones are not looked at")
        }));
        found
    }

    fn tell(&mut self, what: Option<String>) {
        if let Some(what) = what
            .as_ref()
            .filter(|what| self.told.as_ref() != Some(*what))
        {
            tracing::warn!(path = %self.path.display(), "{what}");
        }
        self.told = what;
    }

    /// Waits until it may have changed, or is to be read again for other reasons.
    pub(super) async fn changed(&mut self) {
        let Some(watch) = self.watch.clone() else {
            return tokio::time::sleep(UNWATCHED_PERIOD).await;
        };
        if watch.changed(Instant::now() + PERIOD).await.is_err() {
            self.watch = None;
        }
    }
}

/// The sockets, and whether they are all. Blocks.
fn read(top: &Path, watch: Option<&Watch>) -> io::Result<(BTreeMap<PathBuf, Socket>, bool)> {
    let mut found = BTreeMap::new();
    let mut left = MAX_ENTRIES;
    let mut directories = vec![(top.to_owned(), 0)];
    while let Some((directory, depth)) = directories.pop() {
        if depth > 0
            && let Some(watch) = watch
            && let Err(error) = watch.add(&directory)
        {
            tracing::debug!(%error, path = %directory.display(), "cannot watch a directory of plugins");
        }
        let entries = match fs::read_dir(&directory) {
            Err(_) if depth > 0 => continue,
            entries => entries?,
        };
        for entry in entries {
            // What goes meanwhile is not there.
            let Ok(entry) = entry else { continue };
            if entry.file_name().as_encoded_bytes().starts_with(b".") {
                continue;
            }
            if left == 0 {
                return Ok((found, false));
            }
            left = left.saturating_sub(1);
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && depth < MAX_DEPTH {
                directories.push((entry.path(), depth.saturating_add(1)));
            } else if meta.file_type().is_socket() {
                let socket = Socket {
                    device: meta.dev(),
                    inode: meta.ino(),
                    made: (meta.mtime(), meta.mtime_nsec()),
                };
                found.insert(entry.path(), socket);
            }
        }
    }
    Ok((found, true))
}
