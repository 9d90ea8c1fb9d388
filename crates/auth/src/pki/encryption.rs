//! The keys that Secrets are encrypted with in the store: one, and while it is being replaced the one before, which reads what it has
//! written.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use super::{
    ENCRYPTION_KEY, ENCRYPTION_KEY_BYTES, Error,
    files::{self, Durability, PRIVATE},
};

/// The one before. It goes when nothing needs it any more.
const REPLACED: &str = "secrets-encryption.replaced.key";

type Key = [u8; ENCRYPTION_KEY_BYTES];

/// Those of a directory.
pub struct EncryptionKeys {
    dir: PathBuf,
    /// The first one writes.
    keys: Mutex<Vec<Key>>,
}

impl EncryptionKeys {
    /// Reads them, and makes what is missing.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let current = files::encryption_key(&dir.join(ENCRYPTION_KEY))?;
        let replaced = dir.join(REPLACED);
        let mut keys = vec![current];
        match files::read_encryption_key(&replaced)? {
            // It was to be replaced, and was not.
            Some(same) if same == current => remove(&replaced)?,
            before => keys.extend(before),
        }
        Ok(Self {
            dir: dir.into(),
            keys: Mutex::new(keys),
        })
    }

    /// The one that writes, then the one that is being replaced.
    pub fn all(&self) -> Vec<Key> {
        self.keys.lock().clone()
    }

    /// Whether one is being replaced.
    pub fn is_replacing(&self) -> bool {
        self.keys.lock().len() > 1
    }

    /// Makes a key that writes from now on. While one is being replaced already, nothing.
    ///
    /// # Errors
    /// [`Error::Io`]; the keys are as they were then.
    pub fn replace(&self) -> Result<(), Error> {
        let mut keys = self.keys.lock();
        let &[current] = keys.as_slice() else {
            // That may have failed after the keys had changed: nothing is written with one that a power failure takes.
            return files::sync_dir(&self.dir);
        };
        // It has its second name for certain before it loses its first.
        let replaced = self.dir.join(REPLACED);
        files::write(&replaced, &current, PRIVATE, Durability::Synced)?;
        files::sync_dir(&self.dir)?;
        let made = files::make_encryption_key(&self.dir.join(ENCRYPTION_KEY))?;
        *keys = vec![made, current];
        files::sync_dir(&self.dir)
    }

    /// Forgets the key that was replaced.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn forget_replaced(&self) -> Result<(), Error> {
        let mut keys = self.keys.lock();
        remove(&self.dir.join(REPLACED))?;
        files::sync_dir(&self.dir)?;
        keys.truncate(1);
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(Error::Io {
            action: "remove",
            path: path.into(),
            source,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_replaced_and_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || EncryptionKeys::open(dir.path()).expect("keys");
        let keys = open();
        let [first] = keys.all()[..] else {
            panic!("one key");
        };
        keys.replace().expect("replaced");
        let [second, replaced] = keys.all()[..] else {
            panic!("two keys");
        };
        assert_eq!(replaced, first);
        assert_ne!(second, first);
        keys.replace().expect("nothing to do");
        assert_eq!(keys.all(), open().all(), "a restart goes on with both");
        assert!(open().is_replacing());
        keys.forget_replaced().expect("forgotten");
        assert_eq!((keys.all(), open().all()), (vec![second], vec![second]));
        // A crash before the new key was written.
        fs::write(dir.path().join(REPLACED), second).expect("a file");
        assert_eq!(open().all(), [second]);
        assert!(!dir.path().join(REPLACED).exists());
        // Or a damaged file: it may be the only key of something.
        fs::write(dir.path().join(REPLACED), "x").expect("a file");
        assert!(EncryptionKeys::open(dir.path()).is_err());
    }
}
