//! Frames as bytes. Header blocks stay compressed here.
//!
//! ```text
//! control: 1 version(15) type(16) | flags(8) length(24) | payload
//! data:    0 stream id(31)        | flags(8) length(24) | payload
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before a payload.
pub const HEAD_BYTES: usize = 8;
/// Largest control frame taken, bytes of its payload. Headers are all that can be long.
pub const MAX_CONTROL_BYTES: usize = 64 << 10;

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 0x01;
const STREAM_MASK: u32 = 0x7fff_ffff;
const SETTING_INITIAL_WINDOW: u32 = 7;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// Why a stream is reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reset {
    ProtocolError = 1,
    RefusedStream = 3,
    Cancel = 5,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("SPDY version {0} is not supported")]
    Version(u16),
    #[error("a control frame of {0} bytes is too long")]
    TooLong(usize),
    #[error("a control frame of type {0} is too short")]
    TooShort(u16),
}

/// A frame's first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    Data {
        stream: u32,
        fin: bool,
        length: usize,
    },
    Control {
        kind: u16,
        flags: u8,
        length: usize,
    },
}

impl Head {
    pub fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Self, FrameError> {
        let mut bytes = &bytes[..];
        let (first, second) = (bytes.get_u32(), bytes.get_u32());
        let flags = (second >> 24) as u8;
        let length = (second & 0x00ff_ffff) as usize;
        if first & !STREAM_MASK == 0 {
            return Ok(Self::Data {
                stream: first,
                fin: flags & FLAG_FIN != 0,
                length,
            });
        }
        let version = ((first & STREAM_MASK) >> 16) as u16;
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        if length > MAX_CONTROL_BYTES {
            return Err(FrameError::TooLong(length));
        }
        Ok(Self::Control {
            kind: (first & 0xffff) as u16,
            flags,
            length,
        })
    }
}

/// A control frame from the client.
#[derive(Debug, PartialEq, Eq)]
pub enum Control {
    SynStream {
        stream: u32,
        fin: bool,
        /// Compressed.
        headers: Bytes,
    },
    /// An answer to a stream of ours, of which there are none, or more headers of one of theirs. Their compressed block
    /// has to be read all the same: the blocks of a connection are one compressed stream.
    Headers {
        stream: u32,
        fin: bool,
        headers: Bytes,
    },
    Reset {
        stream: u32,
    },
    /// The initial window of streams, if the frame has one.
    Settings {
        initial_window: Option<u32>,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Stream 0 is the whole connection.
    WindowUpdate {
        stream: u32,
        delta: u32,
    },
    /// Of a type that needs no answer.
    Other,
}

impl Control {
    pub fn parse(kind: u16, flags: u8, mut payload: Bytes) -> Result<Self, FrameError> {
        let fin = flags & FLAG_FIN != 0;
        let needed = match kind {
            SYN_STREAM => 10,
            RST_STREAM | GOAWAY | WINDOW_UPDATE => 8,
            SYN_REPLY | SETTINGS | PING | HEADERS => 4,
            _ => 0,
        };
        if payload.len() < needed {
            return Err(FrameError::TooShort(kind));
        }
        let mut stream = || payload.get_u32() & STREAM_MASK;
        Ok(match kind {
            SYN_STREAM => {
                let stream = stream();
                // The stream it belongs to, priority and slot.
                payload.advance(6);
                Self::SynStream {
                    stream,
                    fin,
                    headers: payload,
                }
            }
            SYN_REPLY | HEADERS => Self::Headers {
                stream: stream(),
                fin,
                headers: payload,
            },
            RST_STREAM => Self::Reset { stream: stream() },
            SETTINGS => Self::Settings {
                initial_window: initial_window(payload),
            },
            PING => Self::Ping {
                id: payload.get_u32(),
            },
            GOAWAY => Self::GoAway,
            WINDOW_UPDATE => Self::WindowUpdate {
                stream: stream(),
                delta: payload.get_u32() & STREAM_MASK,
            },
            _ => Self::Other,
        })
    }
}

fn initial_window(mut payload: Bytes) -> Option<u32> {
    let count = payload.get_u32() as usize;
    (0..count.min(payload.len() / 8))
        .map(|_| (payload.get_u32() & 0x00ff_ffff, payload.get_u32()))
        .filter(|(id, _)| *id == SETTING_INITIAL_WINDOW)
        .last()
        .map(|(_, window)| window & STREAM_MASK)
}

/// Head of a data frame; `length` bytes follow it.
pub fn data(stream: u32, fin: bool, length: usize) -> Bytes {
    let mut frame = BytesMut::with_capacity(HEAD_BYTES);
    frame.put_u32(stream & STREAM_MASK);
    put_length(&mut frame, if fin { FLAG_FIN } else { 0 }, length);
    frame.freeze()
}

/// `headers` is compressed.
pub fn syn_reply(stream: u32, headers: &[u8]) -> Bytes {
    let mut frame = control(SYN_REPLY, headers.len().saturating_add(4));
    frame.put_u32(stream);
    frame.put_slice(headers);
    frame.freeze()
}

pub fn rst_stream(stream: u32, reason: Reset) -> Bytes {
    let mut frame = control(RST_STREAM, 8);
    frame.put_u32(stream);
    frame.put_u32(reason as u32);
    frame.freeze()
}

pub fn ping(id: u32) -> Bytes {
    let mut frame = control(PING, 4);
    frame.put_u32(id);
    frame.freeze()
}

/// With status OK.
pub fn goaway(last_stream: u32) -> Bytes {
    let mut frame = control(GOAWAY, 8);
    frame.put_u32(last_stream);
    frame.put_u32(0);
    frame.freeze()
}

pub fn window_update(stream: u32, delta: u32) -> Bytes {
    let mut frame = control(WINDOW_UPDATE, 8);
    frame.put_u32(stream);
    frame.put_u32(delta & STREAM_MASK);
    frame.freeze()
}

fn control(kind: u16, length: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(length.saturating_add(HEAD_BYTES));
    frame.put_u16(0x8000 | VERSION);
    frame.put_u16(kind);
    put_length(&mut frame, 0, length);
    frame
}

/// Lengths are of frames that this side makes: far below the 24 bits.
fn put_length(frame: &mut BytesMut, flags: u8, length: usize) {
    frame.put_u32(u32::from(flags) << 24 | length as u32 & 0x00ff_ffff);
}

#[cfg(test)]
mod tests;
