//! The few mounts the kubelet makes itself, and finding them again.

use std::{
    fs, io,
    os::unix::{ffi::OsStringExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Whether something is mounted exactly at `path`.
pub(crate) fn is_mount(path: &Path) -> io::Result<bool> {
    let Some(parent) = path.parent() else {
        return Ok(true);
    };
    Ok(fs::symlink_metadata(path)?.dev() != fs::symlink_metadata(parent)?.dev())
}

/// Mounts a tmpfs, of at most `size` bytes when that is given.
pub(crate) fn tmpfs(path: &Path, size: Option<i64>) -> io::Result<()> {
    let options = size.filter(|s| *s > 0).map(|s| format!("size={s}"));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        path,
        Some("tmpfs"),
        flags,
        options.as_deref(),
    )?;
    Ok(())
}

/// Binds `source` onto `target`.
pub(crate) fn bind(source: &Path, target: &Path) -> io::Result<()> {
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )?;
    Ok(())
}

/// Unmounts everything below `dir`, the deepest first.
pub(crate) fn unmount_below(dir: &Path) -> io::Result<()> {
    for target in below(dir)?.into_iter().rev() {
        if let Err(error) = umount2(&target, MntFlags::UMOUNT_NOFOLLOW) {
            tracing::debug!(%error, target = %target.display(), "mount is busy, detaching it");
            umount2(&target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?;
        }
    }
    Ok(())
}

/// Whether anything is mounted below `dir`.
pub(crate) fn any_below(dir: &Path) -> io::Result<bool> {
    Ok(!below(dir)?.is_empty())
}

/// Mount points below `dir` in the order they were made.
fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = match dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let targets = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape);
    Ok(targets.filter(|target| target.starts_with(&dir)).collect())
}

/// Undoes the kernel's octal escapes (`\040` is a space).
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = (bytes[at] == b'\\')
            .then(|| text.get(at + 1..at + 4))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    PathBuf::from(std::ffi::OsString::from_vec(out))
}
