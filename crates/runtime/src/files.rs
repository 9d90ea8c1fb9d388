//! Small file helpers.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

pub use knarr_host::{remove, write_atomically};
use nix::errno::Errno;
use nix::mount::{MntFlags, umount2};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, socket};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Nanoseconds since the epoch.
pub fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_nanos() as i64)
}

/// Makes a directory that container users may pass.
pub fn make_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o711)
        .create(path)
}

/// Writes JSON so that a reader sees the old file or the whole new one. It is not synced: for what concerns the processes
/// and mounts of this boot, which a power failure ends as well.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    write_atomically(path, &serde_json::to_vec(value)?)
}

/// `Ok(None)` when there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Unmounts whatever is mounted at `path`, lazily; nothing mounted is fine.
pub fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            // Something may have been mounted twice.
            Ok(()) => {}
            Err(Errno::EINVAL | Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn open_directory(directory: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECTORY)
        .open(directory)
}

/// Connects to a unix socket however long its path is: the address goes through a descriptor of its directory. Does not
/// block, nor does the stream: where the queue is full, the error is `WouldBlock`.
pub fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let directory = open_directory(directory)?;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(&short(&directory, name))?;
    nix::sys::socket::connect(socket.as_raw_fd(), &address)?;
    Ok(socket.into())
}

/// Binds a unix socket however long its path is, mode 0600, replacing a stale one.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    let (Some(directory), Some(name)) = (
        path.parent(),
        path.file_name().and_then(|name| name.to_str()),
    ) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a path of a socket",
        ));
    };
    make_dir(directory)?;
    let directory = open_directory(directory)?;
    remove(path)?;
    let listener = UnixListener::bind(short(&directory, name))?;
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    Ok(listener)
}

fn short(directory: &File, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()))
}
