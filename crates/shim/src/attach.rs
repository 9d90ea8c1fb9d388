//! A container's output: one pipe or pty in, the log and any number of attached clients out.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use knarr_shim::lines::Lines;

use crate::log::LogFile;
use crate::sys;

/// Bytes moved at a time.
const CHUNK_BYTES: usize = 16 * 1024;
/// Clients attached to one stream.
pub const MAX_ATTACHED: usize = 16;

struct Client {
    pipe: File,
    /// What did not fit. While any client has some, the container is not read: a slow reader slows the container, as
    /// a terminal would, and memory stays at one chunk a client.
    pending: Vec<u8>,
}

/// One output stream.
pub struct Output {
    source: Option<OwnedFd>,
    lines: Lines,
    clients: Vec<Client>,
}

impl Output {
    /// `source` becomes nonblocking.
    pub fn new(source: OwnedFd, name: &'static str) -> io::Result<Self> {
        sys::set_nonblocking(&source)?;
        Ok(Self {
            source: Some(source),
            lines: Lines::new(name),
            clients: Vec::new(),
        })
    }

    /// What to wait on for reading.
    pub fn readable(&self) -> Option<BorrowedFd<'_>> {
        if self.clients.iter().any(|client| !client.pending.is_empty()) {
            return None;
        }
        self.source.as_ref().map(AsFd::as_fd)
    }

    /// What to wait on for writing.
    pub fn writable(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.clients
            .iter()
            .filter(|client| !client.pending.is_empty())
            .map(|client| client.pipe.as_fd())
    }

    /// Joins a client; the returned read end is for it.
    pub fn attach(&mut self) -> io::Result<OwnedFd> {
        if self.clients.len() >= MAX_ATTACHED {
            return Err(io::Error::other("too many clients are attached"));
        }
        let (read, write) = sys::pipe()?;
        sys::set_nonblocking(&write)?;
        self.clients.push(Client {
            pipe: File::from(write),
            pending: Vec::new(),
        });
        Ok(read)
    }

    /// Moves one chunk, if there is one and the clients have taken the last.
    pub fn pump(&mut self, log: Option<&mut LogFile>) {
        self.flush();
        if self.readable().is_some() {
            self.read_chunk(log);
        }
    }

    /// The container has ended: takes what is in the pipe without waiting, then lets go of it. Clients that have not taken all stay until they have.
    pub fn drain(&mut self, mut log: Option<&mut LogFile>) {
        while self.read_chunk(log.as_deref_mut()) {
            self.flush();
        }
        if let Some(log) = log {
            log.finish(&mut self.lines);
        }
        self.source = None;
        self.flush();
    }

    /// True when something was read.
    fn read_chunk(&mut self, log: Option<&mut LogFile>) -> bool {
        let Some(source) = &self.source else {
            return false;
        };
        let mut chunk = [0u8; CHUNK_BYTES];
        match sys::read_some(source, &mut chunk) {
            Ok(None) => false,
            Ok(Some(0)) | Err(_) => {
                if let Some(log) = log {
                    log.finish(&mut self.lines);
                }
                self.source = None;
                self.clients.retain(|client| !client.pending.is_empty());
                false
            }
            Ok(Some(count)) => {
                if let Some(log) = log {
                    log.write(&mut self.lines, &chunk[..count]);
                }
                for client in &mut self.clients {
                    client.pending.extend_from_slice(&chunk[..count]);
                }
                self.flush();
                true
            }
        }
    }

    fn flush(&mut self) {
        let ended = self.source.is_none();
        self.clients.retain_mut(|client| {
            while !client.pending.is_empty() {
                match client.pipe.write(&client.pending) {
                    Ok(count) => {
                        client.pending.drain(..count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => return false,
                }
            }
            !ended
        });
    }
}
