//! A container's root file system: an overlay of its image's layers and a writable directory of its own.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};

use crate::files;
use crate::images::{KeptDirectory, implied};

/// mount(2) takes one page of options.
const MAX_OPTIONS_BYTES: usize = 4_000;
/// More layers than an overlay can have.
pub const MAX_LAYERS: usize = 200;

/// Directories of a snapshot, below the container's.
#[derive(Debug)]
pub struct Snapshot {
    directory: PathBuf,
}

impl Snapshot {
    pub fn of(container: &Path) -> Self {
        Self {
            directory: container.to_path_buf(),
        }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// What the container has written.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// Mounts `layers` (lowest first) and the writable directory, in which directories are that are not as the topmost layer
    /// has them.
    pub fn mount(&self, layers: &[PathBuf], kept: &[KeptDirectory]) -> io::Result<()> {
        if layers.len() > MAX_LAYERS {
            return Err(io::Error::other(format!(
                "{} layers are more than {MAX_LAYERS}",
                layers.len()
            )));
        }
        let (upper, work) = (self.upper(), self.directory.join("work"));
        for path in [&self.rootfs(), &upper, &work] {
            fs::create_dir_all(path)?;
        }
        // The root directory's mode and owner are the upper one's.
        fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        implied::make(&upper, kept)?;
        let whole = options(
            layers.iter().rev().map(|path| path.display().to_string()),
            &upper,
            &work,
        );
        if whole.len() <= MAX_OPTIONS_BYTES {
            return mount_overlay(&self.rootfs(), &whole);
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
            .rev()
            .map(|path| open(path))
            .collect::<io::Result<Vec<File>>>()?;
        let lower = opened
            .iter()
            .map(|file| format!("/proc/self/fd/{}", file.as_raw_fd()));
        mount_overlay(&self.rootfs(), &options(lower, &upper, &work))
    }

    pub fn unmount(&self) -> io::Result<()> {
        files::unmount(&self.rootfs())
    }
}

/// Topmost layer first, as overlayfs wants them.
fn options(lower: impl Iterator<Item = String>, upper: &Path, work: &Path) -> String {
    let lower: Vec<String> = lower.collect();
    format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.join(":"),
        upper.display(),
        work.display()
    )
}

/// `volatile` leaves out the syncs of unmounting: what a container wrote to its root does not outlive it.
fn mount_overlay(target: &Path, options: &str) -> io::Result<()> {
    let attempt = |options: String| {
        let options = CString::new(options).map_err(|_| Errno::EINVAL)?;
        mount(
            Some("overlay"),
            target,
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_c_str()),
        )
    };
    match attempt(format!("{options},volatile")) {
        Err(Errno::EINVAL) => Ok(attempt(options.to_owned())?),
        outcome => Ok(outcome?),
    }
}
