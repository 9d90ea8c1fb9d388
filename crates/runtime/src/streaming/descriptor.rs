//! Pipes and terminals without blocking.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A pipe's end or a terminal's master. A clone is the same descriptor; it closes with the last one.
#[derive(Clone)]
pub struct Descriptor(Arc<AsyncFd<OwnedFd>>);

impl Descriptor {
    /// Makes it nonblocking.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_truncate(fcntl(fd.as_raw_fd(), FcntlArg::F_GETFL)?);
        fcntl(fd.as_raw_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        // SAFETY: the descriptor is owned by what is returned, which gives out shared references only: it stays the same
        // open one until it is dropped.
        let registered = unsafe { AsyncFd::register(fd) }?;
        Ok(Self(Arc::new(registered)))
    }

    pub fn get(&self) -> &OwnedFd {
        self.0.get_ref()
    }

    /// Zero is the end; a terminal's end is an error of its own.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let outcome = self
            .0
            .async_io(Interest::READABLE, |fd| {
                Ok(nix::unistd::read(fd.as_raw_fd(), buffer)?)
            })
            .await;
        match outcome {
            Err(error) if error.raw_os_error() == Some(Errno::EIO as i32) => Ok(0),
            outcome => outcome,
        }
    }

    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let count = self
                .0
                .async_io(Interest::WRITABLE, |fd| Ok(nix::unistd::write(fd, bytes)?))
                .await?;
            bytes = &bytes[count..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
