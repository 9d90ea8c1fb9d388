//! An object as a protobuf message: a whole body at the revision of its entry, from which the bodies at other revisions are made.
//!
//! Who makes it knows the wire format of the kind; here only the place of `metadata.resourceVersion` counts, which is field 6 of field
//! 1 in every kind.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::kept::Form;

/// Field 1, a message: `metadata` of an object.
const METADATA_TAG: u8 = 1 << 3 | 2;
/// Field 6, a string: `resourceVersion` of the metadata.
const VERSION_TAG: u8 = 6 << 3 | 2;

/// What an object's message is made of.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The content of the metadata without resourceVersion.
    pub metadata: &'a [u8],
    /// Where that belongs in it.
    pub version_at: usize,
    /// What comes after the metadata.
    pub rest: &'a [u8],
}

/// What stands around objects of a type in a body: `head`, the object's length, the object, `tail`.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    pub head: &'a [u8],
    pub tail: &'a [u8],
}

/// An object's message, into which any resourceVersion can be written.
#[derive(Debug)]
pub struct Message {
    /// The body, or the object alone where nothing was to stand around it.
    bytes: Bytes,
    is_body: bool,
    /// Of the object in it; 0 is that of what was never stored.
    revision: u64,
    /// The object in `bytes`, the content of its metadata, and the field of resourceVersion in that.
    object: Range<usize>,
    metadata: Range<usize>,
    version: Range<usize>,
}

impl Message {
    /// The object at a revision. `None` where resourceVersion would be outside of the metadata.
    pub fn new(parts: Parts<'_>, revision: u64, around: Option<Around<'_>>) -> Option<Message> {
        let (before, after) = parts.metadata.split_at_checked(parts.version_at)?;
        let metadata_size = parts.metadata.len() + version_size(revision);
        let size = 1 + varint_size(metadata_size) + metadata_size + parts.rest.len();
        let (head, tail) = around.map_or((&[][..], &[][..]), |around| (around.head, around.tail));
        let length = around.map_or(0, |_| varint_size(size));
        let mut out = BytesMut::with_capacity(head.len() + length + size + tail.len());
        out.put_slice(head);
        if around.is_some() {
            put_varint(&mut out, size);
        }
        let object = out.len()..out.len() + size;
        out.put_u8(METADATA_TAG);
        put_varint(&mut out, metadata_size);
        let metadata = out.len()..out.len() + metadata_size;
        out.put_slice(before);
        let version = out.len()..out.len() + version_size(revision);
        put_version(&mut out, revision);
        out.put_slice(after);
        out.put_slice(parts.rest);
        out.put_slice(tail);
        Some(Message {
            bytes: out.freeze(),
            is_body: around.is_some(),
            revision,
            object,
            metadata,
            version,
        })
    }

    /// The whole body at a revision, where that is at hand.
    pub fn body(&self, revision: u64) -> Option<Bytes> {
        (self.is_body && revision == self.revision).then(|| self.bytes.clone())
    }

    /// Exactly how many bytes [`Message::write`] appends.
    pub fn size(&self, revision: u64) -> usize {
        self.partial_size(revision) + self.object.end - self.metadata.end
    }

    /// Appends the object with the resourceVersion `revision`; 0 is the empty one of what was never stored.
    pub fn write(&self, out: &mut BytesMut, revision: u64) {
        if revision == self.revision {
            return out.put_slice(&self.bytes[self.object.clone()]);
        }
        self.write_partial(out, revision);
        out.put_slice(&self.bytes[self.metadata.end..self.object.end]);
    }

    /// Exactly how many bytes [`Message::write_partial`] appends.
    pub fn partial_size(&self, revision: u64) -> usize {
        let metadata = self.metadata_size(revision);
        1 + varint_size(metadata) + metadata
    }

    /// Appends the object's PartialObjectMetadata, whose only field is the same.
    pub fn write_partial(&self, out: &mut BytesMut, revision: u64) {
        if revision == self.revision {
            return out.put_slice(&self.bytes[self.object.start..self.metadata.end]);
        }
        out.put_u8(METADATA_TAG);
        put_varint(out, self.metadata_size(revision));
        out.put_slice(&self.bytes[self.metadata.start..self.version.start]);
        put_version(out, revision);
        out.put_slice(&self.bytes[self.version.end..self.metadata.end]);
    }

    fn metadata_size(&self, revision: u64) -> usize {
        self.metadata.len() - self.version.len() + version_size(revision)
    }
}

impl Form for Message {
    const LIMIT_BYTES: usize = 32 << 20;

    fn held_bytes(&self) -> usize {
        self.bytes.len()
    }
}

/// Bytes of the field of resourceVersion.
fn version_size(revision: u64) -> usize {
    2 + version_length(revision)
}

fn version_length(revision: u64) -> usize {
    match revision {
        0 => 0,
        revision => decimal_digits(revision),
    }
}

fn put_version(out: &mut BytesMut, revision: u64) {
    out.put_u8(VERSION_TAG);
    out.put_u8(version_length(revision) as u8);
    if revision > 0 {
        put_decimal(out, revision);
    }
}

/// Bytes of a length in protobuf.
pub fn varint_size(length: usize) -> usize {
    (length.checked_ilog2().unwrap_or(0) as usize / 7) + 1
}

/// Appends a length as protobuf writes it.
pub fn put_varint(out: &mut BytesMut, mut length: usize) {
    while length >= 0x80 {
        out.put_u8(length as u8 | 0x80);
        length >>= 7;
    }
    out.put_u8(length as u8);
}

/// Appends a number in decimal without allocating.
pub fn put_decimal(out: &mut BytesMut, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

pub(super) fn decimal_digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests;
