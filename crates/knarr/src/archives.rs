//! Archives of images in a directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// How the names of archives end.
const EXTENSIONS: [&str; 5] = ["tar", "tgz", "gz", "zst", "tzst"];

/// Those whose names say that they are archives, in order. What is no file is none: a FIFO would be waited for without end.
pub fn in_directory(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut archives: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
        })
        .filter(|path| path.is_file())
        .collect();
    archives.sort();
    Ok(archives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_no_archive() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("b.tar");
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("c.tgz")).unwrap();
        std::fs::create_dir(dir.path().join("d.tar")).unwrap();
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::unistd::mkfifo(&dir.path().join("a.tar"), mode).unwrap();
        let compressed = dir.path().join("airgap-images-amd64.tar.zst");
        std::fs::write(&compressed, "").unwrap();
        std::fs::write(dir.path().join("images.txt"), "").unwrap();
        let found = in_directory(dir.path()).unwrap();
        assert_eq!(found, [compressed, file, dir.path().join("c.tgz")]);
    }
}
