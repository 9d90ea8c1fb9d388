//! Overlays of layers' directories.

use std::collections::HashSet;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
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
    let written = writable.map(|places| (places.upper, places.work));
    let whole = options(names, written);
    let named = layers.iter().copied();
    let mut named = named.chain(written.into_iter().flat_map(|(upper, work)| [upper, work]));
    if whole.len() <= MAX_OPTIONS_BYTES && !named.any(is_split) {
        return mount_overlay(target, &whole, writable.is_none());
    }
    // Name every directory by a descriptor.
    let lower = layers.iter().copied().map(open);
    let lower = lower.collect::<io::Result<Vec<File>>>()?;
    let written = match written {
        Some((upper, work)) => Some((open(upper)?, open(work)?)),
        None => None,
    };
    let written = written
        .as_ref()
        .map(|(upper, work)| (descriptor(upper), descriptor(work)));
    let written = written
        .as_ref()
        .map(|(upper, work)| (Path::new(upper), Path::new(work)));
    let whole = options(lower.iter().map(descriptor), written);
    mount_overlay(target, &whole, writable.is_none())
}

/// Whether the kernel would take a part of the name for something else. How it is told otherwise differs between kernels.
fn is_split(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.iter().any(|byte| matches!(byte, b':' | b',' | b'\\'))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(path)
}

fn descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

/// Topmost layer first, as overlayfs wants them, and each once: it refuses one that comes again. Images often have the same
/// layer more than once, the empty one above all. What a layer says, it says for whatever is below it, so that the topmost
/// place is the one that counts.
fn distinct(layers: &[PathBuf]) -> Vec<&Path> {
    let mut seen = HashSet::new();
    let topmost_first = layers.iter().rev().map(PathBuf::as_path);
    topmost_first.filter(|path| seen.insert(*path)).collect()
}

/// `lower` comes topmost layer first; what is written has an upper and a work directory.
fn options(lower: impl Iterator<Item = String>, written: Option<(&Path, &Path)>) -> String {
    let lower: Vec<String> = lower.collect();
    let mut options = format!("lowerdir={}", lower.join(":"));
    if let Some((upper, work)) = written {
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
    use std::fs;

    use nix::mount::{MntFlags, umount2};

    use super::*;

    #[test]
    fn names_that_options_would_split_are_mounted() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: mounting needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a:b,c\\d e");
        let place = |name: &str| {
            let place = dir.join(name);
            fs::create_dir_all(&place).unwrap();
            place
        };
        let layers = [place("one"), place("two")];
        for layer in &layers {
            fs::write(layer.join(layer.file_name().unwrap()), "").unwrap();
        }
        let (upper, work, target) = (place("upper"), place("work"), place("target"));
        let writable = Writable {
            upper: &upper,
            work: &work,
        };
        mount(&target, &layers, Some(&writable)).unwrap();
        let wrote = fs::write(target.join("three"), "");
        let seen = fs::read_dir(&target).unwrap().count();
        umount2(&target, MntFlags::MNT_DETACH).unwrap();
        wrote.unwrap();
        assert!(upper.join("three").exists());
        assert_eq!(seen, 3);
    }

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
