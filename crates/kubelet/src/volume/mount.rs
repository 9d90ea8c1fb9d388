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
    Ok(table()?.iter().any(|mount| mount.point == point))
}

/// Mount points below `dir` in the order they were made.
fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = match dir.canonicalize() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let points = table()?.into_iter().map(|mount| mount.point);
    Ok(points.filter(|point| point.starts_with(&dir)).collect())
}

/// A line of the kernel's table of mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub point: PathBuf,
    /// Whether mounts below it propagate to its peers.
    pub shared: bool,
}

/// All mounts in the order they were made.
pub(crate) fn table() -> io::Result<Vec<Mount>> {
    table_of("/proc/self/mountinfo")
}

pub(crate) fn table_of(path: &str) -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string(path)?;
    Ok(text.lines().filter_map(parse).collect())
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/root rw`: between options and dash there are any number of tags.
fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let point = unescape(fields.nth(4)?);
    let mut tags = fields.skip(1).take_while(|tag| *tag != "-");
    let shared = tags.any(|tag| tag.starts_with("shared:"));
    Some(Mount { point, shared })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_are_read() {
        for (line, point, shared) in [
            ("27 1 8:1 / / rw - ext4 /dev/a rw", "/", false),
            (
                "36 35 98:0 / /a\\040b rw master:2 shared:1 - ext3 /dev/root shared:9",
                "/a b",
                true,
            ),
            (
                "36 35 98:0 / /m rw master:2 - ext3 shared:3 rw",
                "/m",
                false,
            ),
        ] {
            let point = PathBuf::from(point);
            assert_eq!(parse(line), Some(Mount { point, shared }), "{line}");
        }
        assert_eq!(parse("1 2"), None);
    }
}
