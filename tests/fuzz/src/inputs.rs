//! Inputs in files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;

/// An input that takes longer is a finding: its sender spends nothing.
pub const SLOW: Duration = Duration::from_secs(10);

/// The folder of a kind (`corpus`, `findings`) of a target.
pub fn folder(kind: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(kind)
        .join(target)
}

/// Writes an input under a name made of its content.
///
/// # Errors
/// When it cannot be written.
pub fn save(folder: &Path, input: &[u8]) -> Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    fs::create_dir_all(folder)?;
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    let path = folder.join(format!("{:016x}", hasher.finish()));
    fs::write(&path, input)?;
    Ok(path)
}
