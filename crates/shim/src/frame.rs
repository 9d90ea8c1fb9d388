//! Framing: a little-endian `u32` length of what follows, a version byte, JSON. Descriptors ride on the first byte.

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Raised when a message changes in a way that an older peer would misread. A runtime that finds a shim of another
/// version can still stop it, by its cgroup.
pub const VERSION: u8 = 1;
/// Largest body accepted, bytes.
pub const MAX_FRAME_BYTES: usize = 1 << 20;
/// Most descriptors in a message.
pub const MAX_FDS: usize = 4;
/// Length and version.
pub const HEADER_BYTES: usize = 5;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("connection closed")]
    Closed,
    #[error("frame of {0} bytes is over the limit of {MAX_FRAME_BYTES}")]
    TooLarge(usize),
    #[error("peer speaks protocol version {0}, this is version {VERSION}")]
    Version(u8),
    #[error("undecodable message: {0}")]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The bytes of a frame.
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; HEADER_BYTES];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLarge(length));
    }
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    bytes[4] = VERSION;
    Ok(bytes)
}

/// Takes a whole frame off the front of `buffer`, if there is one.
pub fn decode<T: DeserializeOwned>(buffer: &mut Vec<u8>) -> Result<Option<T>, FrameError> {
    if buffer.len() < HEADER_BYTES {
        return Ok(None);
    }
    let length = u32::from_le_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
    if length > MAX_FRAME_BYTES || length == 0 {
        return Err(FrameError::TooLarge(length));
    }
    if buffer[4] != VERSION {
        return Err(FrameError::Version(buffer[4]));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[HEADER_BYTES..4 + length])?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

/// Sends bytes with descriptors on the first of them. Blocks when the socket does.
pub fn send(stream: &UnixStream, bytes: &[u8], fds: &[RawFd]) -> io::Result<()> {
    let sent = send_some(stream, bytes, fds)?;
    (&*stream).write_all(&bytes[sent..])
}

/// Sends what the socket takes of the bytes, and the descriptors with the first of them; how many bytes.
pub fn send_some(stream: &UnixStream, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    loop {
        match sendmsg::<UnixAddr>(
            stream.as_raw_fd(),
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(nix::Error::EINTR) => continue,
            other => return Ok(other?),
        }
    }
}

/// Reads what there is, appending bytes and descriptors (close-on-exec). `Ok(0)` is the end of the stream.
pub fn receive(
    stream: &UnixStream,
    buffer: &mut Vec<u8>,
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut chunk = [0u8; 16 * 1024];
    let mut space = cmsg_space!([RawFd; MAX_FDS]);
    let mut slices = [IoSliceMut::new(&mut chunk)];
    let (count, received) = loop {
        match recvmsg::<UnixAddr>(
            stream.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
            Ok(message) => {
                let mut received = Vec::new();
                for control in message.cmsgs()? {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        received.extend(raw);
                    }
                }
                break (message.bytes, received);
            }
        }
    };
    fds.extend(received.into_iter().map(own));
    buffer.extend_from_slice(&chunk[..count]);
    Ok(count)
}

#[allow(unsafe_code)]
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just installed this descriptor for us; nobody else knows its number.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
