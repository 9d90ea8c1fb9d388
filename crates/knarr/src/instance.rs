//! One instance a data directory: the lock, and the note by which `status` and `down` find a running one.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    sys::signal::kill,
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// How long the lock of an instance that is dead is waited for, and how often it is looked at.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(2);
const ORPHAN_POLL: Duration = Duration::from_millis(10);

/// What a running instance says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    pub pid: i32,
    pub api: String,
    pub kubeconfig: PathBuf,
    pub node_name: String,
    pub cgroup_root: PathBuf,
    /// Set when another runtime than the embedded one has the pods.
    #[serde(default)]
    pub foreign_runtime: Option<ForeignRuntime>,
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

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("knarr.lock")
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
            if Note::read(data_dir)?.is_none_or(|note| note.lives()) {
                break;
            }
            thread::sleep(ORPHAN_POLL);
        }
        match Self::try_acquire(data_dir)? {
            Some(instance) => Ok(instance),
            None => match Note::read(data_dir)? {
                Some(note) if note.lives() => bail!(
                    "knarr already runs on {} (pid {}, API {}); use --data-dir for a second cluster",
                    data_dir.display(),
                    note.pid,
                    note.api
                ),
                _ => bail!("knarr already starts on {}", data_dir.display()),
            },
        }
    }

    /// The lock, or `None` while another process holds it.
    pub fn try_acquire(data_dir: &Path) -> Result<Option<Self>> {
        let path = path(data_dir);
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

    /// Leaves the note for others.
    pub fn publish(&mut self, note: &Note) -> Result<()> {
        let text = serde_json::to_string(note)?;
        // In this order there is a whole note at every moment, maybe with a rest of the last one behind it.
        self.lock.rewind()?;
        self.lock.write_all(text.as_bytes())?;
        self.lock.set_len(text.len() as u64)?;
        Ok(())
    }
}

impl Note {
    /// Whether its process is there.
    fn lives(&self) -> bool {
        kill(Pid::from_raw(self.pid), None) != Err(Errno::ESRCH)
    }

    /// The note of the last instance, which may have ended.
    pub fn read(data_dir: &Path) -> Result<Option<Self>> {
        let path = path(data_dir);
        let mut text = String::new();
        match File::open(&path) {
            Ok(mut file) => file.read_to_string(&mut text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut notes = serde_json::Deserializer::from_str(&text).into_iter();
        Ok(notes.next().and_then(Result::ok))
    }
}

#[cfg(test)]
mod tests;
