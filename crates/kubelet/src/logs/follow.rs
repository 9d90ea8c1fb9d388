//! Waiting for a log file to grow: inotify on the file and on its directory, no timers.

use std::{
    ffi::OsString,
    io,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::{io::unix::AsyncFd, sync::watch};

/// Room for a batch of events.
const BUFFER_BYTES: usize = 4_096;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    /// There may be more to read, or the container has ended.
    Changed,
    /// The file under the name is a new one.
    Rotated,
}

pub(super) struct Watcher {
    events: AsyncFd<OwnedFd>,
    name: OsString,
    alive: watch::Receiver<bool>,
}

impl Watcher {
    /// `alive` turns false when nothing will be written any more.
    pub(super) fn new(path: &Path, alive: watch::Receiver<bool>) -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        // The directory reports writes to its files and, after a rotation, the new file.
        let flags = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
        inotify::add_watch(&fd, parent, flags)?;
        let name = path.file_name().map(ToOwned::to_owned).unwrap_or_default();
        // The successor of `new` is unsafe for the sake of descriptors that change hands; an `OwnedFd` does not.
        #[expect(deprecated)]
        let events = AsyncFd::new(fd)?;
        Ok(Self {
            events,
            name,
            alive,
        })
    }

    /// Whether the container has ended.
    pub(super) fn ended(&mut self) -> bool {
        !*self.alive.borrow_and_update()
    }

    pub(super) async fn wait(&mut self) -> io::Result<Woken> {
        loop {
            tokio::select! {
                // A closed channel says as much as a false.
                _ = self.alive.changed() => return Ok(Woken::Changed),
                ready = self.events.readable() => {
                    let mut ready = ready?;
                    match ready.try_io(|fd| read(fd.get_ref(), &self.name)) {
                        Ok(Ok(Some(woken))) => return Ok(woken),
                        Ok(Ok(None)) => {}
                        Ok(Err(error)) => return Err(error),
                        Err(_would_block) => {}
                    }
                }
            }
        }
    }
}

/// Reads all that is there; `None` when it concerned other files.
fn read(fd: &OwnedFd, name: &OsString) -> io::Result<Option<Woken>> {
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut reader = inotify::Reader::new(fd, &mut buffer);
    let mut woken = None;
    loop {
        let event = match reader.next() {
            Ok(event) => event,
            Err(rustix::io::Errno::AGAIN) if woken.is_some() => return Ok(woken),
            Err(error) => return Err(error.into()),
        };
        if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
            woken = woken.or(Some(Woken::Changed));
            continue;
        }
        let ours = event
            .file_name()
            .is_some_and(|n| n.to_bytes() == name.as_bytes());
        if !ours {
            continue;
        }
        if event
            .events()
            .intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO)
        {
            woken = Some(Woken::Rotated);
        } else {
            woken = woken.or(Some(Woken::Changed));
        }
    }
}
