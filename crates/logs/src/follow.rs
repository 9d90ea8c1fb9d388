//! Following the logs of a node: which directories there are, which have changed, whose they are.
//!
//! ```text
//! logs/pods/                           watched for pods
//!   <namespace>_<name>_<uid>/          watched for containers
//!     <container>/                     watched for names and for what is written
//!       <restart>.log[.<time>]         read from where it was read up to
//! ```
//!
//! Containers of pods with the right volume write here, so that directories and files are opened one below the other, without
//! links, and everything has a limit. An event says where to look; what is there says what to do. Nothing is looked at otherwise, but
//! after events were lost.

mod container;
mod file;
mod joiner;
mod line;
mod pace;
mod pods;
mod watcher;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use knarr_host::Directory;
use rustix::fs::FileType;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use self::{
    container::{Container, Turn},
    pace::Pace,
    watcher::{Change, Watch, Watcher},
};
pub use self::{pace::BYTES_PER_SECOND, pods::Pods};
use crate::{
    positions::{FileId, Positions},
    record::Source,
    store::Store,
};

/// Events are collected for so long before files are read.
const PAUSE: Duration = Duration::from_millis(100);
/// A container that was held back is read on after this.
const HOLD: Duration = Duration::from_millis(250);
/// What was written is brought to the disk, and positions are saved, so long after it.
const SAVE: Duration = Duration::from_secs(5);
/// What was left out is told so often at most.
const TELL: Duration = Duration::from_secs(60);
/// Old segments are looked for so often.
const TRIM: Duration = Duration::from_secs(600);
/// Directories that are watched. A node has a few hundred.
const MAX_WATCHES: usize = 8_192;

/// What is followed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of all pods' logs.
    pub pods: PathBuf,
    /// The node's own log, where it is a file.
    pub own: Option<PathBuf>,
    /// Most that is read of a container, bytes a second.
    pub rate: u64,
}

/// What a watched directory is.
#[derive(Clone, Debug)]
enum Watched {
    Root,
    Pod(PathBuf),
    /// By its path below the root; the node's own has an empty one.
    Container(PathBuf),
}

pub struct Follower {
    settings: Settings,
    store: Arc<Store>,
    pods: Pods,
    positions: Positions,
    watcher: Watcher,
    root: Directory,
    watches: HashMap<Watch, Watched>,
    /// Names of pods' directories that are watched.
    known: HashSet<PathBuf>,
    containers: BTreeMap<PathBuf, Container>,
    /// Files to be read, directories whose names changed, and those that are gone.
    written: HashSet<PathBuf>,
    listed: HashSet<PathBuf>,
    gone: Vec<Container>,
    /// Bytes that were left out since it was told, by pod.
    skipped: BTreeMap<String, u64>,
    save_at: Option<Instant>,
    tell_at: Instant,
}

impl Follower {
    /// # Errors
    /// Those of the kernel.
    pub fn new(
        settings: Settings,
        store: Arc<Store>,
        pods: Pods,
        positions: Positions,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(&settings.pods)?;
        Ok(Self {
            root: Directory::open(&settings.pods)?,
            settings,
            store,
            pods,
            positions,
            watcher: Watcher::new()?,
            watches: HashMap::new(),
            known: HashSet::new(),
            containers: BTreeMap::new(),
            written: HashSet::new(),
            listed: HashSet::new(),
            gone: Vec::new(),
            skipped: BTreeMap::new(),
            save_at: None,
            tell_at: Instant::now(),
        })
    }

    /// Follows until the token is cancelled, and saves then what it knows.
    pub async fn run(mut self, token: CancellationToken) {
        self.watch_all();
        self.forget_others();
        let mut trim_at = Instant::now() + TRIM;
        loop {
            let is_held_back = self.pass(&token).await;
            let pause = if is_held_back { HOLD } else { PAUSE };
            if token.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
            let soon = Instant::now();
            let wake = if is_held_back {
                soon
            } else {
                self.save_at.unwrap_or(trim_at)
            };
            tokio::select! {
                () = token.cancelled() => break,
                changes = self.watcher.changes() => match changes {
                    Ok(changes) => changes.into_iter().for_each(|change| self.note(change)),
                    Err(error) => tracing::warn!(%error, "cannot wait for logs"),
                },
                () = sleep_until(wake.min(trim_at)) => {}
            }
            if self.save_at.is_some_and(|at| at <= Instant::now()) {
                self.save();
            }
            if trim_at <= Instant::now() {
                self.store.trim(jiff::Timestamp::now());
                trim_at = Instant::now() + TRIM;
            }
        }
        self.save();
    }

