//! What messages are wrapped in on the wire: a body's type and length, and the events of a watch.

use bytes::{BufMut, Bytes, BytesMut};
use knarr_registry::cache::message::{Around, put_varint, varint_size};

use super::{MAGIC, wire};

/// `runtime.Unknown`'s field of the object's own bytes.
const RAW_TAG: u8 = 2 << 3 | 2;
/// Its fields of content encoding and type, which are empty: always written, as upstream does.
const TAIL: &[u8] = &[3 << 3 | 2, 0, 4 << 3 | 2, 0];

/// A body's type: what stands before and after an object's bytes.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Up to the length of the object.
    head: Box<[u8]>,
}

impl Envelope {
    pub fn new(api_version: &str, kind: &str) -> Envelope {
        let field = |text: &str| 1 + varint_size(text.len()) + text.len();
        let type_meta = field(api_version) + field(kind);
        let size = MAGIC.len() + 1 + varint_size(type_meta) + type_meta + 1;
        let mut head = Vec::with_capacity(size);
        head.extend_from_slice(MAGIC);
        head.push(1 << 3 | 2);
        wire::put_varint(&mut head, type_meta as u64);
        wire::put_bytes(&mut head, 1, api_version.as_bytes());
        wire::put_bytes(&mut head, 2, kind.as_bytes());
        head.push(RAW_TAG);
        Envelope { head: head.into() }
    }

    /// What stands around an object whose length is to come.
    pub fn around(&self) -> Around<'_> {
        Around {
            head: &self.head,
            tail: TAIL,
        }
    }

    /// Bytes of a body whose object takes `content`.
    pub fn size(&self, content: usize) -> usize {
        self.head.len() + varint_size(content) + content + TAIL.len()
    }

    /// Appends what stands before an object of `content` bytes.
    pub fn open(&self, out: &mut BytesMut, content: usize) {
        out.put_slice(&self.head);
        put_varint(out, content);
    }

    /// Appends what stands after it.
    pub fn close(&self, out: &mut BytesMut) {
        out.put_slice(TAIL);
    }
}

/// A frame of a watch: its length in four bytes, then a `WatchEvent`, which is in no envelope; its object, a whole body, is.
pub fn watch_event(kind: &str, object: &[u8]) -> Bytes {
    // The object is field 1 of a RawExtension.
    let raw = 1 + varint_size(object.len()) + object.len();
    let event = 2 + kind.len() + 1 + varint_size(raw) + raw;
    let mut out = BytesMut::with_capacity(4 + event);
    out.put_u32(u32::try_from(event).unwrap_or(u32::MAX));
    out.put_u8(1 << 3 | 2);
    put_varint(&mut out, kind.len());
    out.put_slice(kind.as_bytes());
    out.put_u8(2 << 3 | 2);
    put_varint(&mut out, raw);
    out.put_u8(1 << 3 | 2);
    put_varint(&mut out, object.len());
    out.put_slice(object);
    out.freeze()
}
