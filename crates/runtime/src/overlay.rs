//! Overlays of layers' directories.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount as mount_at};

/// mount(2) takes one page of options.
const MAX_OPTIONS_BYTES: usize = 4_000;
/// More layers than an overlay can have.
pub const MAX_LAYERS: usize = 200;

/// Where an overlay keeps what is written to it.
pub struct Writable<'a> {
    pub upper: &'a Path,
    pub work: &'a Path,
}

/// Mounts `layers` (lowest first) at `target`. Without a place for what is written it is read-only, for good, and needs two
/// layers at least.
pub fn mount(target: &Path, layers: &[PathBuf], writable: Option<&Writable<'_>>) -> io::Result<()> {
    let layers = distinct(layers);
    if layers.len() > MAX_LAYERS {
        return Err(io::Error::other(format!(
            "{} layers are more than {MAX_LAYERS}",
            layers.len()
        )));
    }
    let names = layers.iter().map(|path| path.display().to_string());
    let whole = options(names, writable);
    if whole.len() <= MAX_OPTIONS_BYTES {
        return mount_overlay(target, &whole, writable.is_none());
    }
    // Too long: name every directory by a descriptor.
    let open = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
            .open(path)
    };
    let opened = layers
        .iter()
        .map(|path| open(path))
        .collect::<io::Result<Vec<File>>>()?;
    let lower = opened
        .iter()
        .map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
    mount_overlay(target, &options(lower, writable), writable.is_none())
}

/// Topmost layer first, as overlayfs wants them, and each once: it refuses one that comes again. Images often have the same
/// layer more than once, the empty one above all. What a layer says, it says for whatever is below it, so that the topmost
/// place is the one that counts.
fn distinct(layers: &[PathBuf]) -> Vec<&Path> {
    let mut seen = HashSet::new();
    let topmost_first = layers.iter().rev().map(PathBuf::as_path);
    topmost_first.filter(|path| seen.insert(*path)).collect()
}

/// `lower` comes topmost layer first.
fn options(lower: impl Iterator<Item = String>, writable: Option<&Writable<'_>>) -> String {
    let lower: Vec<String> = lower.collect();
    let mut options = format!("lowerdir={}", lower.join(":"));
    if let Some(Writable { upper, work }) = writable {
        let (upper, work) = (upper.display(), work.display());
        options.push_str(&format!(",upperdir={upper},workdir={work}"));
    }
    options
}

/// `volatile` leaves out the syncs of unmounting: what a container wrote to its root does not outlive it.
fn mount_overlay(target: &Path, options: &str, readonly: bool) -> io::Result<()> {
    let flags = if readonly {
        MsFlags::MS_RDONLY
    } else {
        MsFlags::empty()
    };
    let attempt = |options: String| {
        let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
        let kind = Some("overlay");
        mount_at(kind, target, kind, flags, Some(options.as_c_str()))
    };
    if readonly {
        return Ok(attempt(options.to_owned())?);
    }
    match attempt(format!("{options},volatile")) {
        Err(Errno::EINVAL) => Ok(attempt(options.to_owned())?),
        outcome => Ok(outcome?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_counts_once_at_its_topmost_place() {
        let cases: [(&[&str], &[&str]); 4] = [
            (&[], &[]),
            (&["base", "top"], &["top", "base"]),
            (
                &["base", "empty", "x", "empty", "empty"],
                &["empty", "x", "base"],
            ),
            (&["a", "b", "a"], &["a", "b"]),
        ];
        for (layers, wanted) in cases {
            let layers: Vec<PathBuf> = layers.iter().map(PathBuf::from).collect();
            let wanted: Vec<&Path> = wanted.iter().map(Path::new).collect();
            assert_eq!(distinct(&layers), wanted);
        }
    }
}
