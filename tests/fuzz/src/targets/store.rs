//! A store of images in a directory of its own, with something outside of it that must stay as it is.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use knarr_runtime::images::ImageStore;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::scratch;

/// In an input: the directory outside.
pub const OUTSIDE: &str = "%OUT%";
const STORE: &str = "store";

/// Beside the stores that inputs get, one after the other.
pub struct Place {
    dir: TempDir,
    before: Vec<String>,
}

impl Place {
    pub fn new() -> Self {
        let dir = scratch();
        let canary = dir.path().join("canary");
        fs::create_dir(&canary).expect("a directory");
        fs::write(canary.join("file"), "alive").expect("a file");
        std::os::unix::fs::symlink("file", canary.join("link")).expect("a link");
        let before = listing(&canary);
        Self { dir, before }
    }

    /// A new store, in the place of the one before.
    pub fn store(&self) -> ImageStore {
        let root = self.root();
        if root.exists() {
            fs::remove_dir_all(&root).expect("the store is removed");
        }
        fs::create_dir(&root).expect("a directory");
        ImageStore::open(root).expect("a store")
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join(STORE)
    }

    /// The text with the directory outside in it.
    pub fn name_outside(&self, text: &str) -> String {
        let outside = self.dir.path().join("canary");
        text.replace(OUTSIDE, &outside.to_string_lossy())
    }

    /// # Errors
    /// Something is not as it was outside of the store, or is left in its temporary directory.
    pub fn check(&self) -> Result<(), String> {
        let mut names: Vec<_> = fs::read_dir(self.dir.path())
            .expect("the directory")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        if names != ["canary", STORE] {
            return Err(format!("there are {names:?} outside"));
        }
        let after = listing(&self.dir.path().join("canary"));
        if after != self.before {
            return Err(format!("outside is {after:?}"));
        }
        match listing(&self.root().join("tmp")).len() {
            1 => Ok(()),
            _ => Err("something is left in the temporary directory".to_owned()),
        }
    }
}

/// Everything below a directory, with all that can be seen of it from outside.
pub fn listing(path: &Path) -> Vec<String> {
    let meta = fs::symlink_metadata(path).expect("what is listed");
    let content = match meta.is_file() {
        true if meta.len() < 1_024 => fs::read(path).unwrap_or_default(),
        _ => Vec::new(),
    };
    let mut all = vec![format!(
        "{} {:o} {}:{} {} {} {content:?}",
        path.display(),
        meta.mode(),
        meta.uid(),
        meta.gid(),
        meta.nlink(),
        meta.mtime(),
    )];
    if meta.is_dir() {
        let mut paths: Vec<PathBuf> = fs::read_dir(path)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        paths.sort();
        all.extend(paths.iter().flat_map(|path| listing(path)));
    }
    all
}

/// The digest of some bytes, 64 hexadecimal digits.
pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
