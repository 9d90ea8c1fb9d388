//! The shim's program: embedded, and run from one sealed memfd.
//!
//! A container that reaches `/proc/<shim>/exe` (CVE-2019-5736) finds a file that nobody can write, and that is no file
//! of the host.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::sync::OnceLock;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MemFdCreateFlag, memfd_create};

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/knarr-shim"));

/// Where to execute it. The descriptor is close-on-exec: the path is looked up before it closes.
pub fn path() -> io::Result<PathBuf> {
    static SEALED: OnceLock<OwnedFd> = OnceLock::new();
    if SEALED.get().is_none() {
        let made = seal()?;
        // Of two made at the same time one is dropped.
        let _ = SEALED.set(made);
    }
    SEALED
        .get()
        .map(|fd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())))
        .ok_or_else(|| io::Error::other("no program"))
}

fn seal() -> io::Result<OwnedFd> {
    let flags = MemFdCreateFlag::MFD_CLOEXEC | MemFdCreateFlag::MFD_ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"knarr-shim", flags)?);
    file.write_all(PROGRAM)?;
    let seals = SealFlag::F_SEAL_SHRINK
        | SealFlag::F_SEAL_GROW
        | SealFlag::F_SEAL_WRITE
        | SealFlag::F_SEAL_SEAL;
    fcntl(file.as_raw_fd(), FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}
