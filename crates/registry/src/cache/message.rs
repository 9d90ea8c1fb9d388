//! An object as a protobuf message, into which any resourceVersion can be written: one serves every revision.
//!
//! Who makes it knows the wire format of the kind; here only the place of `metadata.resourceVersion` counts, which is field 6 of field
//! 1 in every kind.

use bytes::{BufMut, Bytes, BytesMut};

use super::kept::Form;

/// Field 1, a message: `metadata` of an object.
const METADATA_TAG: u8 = 1 << 3 | 2;
/// Field 6, a string: `resourceVersion` of the metadata.
const VERSION_TAG: u8 = 6 << 3 | 2;

/// An object's message, into which any resourceVersion can be written.
#[derive(Debug)]
pub struct Message {
    /// The content of the metadata, then the fields after it.
    bytes: Bytes,
    /// Where resourceVersion belongs in the metadata.
    version_at: usize,
    /// Where the metadata ends.
    meta_end: usize,
}

impl Message {
    /// `metadata` is the content of the object's metadata without resourceVersion, which belongs at `version_at`; `rest` what
    /// comes after the metadata. `None` where it does not fit.
    pub fn new(metadata: &[u8], version_at: usize, rest: &[u8]) -> Option<Message> {
        (version_at <= metadata.len()).then(|| Message {
            bytes: Bytes::from([metadata, rest].concat()),
            version_at,
            meta_end: metadata.len(),
        })
    }

    /// Exactly how many bytes [`Message::write`] appends.
    pub fn size(&self, revision: u64) -> usize {
        self.metadata_field_size(revision) + self.bytes.len() - self.meta_end
    }

    /// Appends the object with the resourceVersion `revision`; 0 is the empty one of what was never stored.
    pub fn write(&self, out: &mut BytesMut, revision: u64) {
        self.write_partial(out, revision);
        out.put_slice(&self.bytes[self.meta_end..]);
    }

    /// Exactly how many bytes [`Message::write_partial`] appends.
    pub fn partial_size(&self, revision: u64) -> usize {
        self.metadata_field_size(revision)
    }

    /// Appends the object's PartialObjectMetadata, whose only field is the same.
    pub fn write_partial(&self, out: &mut BytesMut, revision: u64) {
        out.put_u8(METADATA_TAG);
        put_varint(out, self.metadata_size(revision));
        out.put_slice(&self.bytes[..self.version_at]);
        out.put_u8(VERSION_TAG);
        out.put_u8(version_length(revision) as u8);
        if revision > 0 {
            put_decimal(out, revision);
        }
        out.put_slice(&self.bytes[self.version_at..self.meta_end]);
    }

    fn metadata_size(&self, revision: u64) -> usize {
        self.meta_end + 2 + version_length(revision)
    }

    fn metadata_field_size(&self, revision: u64) -> usize {
        let metadata = self.metadata_size(revision);
        1 + varint_size(metadata) + metadata
    }
}

impl Form for Message {
    const LIMIT_BYTES: usize = 32 << 20;

    fn held_bytes(&self) -> usize {
        self.bytes.len()
    }
}

fn version_length(revision: u64) -> usize {
    match revision {
        0 => 0,
        revision => decimal_digits(revision),
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
