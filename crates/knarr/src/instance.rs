//! One instance a data directory: the lock, the identity that what it makes on the host bears, and the record by which `status`
//! and `down` find a running one.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use knarr_cni::InstanceId;
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use serde::{Deserialize, Serialize};

/// How long the lock of an instance that is dead is waited for, and how often it is looked at.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(2);
const ORPHAN_POLL: Duration = Duration::from_millis(10);

const LOCK: &str = "knarr.lock";
const IDENTITY: &str = "instance";

/// What an instance says of itself: first when it has made nothing yet, so that `down` finds what it makes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Whether it serves.
    #[serde(default)]
    pub ready: bool,
    pub pid: i32,
    /// Of an agent: where its servers are.
    pub api: String,
    /// None of an agent.
    #[serde(default)]
    pub kubeconfig: Option<PathBuf>,
    /// The cluster's own control group.
    pub cgroup_root: PathBuf,
    /// The kubelet's root directory, where it is not within the data directory.
    #[serde(default)]
    pub root_dir: Option<PathBuf>,
    /// Where the node's rules, routes and links are.
    #[serde(default)]
    pub network: Option<NetworkNamespace>,
    /// Set when another runtime than the embedded one has the pods.
    #[serde(default)]
    pub foreign_runtime: Option<ForeignRuntime>,
}

/// A network namespace, as the kernel tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkNamespace {
    device: u64,
    inode: u64,
}

/// Where `down` finds the pods of a cluster whose runtime is not a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForeignRuntime {
    /// The CRI endpoint.
    pub endpoint: String,
    /// What the kubelet wrote into [`knarr_kubelet::OWNER_LABEL`] of its sandboxes.
    pub owner: String,
}

/// The lock of a data directory; released when dropped, also by the kernel.
pub struct Instance {
    lock: Flock<File>,
}

/// Where the lock of a data directory is.
pub fn lock_path(data_dir: &Path) -> PathBuf {
    data_dir.join(LOCK)
}

/// Where the data directories of a cluster's further nodes on this machine are.
pub fn of_nodes(data_dir: &Path) -> PathBuf {
    data_dir.join("nodes")
}

/// The data directory of one of them.
pub fn of_node(data_dir: &Path, node: &str) -> PathBuf {
    of_nodes(data_dir).join(node)
}

/// Whether a directory is some cluster's data directory.
pub fn is_data_dir(dir: &Path) -> bool {
    lock_path(dir).is_file()
}

