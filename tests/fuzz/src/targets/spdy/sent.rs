//! The client's side: an input's frames as they go out, and what they mean.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use knarr_runtime::streaming::spdy::frame::{Control, HEAD_BYTES, Head};

use super::{FLAG_RAW, HEADERS, SYN_STREAM};

const SYN_REPLY: u16 = 2;

/// Streams of which the server is sure to take all.
const SURE_STREAMS: usize = 500;
/// What a client sends, and what that means.
#[derive(Default)]
pub struct Sent {
    pub wire: Vec<u8>,
    /// What was sent on each stream while it was open.
    pub streams: BTreeMap<u32, Vec<u8>>,
    pub open: BTreeSet<u32>,
    /// Streams that were tried to open.
    pub tried: BTreeSet<u32>,
    pub pings: BTreeSet<u32>,
    /// Everything is right, and nothing holds the server back.
    pub clean: bool,
}

impl Sent {
    pub fn read(mut input: &[u8]) -> Self {
        let mut sent = Self {
            clean: true,
            ..Self::default()
        };
        let mut compress = Compress::new(Compression::fast(), true);
        while let Some((head, rest)) = input.split_first_chunk::<HEAD_BYTES>() {
            let length = match Head::parse(*head) {
                Ok(Head::Data { length, .. } | Head::Control { length, .. }) => length,
                Err(_) => break,
            };
            let Some((payload, rest)) = rest.split_at_checked(length) else {
                break;
            };
            sent.frame(*head, payload, &mut compress);
            input = rest;
        }
        sent.clean &= input.is_empty();
        sent.wire.extend_from_slice(input);
        sent
    }

    /// The server is sure to take all streams.
    pub fn is_sure(&self) -> bool {
        self.tried.len() <= SURE_STREAMS
    }

    fn frame(&mut self, head: [u8; HEAD_BYTES], payload: &[u8], compress: &mut Compress) {
        match Head::parse(head) {
            Ok(Head::Data { stream, fin, .. }) => {
                if self.open.contains(&stream) {
                    self.streams.entry(stream).or_default().extend(payload);
                }
                if fin {
                    self.open.remove(&stream);
                }
                self.wire.extend(head);
                self.wire.extend_from_slice(payload);
            }
            Ok(Head::Control { kind, flags, .. }) => {
                self.control(kind, flags, payload);
                let plain = match kind {
                    SYN_STREAM => 10,
                    SYN_REPLY | HEADERS => 4,
                    _ => payload.len(),
                };
                let (fixed, block) = payload.split_at(plain.min(payload.len()));
                let block = match flags & FLAG_RAW {
                    0 if !block.is_empty() => pack(compress, block),
                    _ => block.to_vec(),
                };
                let length = u32::try_from(fixed.len() + block.len()).unwrap_or_default();
                self.wire.extend_from_slice(&head[..4]);
                self.wire
                    .extend((length | u32::from(flags) << 24).to_be_bytes());
                self.wire.extend_from_slice(fixed);
                self.wire.extend(block);
            }
            Err(_) => {}
        }
    }

    /// What a control frame means.
    fn control(&mut self, kind: u16, flags: u8, payload: &[u8]) {
        match Control::parse(kind, flags, Bytes::copy_from_slice(payload)) {
            Ok(Control::SynStream {
                stream,
                fin,
                headers,
            }) => {
                let fresh = stream % 2 == 1 && self.tried.iter().all(|tried| *tried < stream);
                self.clean &= fresh && flags & FLAG_RAW == 0 && is_block(&headers);
                self.tried.insert(stream);
                if fresh {
                    self.streams.entry(stream).or_default();
                    if !fin {
                        self.open.insert(stream);
                    }
                }
            }
            Ok(Control::Ping { id }) => drop(self.pings.insert(id)),
            Ok(Control::Reset { stream }) => {
                self.open.remove(&stream);
                self.clean = false;
            }
            Ok(Control::Headers { stream, fin, .. }) => {
                if fin {
                    self.open.remove(&stream);
                }
                self.clean = false;
            }
            Ok(Control::Settings { .. }) | Err(_) => self.clean = false,
            Ok(Control::GoAway | Control::WindowUpdate { .. } | Control::Other) => {}
        }
    }
}

/// Pairs of names and values, with their lengths; few and short enough.
fn is_block(mut block: &[u8]) -> bool {
    let number = |block: &mut &[u8]| -> Option<u32> {
        let (number, rest) = block.split_first_chunk::<4>()?;
        *block = rest;
        Some(u32::from_be_bytes(*number))
    };
    let Some(count @ ..=256) = number(&mut block) else {
        return false;
    };
    (0..2 * count).all(|_| {
        let length = number(&mut block).unwrap_or(u32::MAX) as usize;
        match block.get(length..) {
            Some(rest) => {
                block = rest;
                true
            }
            None => false,
        }
    })
}

/// A header block, as the next piece of the client's stream.
fn pack(compress: &mut Compress, block: &[u8]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(2 * block.len() + 256);
    let packing = compress.compress_vec(block, &mut packed, FlushCompress::Sync);
    packing.expect("a stream that goes on");
    packed
}
