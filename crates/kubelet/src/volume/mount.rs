//! The few mounts the kubelet makes itself, and finding them again.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use knarr_host::mounts;
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

/// Mounts a file system of huge pages of `page_size` bytes.
pub(crate) fn huge_pages(path: &Path, page_size: i64) -> io::Result<()> {
    let options = format!("pagesize={page_size}");
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("nodev"),
        path,
        Some("hugetlbfs"),
        flags,
        Some(options.as_str()),
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

/// Whether the table has a mount at just `path`, also one of a directory onto itself or of another on the same disk. What is not
/// there is none.
pub(crate) fn is_mounted(path: &Path) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(true);
    };
    let point = match parent.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        parent => parent?.join(name),
    };
    Ok(mounts::table()?.iter().any(|mount| mount.point == point))
}

/// Mount points below `dir` in the order they were made.
pub(super) fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = match dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let points = mounts::table()?.into_iter().map(|mount| mount.point);
    Ok(points.filter(|point| point.starts_with(&dir)).collect())
}