/// Makes a data directory one that is nobody's: what is stored in it stays, with its identity, and may be used again.
pub fn give_up(data_dir: &Path) -> Result<()> {
    let path = lock_path(data_dir);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// The identity of the cluster of a data directory; none before it was started for the first time.
pub fn identity(data_dir: &Path) -> Result<Option<InstanceId>> {
    let path = data_dir.join(IDENTITY);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let id = text.trim().parse();
    id.map(Some).with_context(|| {
        format!(
            "{} is damaged; after a reboot nothing bears the identity, and it may be deleted",
            path.display()
        )
    })
}

/// Makes the data directory, readable by its owner only.
pub fn make_data_dir(data_dir: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .with_context(|| format!("cannot make the data directory {}", data_dir.display()))
}

impl Instance {
    /// Takes the lock. An error names the instance that has it. Blocks for a moment when that one has just been killed.
    pub fn acquire(data_dir: &Path) -> Result<Self> {
        let deadline = Instant::now() + ORPHAN_TIMEOUT;
        // A process that the killed one was about to start holds its files until it has become another program.
        while Instant::now() < deadline {
            if let Some(instance) = Self::try_acquire(data_dir)? {
                return Ok(instance);
            }
            if Record::read(data_dir)?.is_none_or(|record| record.lives(data_dir)) {
                break;
            }
            thread::sleep(ORPHAN_POLL);
        }
        match Self::try_acquire(data_dir)? {
            Some(instance) => Ok(instance),
            None => match Record::read(data_dir)? {
                Some(record) if record.ready && record.lives(data_dir) => bail!(
                    "knarr already runs on {} (pid {}, API {}); use --data-dir for a second cluster",
                    data_dir.display(),
                    record.pid,
                    record.api
                ),
                _ => bail!("knarr already starts on {}", data_dir.display()),
            },
        }
    }

    /// The lock, or `None` while another process holds it.
    pub fn try_acquire(data_dir: &Path) -> Result<Option<Self>> {
        let path = lock_path(data_dir);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(Some(Self { lock })),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => {
                Err(errno).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// The cluster's identity, chosen at its first start. On disk before anything can bear it.
    pub fn identity(&self, data_dir: &Path) -> Result<InstanceId> {
        if let Some(id) = identity(data_dir)? {
            return Ok(id);
        }
        let path = data_dir.join(IDENTITY);
        let make = || -> std::io::Result<InstanceId> {
            let id = InstanceId::random()?;
            let temporary = path.with_extension("new");
            let mut file = File::create(&temporary)?;
            writeln!(file, "{id}")?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            File::open(data_dir)?.sync_all()?;
            Ok(id)
        };
        make().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Leaves the record for others.
    pub fn publish(&mut self, record: &Record) -> Result<()> {
        let text = serde_json::to_string(record)?;
        // In this order there is a whole record at every moment, maybe with a rest of the last one behind it.
        self.lock.rewind()?;
        self.lock.write_all(text.as_bytes())?;
        self.lock.set_len(text.len() as u64)?;
        Ok(())
    }
}

impl Record {
    /// Whether its process is there: the one of that id that has the lock's file open. The id alone may be anybody's by now, or
    /// of another pid namespace.
    pub fn lives(&self, data_dir: &Path) -> bool {
        let Ok(lock) = fs::metadata(lock_path(data_dir)) else {
            return false;
        };
        let files = fs::read_dir(format!("/proc/{}/fd", self.pid));
        files.into_iter().flatten().flatten().any(|file| {
            fs::metadata(file.path())
                .is_ok_and(|file| (file.dev(), file.ino()) == (lock.dev(), lock.ino()))
        })
    }

    /// The record of the last instance, which may have ended.
    pub fn read(data_dir: &Path) -> Result<Option<Self>> {
        let path = lock_path(data_dir);
        let mut text = String::new();
        match File::open(&path) {
            Ok(mut file) => file.read_to_string(&mut text)?,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut notes = serde_json::Deserializer::from_str(&text).into_iter();
        Ok(notes.next().and_then(Result::ok))
    }
}

impl NetworkNamespace {
    /// The calling thread's.
    pub fn current() -> Result<Self> {
        Self::at(Path::new("/proc/thread-self/ns/net"))
            .context("cannot read which network namespace this is")
    }

    /// By which path it can be entered, if anything still holds it.
    pub fn find(self) -> Option<PathBuf> {
        let below = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten();
        let named = below("/run/netns").map(|entry| entry.path());
        let held = below("/proc").map(|entry| entry.path().join("ns/net"));
        named
            .chain(held)
            .find(|path| Self::at(path).is_ok_and(|found| found == self))
    }

    fn at(path: &Path) -> std::io::Result<Self> {
        let file = fs::metadata(path)?;
        Ok(Self {
            device: file.dev(),
            inode: file.ino(),
        })
    }
}

/// Fails where the cluster's network is not: what a command would do to it would be done to another.
pub fn here(data_dir: &Path, record: Option<&Record>, command: &str) -> Result<()> {
    let Some(network) = record.and_then(|record| record.network) else {
        return Ok(());
    };
    if network == NetworkNamespace::current()? {
        return Ok(());
    }
    match network.find() {
        Some(path) => bail!(
            "this cluster is in another network namespace; run this there: nsenter --net={} knarr {command} --data-dir {}",
            path.display(),
            data_dir.display()
        ),
        // The namespace has ended, and all that was in it.
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
