//! One instance a data directory: the lock, and the note by which `status` and `down` find a running one.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

/// What a running instance says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Note {
    pub pid: i32,
    pub api: String,
    pub kubeconfig: PathBuf,
    pub node_name: String,
    pub cgroup_root: PathBuf,
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
    /// Takes the lock. An error names the instance that has it.
    pub fn acquire(data_dir: &Path) -> Result<Self> {
        match Self::try_acquire(data_dir)? {
            Some(instance) => Ok(instance),
            None => match Note::read(data_dir)? {
                Some(note) => bail!(
                    "knarr already runs on {} (pid {}, API {}); use --data-dir for a second cluster",
                    data_dir.display(),
                    note.pid,
                    note.api
                ),
                None => bail!("knarr already starts on {}", data_dir.display()),
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
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => {
                Err(errno).with_context(|| format!("cannot lock {}", path.display()))
            }
        }
    }

    /// Leaves the note for others.
    pub fn publish(&mut self, note: &Note) -> Result<()> {
        let text = serde_json::to_string(note)?;
        self.lock.rewind()?;
        self.lock.set_len(0)?;
        self.lock.write_all(text.as_bytes())?;
        Ok(())
    }
}

impl Note {
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
        Ok(serde_json::from_str(&text).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_instance_learns_of_the_first() {
        let dir = std::env::temp_dir().join(format!("knarr-instance-{}", std::process::id()));
        make_data_dir(&dir).unwrap();
        let mut first = Instance::acquire(&dir).unwrap();
        let note = Note {
            pid: 7,
            api: "https://127.0.0.1:6443".to_owned(),
            kubeconfig: dir.join("admin.kubeconfig"),
            node_name: "a".to_owned(),
            cgroup_root: "/knarr".into(),
        };
        first.publish(&note).unwrap();
        let error = Instance::acquire(&dir).err().unwrap().to_string();
        assert!(
            error.contains("pid 7, API https://127.0.0.1:6443"),
            "{error}"
        );
        drop(first);
        Instance::acquire(&dir).unwrap();
        fs::remove_dir_all(&dir).unwrap();
    }
}