    fn note(&mut self, change: Change) {
        match change {
            Change::Everything => self.watch_all(),
            Change::Gone(watch) => match self.watches.remove(&watch) {
                Some(Watched::Pod(name)) => {
                    self.known.remove(&name);
                    self.watch_containers(&name);
                }
                Some(Watched::Container(path)) => self.gone.extend(self.containers.remove(&path)),
                Some(Watched::Root) | None => {}
            },
            Change::Written(watch, name) => {
                if let Some(Watched::Container(path)) = self.watches.get(&watch)
                    && self.containers.get(path).is_some_and(|c| c.is_log(&name))
                {
                    self.written.insert(path.clone());
                }
            }
            Change::Names(watch) => match self.watches.get(&watch).cloned() {
                Some(Watched::Root) => self.watch_pods(),
                Some(Watched::Pod(name)) => self.watch_containers(&name),
                Some(Watched::Container(path)) => {
                    self.listed.insert(path);
                }
                None => {}
            },
        }
    }

    /// Watches everything that is there; what is watched already is only looked at again.
    fn watch_all(&mut self) {
        if self.watches.is_empty() {
            match self.watcher.add(&self.root) {
                Ok(watch) => {
                    self.watches.insert(watch, Watched::Root);
                }
                Err(error) => tracing::warn!(%error, "cannot watch the logs of pods"),
            }
            self.watch_own();
        }
        self.watch_pods();
        let known: Vec<PathBuf> = self.known.iter().cloned().collect();
        for pod in known {
            self.watch_containers(&pod);
        }
        self.listed.extend(self.containers.keys().cloned());
    }

