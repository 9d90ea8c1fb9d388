//! Which directories have changed: inotify, no timers.

use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use knarr_host::Directory;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::unix::AsyncFd;

/// Room for a batch of events, bytes.
const BUFFER_BYTES: usize = 16 << 10;
/// Taken at a time.
const MAX_CHANGES: usize = 4_096;

/// Number of a watched directory.
pub type Watch = i32;

/// What has become of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A file of this name was written to.
    Written(Watch, Vec<u8>),
    /// Names have come or gone.
    Names(Watch),
    /// It is gone, and its number is free.
    Gone(Watch),
    /// More has changed than is known.
    Everything,
}

pub struct Watcher {
    events: AsyncFd<OwnedFd>,
}

impl Watcher {
    /// # Errors
    /// Those of the kernel, here as below.
    pub fn new() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        // The successor of `new` is unsafe for the sake of descriptors that change hands; an `OwnedFd` does not.
        #[expect(deprecated)]
        let events = AsyncFd::new(fd)?;
        Ok(Self { events })
    }

    /// Watches the names of a directory, and what is written to its files.
    pub fn add(&self, directory: &Directory) -> io::Result<Watch> {
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::ONLYDIR;
        // What is open is watched, whatever has its name by now.
        let path = format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd());
        Ok(inotify::add_watch(self.events.get_ref(), path, flags)?)
    }

    /// Waits for changes.
    pub async fn changes(&self) -> io::Result<Vec<Change>> {
        let mut changes = Vec::new();
        loop {
            let mut ready = self.events.readable().await?;
            match ready.try_io(|fd| take(fd.get_ref(), &mut changes)) {
                Ok(Err(error)) => return Err(error),
                _ if !changes.is_empty() => return Ok(changes),
                _ => {}
            }
        }
    }
}

/// Takes the changes that there are, up to a limit; `WouldBlock` when there are no more.
fn take(fd: &OwnedFd, changes: &mut Vec<Change>) -> io::Result<()> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    while changes.len() < MAX_CHANGES {
        let event = reader.next()?;
        let (flags, watch) = (event.events(), event.wd());
        let change = if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            Change::Everything
        } else if flags.contains(ReadFlags::IGNORED) {
            Change::Gone(watch)
        } else if flags.contains(ReadFlags::MODIFY) {
            let name = event.file_name().map(|name| name.to_bytes().to_vec());
            Change::Written(watch, name.unwrap_or_default())
        } else {
            Change::Names(watch)
        };
        if changes.last() != Some(&change) {
            changes.push(change);
        }
    }
    Ok(())
}
