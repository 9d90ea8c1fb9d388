//! Files that an administrator writes and a process reads: within a limit, and again when they have changed.
//!
//! The limit is one of what is read and not of what a file says of itself, so that a device or a file that grows costs no more.
//! Following looks every few seconds: editors replace files, configuration maps replace directories of links, and what notifies of
//! both misses what happens below a mount.

use std::{
    fs::{self, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often it is looked whether a file has changed.
const FOLLOW_PERIOD: Duration = Duration::from_secs(2);

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path}: {why}")]
    Invalid { path: PathBuf, why: String },
}

/// Takes out of a file's tree what is null: to Go such a field is not there, however deep it stands.
pub fn drop_nulls(tree: &mut Value) {
    match tree {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// A file and how much of it is read, bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    path: PathBuf,
    limit: u64,
}

impl ConfigFile {
    pub fn new(path: &Path, limit: u64) -> Self {
        let path = path.to_owned();
        Self { path, limit }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All of it.
    ///
    /// # Errors
    /// Where it cannot be read, or has more than its limit.
    pub fn read(&self) -> Result<Vec<u8>, Error> {
        let unreadable = |source| Error::Read {
            path: self.path.clone(),
            source,
        };
        let mut bytes = Vec::new();
        let file = File::open(&self.path).map_err(unreadable)?;
        let mut within = file.take(self.limit.saturating_add(1));
        within.read_to_end(&mut bytes).map_err(unreadable)?;
        match bytes.len() as u64 > self.limit {
            true => Err(self.invalid(format!("more than {} bytes", self.limit))),
            false => Ok(bytes),
        }
    }

    /// What it says; `parse` fails with the reason.
    ///
    /// # Errors
    /// Where it cannot be read, or says nothing that means something.
    pub fn parse<T>(&self, parse: impl FnOnce(&[u8]) -> Result<T, String>) -> Result<T, Error> {
        parse(&self.read()?).map_err(|why| self.invalid(why))
    }

    /// As [`Self::parse`], for what is text.
    ///
    /// # Errors
    /// As there, and where it is no UTF-8.
    pub fn parse_text<T>(&self, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<T, Error> {
        self.parse(|bytes| parse(std::str::from_utf8(bytes).map_err(|error| error.to_string())?))
    }

    /// Follows it from what it has now. Within a runtime.
    pub fn follow(&self) -> Follower {
        let mut look = interval(FOLLOW_PERIOD);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Follower {
            seen: self.fingerprint(),
            file: self.clone(),
            look,
        }
    }

    fn invalid(&self, why: String) -> Error {
        let path = self.path.clone();
        Error::Invalid { path, why }
    }

    /// Changes with the contents. Always the same for what cannot be read, and for what would be used up by reading it.
    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let regular = fs::metadata(&self.path).is_ok_and(|found| found.is_file());
        if regular && let Ok(bytes) = self.read() {
            bytes.hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// Tells when a file has changed.
#[derive(Debug)]
pub struct Follower {
    file: ConfigFile,
    seen: u64,
    look: Interval,
}

impl Follower {
    /// Waits until it has other contents than when this was last said. Nothing is lost when the wait is given up.
    pub async fn changed(&mut self) {
        loop {
            self.look.tick().await;
            let now = self.file.fingerprint();
            if now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_file_is_read_within_its_limit() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        let file = ConfigFile::new(&path, 4);
        let error = file.read().unwrap_err().to_string();
        assert!(error.starts_with("cannot read"), "{error}");
        fs::write(&path, "four").unwrap();
        assert_eq!(file.read().unwrap(), b"four");
        fs::write(&path, "fives").unwrap();
        let error = file.read().unwrap_err().to_string();
        assert!(error.ends_with("more than 4 bytes"), "{error}");
        // It says that it has none.
        let endless = ConfigFile::new(Path::new("/dev/zero"), 4);
        assert!(endless.read().is_err());
    }

    #[test]
    fn what_means_nothing_is_told_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, [0xff]).unwrap();
        let file = ConfigFile::new(&path, 4);
        let refused = file.parse(|_| Err::<(), _>("no sense".to_owned()));
        assert_eq!(
            refused.unwrap_err().to_string(),
            format!("{}: no sense", path.display())
        );
        assert!(file.parse_text(|text| Ok(text.to_owned())).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_once() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("file");
        fs::write(&path, "a").unwrap();
        let mut follower = ConfigFile::new(&path, 4).follow();
        let soon = FOLLOW_PERIOD.saturating_mul(3);
        assert!(timeout(soon, follower.changed()).await.is_err());
        fs::write(&path, "b").unwrap();
        timeout(soon, follower.changed()).await.unwrap();
        assert!(timeout(soon, follower.changed()).await.is_err());
    }
}
