//! Archives of images in a directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Those whose names say that they are archives, in order.
pub fn in_directory(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut archives: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e == "tar" || e == "tgz" || e == "gz")
        })
        .collect();
    archives.sort();
    Ok(archives)
}
