//! Records that are whole or not there, whatever happens in between. What says what it should is left as it is, which needs no room on the
//! disk: a node starts again where there is none.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use rustix::fs::syncfs;

/// Writes a file so that a reader sees the old one or the whole new one. A power failure may leave it empty or torn: for
/// what concerns the processes of this boot only.
///
/// # Errors
/// Those of the kernel, here as below.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if says(path, bytes) {
        return Ok(());
    }
    let temporary = temporary(path);
    fs::write(&temporary, bytes)?;
    fs::rename(&temporary, path)
}

/// As [`write_atomically`], and it is there after a power failure once this has returned.
pub fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if says(path, bytes) {
        File::open(path)?.sync_data()?;
    } else {
        let temporary = temporary(path);
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&temporary, path)?;
    }
    match path.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

/// Makes names that were made, renamed or removed in a directory last.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes everything last that was written to a path's file system so far.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(syncfs(File::open(path)?)?)
}

/// Whether a file is there and has just these bytes.
fn says(path: &Path, bytes: &[u8]) -> bool {
    let same_length = fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && found.len() == bytes.len() as u64);
    same_length && fs::read(path).is_ok_and(|found| found == bytes)
}

fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn what_says_what_it_should_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        for write in [write_atomically, write_durably] {
            let path = dir.path().join("record");
            let inode = || fs::metadata(&path).unwrap().ino();
            write(&path, b"one").unwrap();
            // Kept open, so that its number is nobody else's.
            let _first = File::open(&path).unwrap();
            let first = inode();
            write(&path, b"one").unwrap();
            assert_eq!(inode(), first);
            write(&path, b"two").unwrap();
            assert_ne!(inode(), first);
            assert_eq!(fs::read(&path).unwrap(), b"two");
        }
    }
}
