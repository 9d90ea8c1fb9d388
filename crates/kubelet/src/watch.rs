//! Being told of changes in directories.

use std::{io, mem::MaybeUninit, os::fd::OwnedFd, path::Path, time::Duration};

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::{io::unix::AsyncFd, time::Instant};

/// How long it has to be quiet before what changed is read: whoever writes one file often writes several.
const QUIET: Duration = Duration::from_millis(50);

/// Tells of changes in a directory, and in others that are added.
pub(crate) struct Watch {
    inotify: AsyncFd<OwnedFd>,
    /// The first directory's.
    descriptor: i32,
}

impl Watch {
    pub(crate) fn new(directory: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        let descriptor = add(&inotify, directory)?;
        // The successor of `new` is unsafe for the sake of descriptors that change hands; an `OwnedFd` does not.
        #[expect(deprecated)]
        let inotify = AsyncFd::new(inotify)?;
        Ok(Self {
            inotify,
            descriptor,
        })
    }

    /// Watches another directory, too, if it does not yet.
    pub(crate) fn add(&self, directory: &Path) -> io::Result<()> {
        add(self.inotify.get_ref(), directory).map(drop)
    }

    /// Waits for a change and for quiet after it, or until then. An error: the first directory is not there any more.
    pub(crate) async fn changed(&self, until: Instant) -> io::Result<()> {
        let mut changed = false;
        loop {
            let until = match changed {
                true => until.min(Instant::now() + QUIET),
                false => until,
            };
            let Ok(ready) = tokio::time::timeout_at(until, self.inotify.readable()).await else {
                return Ok(());
            };
            let mut ready = ready?;
            changed |= self.drain()?;
            ready.clear_ready();
        }
    }

    /// Whether anything but a hidden file was told of.
    fn drain(&self) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut events = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        let mut changed = false;
        loop {
            match events.next() {
                Ok(event) => {
                    let gone = inotify::ReadFlags::DELETE_SELF
                        | inotify::ReadFlags::MOVE_SELF
                        | inotify::ReadFlags::IGNORED;
                    if event.wd() == self.descriptor && event.events().intersects(gone) {
                        return Err(io::ErrorKind::NotFound.into());
                    }
                    let hidden = event
                        .file_name()
                        .is_some_and(|name| name.to_bytes().starts_with(b"."));
                    changed |= !hidden;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(changed),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn add(inotify: &OwnedFd, directory: &Path) -> io::Result<i32> {
    let what = WatchFlags::CLOSE_WRITE
        | WatchFlags::CREATE
        | WatchFlags::ATTRIB
        | WatchFlags::DELETE
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::ONLYDIR;
    Ok(inotify::add_watch(inotify, directory, what)?)
}
