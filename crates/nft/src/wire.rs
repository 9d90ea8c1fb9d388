//! Netlink framing: messages and attributes, written to and read from bytes.

use nix::libc::{NLM_F_ACK, NLM_F_REQUEST};

/// Attributes and messages begin at multiples of it.
const ALIGNMENT: usize = 4;
pub const MESSAGE_HEADER_BYTES: usize = 16;
/// The family, the version and the resource that follow a message's header.
pub const NETFILTER_HEADER_BYTES: usize = 4;
pub const ATTRIBUTE_HEADER_BYTES: usize = 4;
const NESTED: u16 = 1 << 15;
/// Flags beside an attribute's kind.
const KIND_MASK: u16 = 0x3fff;

/// The start of a message.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub kind: u16,
    /// Beside `NLM_F_REQUEST`.
    pub flags: i32,
    pub family: u8,
    pub resource: u16,
    pub sequence: u32,
}

/// Messages, one after the other.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn message(&mut self, header: Header, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        let flags = flags(header.flags | NLM_F_REQUEST);
        self.0.extend([0; 4]);
        self.0.extend(header.kind.to_ne_bytes());
        self.0.extend(flags.to_ne_bytes());
        self.0.extend(header.sequence.to_ne_bytes());
        // The kernel fills in who sends.
        self.0.extend([0; 4]);
        self.0.extend([header.family, 0]);
        self.0.extend(header.resource.to_be_bytes());
        body(self);
        let length = self.0.len().saturating_sub(start);
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.put(start, &length.to_ne_bytes());
    }

    /// Asks for an answer to the message that begins at `start` also when all is well.
    pub fn acknowledge(&mut self, start: usize) {
        let message = self.0.get_mut(start..).unwrap_or_default();
        if let Some(field) = message.get_mut(6..8) {
            let set = u16::from_ne_bytes([field[0], field[1]]) | flags(NLM_F_ACK);
            field.copy_from_slice(&set.to_ne_bytes());
        }
    }

    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |writer| writer.0.extend(value));
    }

    /// In network order, as all numbers of netfilter.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub fn u64(&mut self, kind: u16, value: u64) {
        self.bytes(kind, &value.to_be_bytes());
    }

    pub fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |writer| {
            writer.0.extend(value.as_bytes());
            writer.0.push(0);
        });
    }

    pub fn nested(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        self.attribute(kind | NESTED, body);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// In place of what was kept free there.
    fn put(&mut self, start: usize, value: &[u8]) {
        let kept = self.0.get_mut(start..).unwrap_or_default();
        if let Some(field) = kept.get_mut(..value.len()) {
            field.copy_from_slice(value);
        }
    }

    /// One that has grown beyond what its length can say is refused by the kernel.
    fn attribute(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        self.0.extend([0; 2]);
        self.0.extend(kind.to_ne_bytes());
        body(self);
        let length = self.0.len().saturating_sub(start);
        let length = u16::try_from(length).unwrap_or(u16::MAX);
        self.put(start, &length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }
}

fn flags(flags: i32) -> u16 {
    u16::try_from(flags).unwrap_or(0)
}

/// A message that was received, or one of ours.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub kind: u16,
    pub sequence: u32,
    /// Whose request it answers or tells of.
    pub port: u32,
    /// After the header.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The family, of a message of netfilter.
    pub fn family(&self) -> Option<u8> {
        self.body.first().copied()
    }

    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.body.get(NETFILTER_HEADER_BYTES..).unwrap_or_default())
    }
}

/// The messages of a datagram; ends at the first that is torn.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = bytes.get(start..)?;
        let length = usize::try_from(u32::from_ne_bytes(*rest.first_chunk()?)).ok()?;
        let message = rest.get(..length)?;
        let (header, body) = message.split_at_checked(MESSAGE_HEADER_BYTES)?;
        let found = Message {
            kind: u16::from_ne_bytes([header[4], header[5]]),
            sequence: u32_at(header, 8)?,
            port: u32_at(header, 12)?,
            body,
        };
        start = start.checked_add(length.checked_next_multiple_of(ALIGNMENT)?)?;
        Some(found)
    })
}

/// In host order, as netlink's own numbers.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let field = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*field))
}

/// An attribute's kind, where it begins, and its value.
pub type Attribute<'a> = (u16, usize, &'a [u8]);

/// The attributes of a message or of another attribute; ends at the first that is torn.
#[derive(Clone, Debug)]
pub struct Attributes<'a> {
    bytes: &'a [u8],
    start: usize,
}

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, start: 0 }
    }

    pub fn find(&self, wanted: u16) -> Option<&'a [u8]> {
        let mut same = self.clone().filter(|(kind, ..)| *kind == wanted);
        same.next().map(|(_, _, value)| value)
    }

    /// Without the NUL at its end.
    pub fn text(&self, wanted: u16) -> Option<&'a str> {
        let bytes = self.find(wanted)?.split(|byte| *byte == 0).next()?;
        std::str::from_utf8(bytes).ok()
    }

    /// A number of netfilter.
    pub fn u32(&self, wanted: u16) -> Option<u32> {
        let bytes = self.find(wanted)?.first_chunk()?;
        Some(u32::from_be_bytes(*bytes))
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.start..)?;
        let (length, kind) = (rest.get(..2)?, rest.get(2..4)?);
        let length = usize::from(u16::from_ne_bytes([length[0], length[1]]));
        let value = rest.get(ATTRIBUTE_HEADER_BYTES..length)?;
        let kind = u16::from_ne_bytes([kind[0], kind[1]]) & KIND_MASK;
        let found = (kind, self.start, value);
        self.start = self.start.checked_add(length.next_multiple_of(ALIGNMENT))?;
        Some(found)
    }
}

#[cfg(test)]
mod tests;