    fn watch_own(&mut self) {
        let Some(path) = self.settings.own.clone() else {
            return;
        };
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return;
        };
        let watched = Directory::open(parent).and_then(|directory| {
            let watch = self.watcher.add(&directory)?;
            Ok((directory, watch))
        });
        match watched {
            Ok((directory, watch)) => {
                let source = Source {
                    container: "knarr".to_owned(),
                    ..Source::default()
                };
                let pace = Pace::new(self.settings.rate);
                let own = Container::of_node(directory, name, source, pace);
                self.hold(watch, PathBuf::new(), own);
            }
            Err(error) => tracing::warn!(%error, "the node's own log is not followed"),
        }
    }

    fn hold(&mut self, watch: Watch, path: PathBuf, container: Container) {
        self.watches.insert(watch, Watched::Container(path.clone()));
        self.listed.insert(path.clone());
        self.containers.insert(path, container);
    }

    fn watch_pods(&mut self) {
        let names = directories(&self.root).unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot list the logs of pods");
            Vec::new()
        });
        for name in names {
            let name = PathBuf::from(name);
            if self.known.contains(&name) || pods::parse(&name).is_none() {
                continue;
            }
            let watched = self
                .root
                .child(&name)
                .and_then(|pod| self.watcher.add(&pod));
            if let Some(watch) = self.is_watched(watched) {
                self.watches.insert(watch, Watched::Pod(name.clone()));
                self.known.insert(name.clone());
                self.watch_containers(&name);
            }
        }
    }

    fn watch_containers(&mut self, pod: &Path) {
        let Some(mut source) = pods::parse(pod) else {
            return;
        };
        let opened = self.root.child(pod);
        let listed = opened.and_then(|directory| Ok((directories(&directory)?, directory)));
        let (names, directory) = match listed {
            Ok(listed) => listed,
            Err(error) => {
                if error.kind() == io::ErrorKind::NotFound {
                    self.leave_others(pod, &[]);
                }
                return;
            }
        };
        self.leave_others(pod, &names);
        for name in names {
            let path = pod.join(&name);
            if self.containers.contains_key(&path) {
                continue;
            }
            let below = directory.child(Path::new(&name));
            let watched = below.and_then(|below| Ok((self.watcher.add(&below)?, below)));
            if let Some((watch, below)) = self.is_watched(watched) {
                source.container = name.to_string_lossy().into_owned();
                let pace = Pace::new(self.settings.rate);
                let container = Container::of_pod(below, source.clone(), pace);
                self.hold(watch, path, container);
            }
        }
    }

    /// Lets go of a pod's containers but these. A directory that is open has no event of its own when it is removed.
    fn leave_others(&mut self, pod: &Path, names: &[OsString]) {
        let of_pod = self.containers.range(pod.to_owned()..);
        let gone: Vec<PathBuf> = of_pod
            .map(|(path, _)| path)
            .take_while(|path| path.starts_with(pod))
            .filter(|path| !names.iter().any(|name| path.file_name() == Some(name)))
            .cloned()
            .collect();
        for path in gone {
            let is_of =
                |watched: &Watched| matches!(watched, Watched::Container(of) if *of == path);
            self.watches.retain(|_, watched| !is_of(watched));
            self.gone.extend(self.containers.remove(&path));
        }
    }

    /// Says why a directory is not followed.
    fn is_watched<T>(&self, watched: io::Result<T>) -> Option<T> {
        match watched {
            Ok(_) if self.watches.len() >= MAX_WATCHES => {
                tracing::warn!("too many directories of logs, one is not followed");
                None
            }
            Ok(watched) => Some(watched),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "a directory of logs is not followed");
                None
            }
        }
    }

    /// Reads what has changed; whether something waits until more may be read of it.
    async fn pass(&mut self, token: &CancellationToken) -> bool {
        for path in std::mem::take(&mut self.listed) {
            if let Some(container) = self.containers.get_mut(&path) {
                if let Err(error) = container.list(&self.positions) {
                    tracing::warn!(%error, log = %path.display(), "cannot list logs");
                }
                self.written.insert(path);
            }
        }
        let mut held_back = HashSet::new();
        while !self.written.is_empty() && !token.is_cancelled() {
            for path in std::mem::take(&mut self.written) {
                let turn = self.read(&path);
                if turn.has_more {
                    self.written.insert(path);
                } else if turn.is_held_back {
                    held_back.insert(path);
                }
                // Outputs and others on this thread.
                tokio::task::yield_now().await;
            }
        }
        self.written.extend(held_back);
        self.finish_gone();
        self.tell();
        !self.written.is_empty() || !self.gone.is_empty()
    }

    fn read(&mut self, path: &Path) -> Turn {
        let Some(container) = self.containers.get_mut(path) else {
            return Turn::default();
        };
        if !container.is_known {
            container.is_known = self.pods.complete(&mut container.source);
        }
        let name = container.source.pod.clone();
        let turn = container.read(&self.store, &mut self.positions);
        self.after(turn, name)
    }

    fn finish_gone(&mut self) {
        for mut container in std::mem::take(&mut self.gone) {
            let name = container.source.pod.clone();
            let turn = container.finish(&self.store, &mut self.positions);
            let turn = self.after(turn, name);
            if turn.has_more || turn.is_held_back {
                self.gone.push(container);
            }
        }
    }

    fn after(&mut self, turn: io::Result<Turn>, pod: String) -> Turn {
        let turn = turn.unwrap_or_else(|error| {
            tracing::warn!(%error, pod, "cannot read a log");
            Turn::default()
        });
        if turn.skipped > 0 {
            let skipped = &self.store.counts.skipped;
            skipped.fetch_add(turn.skipped, Ordering::Relaxed);
            *self.skipped.entry(pod).or_default() += turn.skipped;
        }
        // The positions that were in the head's file are gone with it.
        if turn.is_sealed
            && let Err(error) = self.positions.keep()
        {
            tracing::warn!(%error, "cannot save how far logs have been read");
        }
        if self.positions.is_dirty() && self.save_at.is_none() {
            self.save_at = Some(Instant::now() + SAVE);
        }
        turn
    }

    fn save(&mut self) {
        self.save_at = None;
        let saved = self.store.sync().and_then(|()| self.positions.save());
        if let Err(error) = saved {
            tracing::warn!(%error, "cannot save how far logs have been read");
        }
    }

    /// Says whose lines were left out.
    fn tell(&mut self) {
        if self.skipped.is_empty() || self.tell_at > Instant::now() {
            return;
        }
        self.tell_at = Instant::now() + TELL;
        let rate = self.settings.rate;
        for (pod, bytes) in std::mem::take(&mut self.skipped) {
            tracing::warn!(
                pod,
                bytes,
                rate,
                "a log was left out in part: it has more than may be read of it"
            );
        }
    }

    /// Forgets how far files were read that are gone.
    fn forget_others(&mut self) {
        let mut there: HashSet<FileId> = HashSet::new();
        for container in self.containers.values_mut() {
            if container.list(&self.positions).is_ok() {
                there.extend(container.ids());
            }
        }
        self.positions.retain(|file| there.contains(file));
    }
}

/// The names of directories in a directory.
fn directories(directory: &Directory) -> io::Result<Vec<OsString>> {
    let entries = directory.entries()?.into_iter();
    let directories = entries.filter(|(_, kind)| *kind == FileType::Directory);
    Ok(directories.map(|(name, _)| name).collect())
}

#[cfg(test)]
mod tests;
