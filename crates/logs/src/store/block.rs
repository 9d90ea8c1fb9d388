//! Blocks: records one after the other, each source told where its first record comes.
//!
//! ```text
//! source  0, length, JSON of the source          (it gets the next number, from 1 on)
//! record  number, stream, time, length, text     (time as the difference to the record before)
//! ```
//!
//! Numbers are variable in length, as protobuf has them. A block needs no other to be read; what comes before a torn end is
//! whole.

// Blocks are of disks.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{collections::HashMap, sync::Arc};

use crate::record::{MAX_TEXT_BYTES, Record, Source, Stream};

/// Longest description of a source, bytes: labels and annotations of a pod.
const MAX_SOURCE_BYTES: usize = 1 << 20;

/// A block is not one, or was torn.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a block of logs is damaged")]
pub struct Damaged;

/// A block that is being filled.
#[derive(Debug, Default)]
pub struct Builder {
    bytes: Vec<u8>,
    /// Numbers of the sources, by where they are in memory: they are held below.
    numbers: HashMap<usize, u64>,
    sources: Vec<Arc<Source>>,
    last_time: i64,
    summary: Summary,
}

/// What is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    pub records: u32,
    /// Nanoseconds since 1970.
    pub first_time: i64,
    pub last_time: i64,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            records: 0,
            first_time: i64::MAX,
            last_time: i64::MIN,
        }
    }
}

impl Summary {
    fn add(&mut self, time: i64) {
        self.records = self.records.saturating_add(1);
        self.first_time = self.first_time.min(time);
        self.last_time = self.last_time.max(time);
    }
}

impl Builder {
    /// A block of which some is there already, up to a damaged end; how much of it was whole.
    pub fn from_bytes(bytes: &[u8]) -> (Self, usize) {
        let mut decoder = Decoder::default();
        let mut built = Self::default();
        while let Ok(Some(record)) = decoder.next(bytes) {
            built.summary.add(record.time);
        }
        let whole = decoder.at;
        built.bytes.extend_from_slice(&bytes[..whole]);
        built.last_time = decoder.last_time;
        for source in decoder.sources {
            built.hold(source);
        }
        (built, whole)
    }

    pub fn push(&mut self, record: &Record<'_>) {
        let number = match self.numbers.get(&address(&record.source)) {
            Some(number) => *number,
            None => self.tell(&record.source),
        };
        put(&mut self.bytes, number);
        self.bytes.push(match record.stream {
            Stream::Stdout => 0,
            Stream::Stderr => 1,
        });
        put(
            &mut self.bytes,
            zigzag(record.time.wrapping_sub(self.last_time)),
        );
        let text = &record.text[..record.text.len().min(MAX_TEXT_BYTES)];
        put(&mut self.bytes, text.len() as u64);
        self.bytes.extend_from_slice(text);
        self.last_time = record.time;
        self.summary.add(record.time);
    }

    fn tell(&mut self, source: &Arc<Source>) -> u64 {
        // Strings and maps of strings: nothing in it can fail.
        let mut json = serde_json::to_vec(&**source).unwrap_or_default();
        if json.len() > MAX_SOURCE_BYTES {
            let bare = Source {
                labels: Default::default(),
                annotations: Default::default(),
                ..(**source).clone()
            };
            json = serde_json::to_vec(&bare).unwrap_or_default();
        }
        put(&mut self.bytes, 0);
        put(&mut self.bytes, json.len() as u64);
        self.bytes.extend_from_slice(&json);
        self.hold(source.clone())
    }

    fn hold(&mut self, source: Arc<Source>) -> u64 {
        let number = (self.sources.len() as u64).saturating_add(1);
        self.numbers.insert(address(&source), number);
        self.sources.push(source);
        number
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn summary(&self) -> Summary {
        self.summary
    }

    pub fn sources(&self) -> &[Arc<Source>] {
        &self.sources
    }
}

fn address(source: &Arc<Source>) -> usize {
    Arc::as_ptr(source) as usize
}

/// Reads a block from its beginning on; it may grow meanwhile.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Up to here it has been read.
    at: usize,
    sources: Vec<Arc<Source>>,
    last_time: i64,
}

impl Decoder {
    /// Bytes that have been read.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next record of the block, `None` at its end. `bytes` is the block from its beginning on, the same each time or longer.
    ///
    /// # Errors
    /// Where it is damaged or torn; the position stays before that.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<Record<'a>>, Damaged> {
        loop {
            let mut rest = bytes.get(self.at..).ok_or(Damaged)?;
            if rest.is_empty() {
                return Ok(None);
            }
            let length = rest.len();
            let number = take(&mut rest)?;
            if number == 0 {
                let json = take_bytes(&mut rest, MAX_SOURCE_BYTES)?;
                let source = serde_json::from_slice(json).map_err(|_| Damaged)?;
                self.sources.push(Arc::new(source));
                self.at = self.at.saturating_add(length.saturating_sub(rest.len()));
                continue;
            }
            let index = usize::try_from(number.saturating_sub(1)).map_err(|_| Damaged)?;
            let source = self.sources.get(index).ok_or(Damaged)?.clone();
            let (stream, after) = rest.split_first().ok_or(Damaged)?;
            rest = after;
            let time = self.last_time.wrapping_add(unzigzag(take(&mut rest)?));
            let text = take_bytes(&mut rest, MAX_TEXT_BYTES)?;
            self.last_time = time;
            self.at = self.at.saturating_add(length.saturating_sub(rest.len()));
            let stream = match stream {
                0 => Stream::Stdout,
                _ => Stream::Stderr,
            };
            return Ok(Some(Record {
                source,
                stream,
                time,
                text,
            }));
        }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ (value & 1).cast_signed().wrapping_neg()
}

fn put(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take(bytes: &mut &[u8]) -> Result<u64, Damaged> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Damaged)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Damaged)
}

fn take_bytes<'a>(bytes: &mut &'a [u8], limit: usize) -> Result<&'a [u8], Damaged> {
    let length = usize::try_from(take(bytes)?).map_err(|_| Damaged)?;
    if length > limit {
        return Err(Damaged);
    }
    let (taken, rest) = bytes.split_at_checked(length).ok_or(Damaged)?;
    *bytes = rest;
    Ok(taken)
}

#[cfg(test)]
mod tests;
