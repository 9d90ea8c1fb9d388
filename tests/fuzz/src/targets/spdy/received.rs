//! The server's side: its frames, in an order that it may send them in, and what they bring back.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use knarr_runtime::streaming::spdy::frame::{Control, HEAD_BYTES, Head};
use knarr_runtime::streaming::spdy::headers::Decoder;

use super::FLAG_FIN;
use super::sent::Sent;

/// What came back on the streams.
#[derive(Default)]
pub struct Received {
    pub streams: BTreeMap<u32, Vec<u8>>,
    pub ended: BTreeSet<u32>,
    pub replied: BTreeSet<u32>,
    credit: BTreeMap<u32, usize>,
    pub closed: bool,
}

impl Received {
    /// # Errors
    /// What a server must not send.
    pub fn read(mut bytes: &[u8], sent: &Sent) -> Result<Self, String> {
        let (mut received, mut decoder) = (Self::default(), Decoder::default());
        while !bytes.is_empty() {
            let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
                break;
            };
            let head = Head::parse(*head).map_err(|error| error.to_string())?;
            let (Head::Data { length, .. } | Head::Control { length, .. }) = head;
            // The client's end cuts the server off anywhere.
            let Some((payload, rest)) = rest.split_at_checked(length) else {
                break;
            };
            if received.closed {
                return Err("something follows the end".to_owned());
            }
            received.frame(head, payload, sent, &mut decoder)?;
            bytes = rest;
        }
        Ok(received)
    }

    fn frame(
        &mut self,
        head: Head,
        payload: &[u8],
        sent: &Sent,
        decoder: &mut Decoder,
    ) -> Result<(), String> {
        let (kind, flags) = match head {
            Head::Data { stream, fin, .. } => {
                if !self.replied.contains(&stream) || self.ended.contains(&stream) {
                    return Err(format!("data on stream {stream}, which is not open"));
                }
                self.streams.entry(stream).or_default().extend(payload);
                if fin {
                    self.ended.insert(stream);
                }
                return Ok(());
            }
            Head::Control { kind, flags, .. } => (kind, flags),
        };
        let control = Control::parse(kind, flags & FLAG_FIN, Bytes::copy_from_slice(payload));
        let right = match control.map_err(|error| error.to_string())? {
            Control::Headers {
                stream, headers, ..
            } => {
                let headers = decoder
                    .decode(&headers)
                    .map_err(|error| error.to_string())?;
                let first = self.replied.insert(stream);
                first && headers.is_empty() && sent.tried.contains(&stream)
            }
            Control::Reset { stream } => sent.tried.contains(&stream),
            Control::Ping { id } => id % 2 == 1 && sent.pings.contains(&id),
            Control::GoAway => {
                self.closed = true;
                true
            }
            Control::WindowUpdate { stream, delta } => {
                *self.credit.entry(stream).or_default() += delta as usize;
                stream == 0 || sent.tried.contains(&stream)
            }
            Control::SynStream { .. } | Control::Settings { .. } | Control::Other => false,
        };
        match right {
            true => Ok(()),
            false => Err(format!("a frame of type {kind} is wrong: {payload:?}")),
        }
    }

    /// # Errors
    /// What came back is not what was sent.
    pub fn check(&self, sent: &Sent) -> Result<(), String> {
        for (stream, back) in &self.streams {
            let wanted = sent.streams.get(stream).map_or(&[][..], Vec::as_slice);
            if sent.is_sure() && !wanted.starts_with(back) {
                return Err(format!("stream {stream} brings back something else"));
            }
        }
        if !sent.clean || !sent.is_sure() {
            return Ok(());
        }
        for (stream, wanted) in &sent.streams {
            let back = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
            let ended = !sent.open.contains(stream);
            if back != wanted || ended != self.ended.contains(stream) {
                return Err(format!(
                    "stream {stream} brings back {} of {} bytes, its end: {}",
                    back.len(),
                    wanted.len(),
                    self.ended.contains(stream)
                ));
            }
            if self
                .credit
                .get(stream)
                .is_some_and(|credit| *credit > wanted.len())
            {
                return Err(format!("stream {stream} has credit that it did not use"));
            }
        }
        Ok(())
    }
}
