//! Messages as they are on the wire: enough of them to answer from what is kept without taking them apart.

/// Bytes of a header.
pub const HEADER_BYTES: usize = 12;
/// Bytes of an OPT record of ours.
pub const OPT_BYTES: usize = 11;
/// The longest name, in bytes.
const NAME_BYTES: usize = 255;
/// A key: a name, type, class and [`Question::dnssec_ok`] with [`Question::checking_disabled`].
const KEY_BYTES: usize = NAME_BYTES + 5;
/// What fits into a UDP answer by default and at most (the size that crosses the internet unfragmented).
pub const PLAIN_LIMIT_BYTES: u16 = 512;
pub const EDNS_LIMIT_BYTES: u16 = 1232;

pub const TYPE_SOA: u16 = 6;
pub const TYPE_OPT: u16 = 41;
const CLASS_IN: u16 = 1;
/// From here on types are of questions and of single messages, not of records.
const META_TYPES: std::ops::RangeInclusive<u16> = 128..=255;

/// Bits of the third and fourth byte.
pub const RESPONSE: u8 = 0x80;
const OPCODE: u8 = 0x78;
pub const TRUNCATED: u8 = 0x02;
pub const RECURSION_DESIRED: u8 = 0x01;
pub const AUTHENTIC: u8 = 0x20;
pub const CHECKING_DISABLED: u8 = 0x10;
pub const RCODE: u8 = 0x0f;
/// In the third byte of an OPT record's flags.
const DNSSEC_OK: u8 = 0x80;

/// Options of EDNS that say nothing about the answer, or are between two neighbours only: keepalive, padding, cookies.
const IGNORED_OPTIONS: [u16; 3] = [11, 12, 10];

/// An OPT record of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The largest answer over UDP, bytes.
    pub payload: u16,
    pub dnssec_ok: bool,
}

/// An ordinary question, on whose name, type, class and bits alone the answer depends.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub id: [u8; 2],
    flags: [u8; 2],
    /// Its section.
    pub bytes: &'a [u8],
    pub extension: Option<Extension>,
}

/// What answers are kept under; on the stack.
pub struct Key {
    bytes: [u8; KEY_BYTES],
    length: usize,
}

impl Key {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl<'a> Question<'a> {
    /// Reads a whole message. `None` where it is none of these: anything but one question of class IN for records, that wants recursion.
    pub fn read(message: &'a [u8]) -> Option<Self> {
        let header = message.first_chunk::<HEADER_BYTES>()?;
        let flags = [header[2], header[3]];
        let wanted = flags[0] & (RESPONSE | OPCODE | TRUNCATED | RECURSION_DESIRED);
        let counts = [4, 6, 8, 10].map(|at| number(header, at));
        let [1, 0, 0, additional @ (0 | 1)] = counts else {
            return None;
        };
        if wanted != RECURSION_DESIRED {
            return None;
        }
        let name_end = plain_name(message, HEADER_BYTES)?;
        let end = name_end.checked_add(4)?;
        let [kind @ .., c1, c2] = message.get(name_end..end)? else {
            return None;
        };
        let kind = u16::from_be_bytes(kind.try_into().ok()?);
        let is_meta = kind == 0 || kind == TYPE_OPT || META_TYPES.contains(&kind);
        if is_meta || u16::from_be_bytes([*c1, *c2]) != CLASS_IN {
            return None;
        }
        let rest = message.get(end..)?;
        let extension = match additional {
            0 if rest.is_empty() => None,
            1 => Some(extension(rest)?),
            _ => return None,
        };
        Some(Self {
            id: [header[0], header[1]],
            flags,
            bytes: message.get(HEADER_BYTES..end)?,
            extension,
        })
    }

    /// Where it ends in a message.
    pub(crate) fn end(&self) -> usize {
        HEADER_BYTES.saturating_add(self.bytes.len())
    }

    /// Behind the name are the type and the class.
    fn name_bytes(&self) -> usize {
        self.bytes.len().saturating_sub(4)
    }

    /// The name as it came.
    pub fn name(&self) -> &'a [u8] {
        &self.bytes[..self.name_bytes()]
    }

    pub fn dnssec_ok(&self) -> bool {
        self.extension.is_some_and(|extension| extension.dnssec_ok)
    }

    fn checking_disabled(&self) -> bool {
        self.flags[1] & CHECKING_DISABLED != 0
    }

    /// Whether who asks knows what the bit for authentic data means (RFC 6840, 5.8).
    pub fn wants_authentic(&self) -> bool {
        self.dnssec_ok() || self.flags[1] & AUTHENTIC != 0
    }

    /// Below `in-addr.arpa` or `ip6.arpa`.
    pub fn is_reverse(&self) -> bool {
        const ARPA: &[u8] = b"\x04arpa\0";
        let name = self.name();
        let tail = name.len().checked_sub(ARPA.len());
        tail.is_some_and(|tail| name[tail..].eq_ignore_ascii_case(ARPA))
    }

    /// The most that an answer may have, in bytes.
    pub fn limit(&self, tcp: bool) -> u16 {
        match self.extension {
            _ if tcp => u16::MAX,
            None => PLAIN_LIMIT_BYTES,
            Some(edns) => edns.payload.clamp(PLAIN_LIMIT_BYTES, EDNS_LIMIT_BYTES),
        }
    }

    pub fn key(&self) -> Key {
        let mut bytes = [0; KEY_BYTES];
        let length = self.bytes.len();
        // Lengths of labels are no letters, and the four bytes at the end are not touched.
        bytes[..length].copy_from_slice(self.bytes);
        bytes[..self.name_bytes()].make_ascii_lowercase();
        let (dnssec, unchecked) = (self.dnssec_ok(), self.checking_disabled());
        bytes[length] = u8::from(dnssec) | u8::from(unchecked) << 1;
        Key {
            bytes,
            length: length.saturating_add(1),
        }
    }

    /// The same question as it is put to a resolver: without what is between the client and us.
    pub fn outgoing(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(self.end().saturating_add(OPT_BYTES));
        let bits = self.flags[1] & (CHECKING_DISABLED | AUTHENTIC);
        let additional = u8::from(self.extension.is_some());
        message.extend([
            0,
            0,
            RECURSION_DESIRED,
            bits,
            0,
            1,
            0,
            0,
            0,
            0,
            0,
            additional,
        ]);
        message.extend(self.bytes);
        if self.extension.is_some() {
            message.extend(opt(self.dnssec_ok()));
        }
        message
    }

    /// Makes an answer without OPT record one to this question: its id, its spelling of the name, its bits, its extension.
    pub fn address(&self, answer: &mut Vec<u8>) {
        answer[..2].copy_from_slice(&self.id);
        answer[2] = answer[2] & !RECURSION_DESIRED | self.flags[0] & RECURSION_DESIRED;
        let authentic = if self.wants_authentic() { AUTHENTIC } else { 0 };
        let kept = !(AUTHENTIC | CHECKING_DISABLED) | authentic;
        answer[3] = answer[3] & kept | self.flags[1] & CHECKING_DISABLED;
        answer[HEADER_BYTES..self.end()].copy_from_slice(self.bytes);
        if self.extension.is_some() {
            let count = u16::from_be_bytes([answer[10], answer[11]]).saturating_add(1);
            answer[10..12].copy_from_slice(&count.to_be_bytes());
            answer.extend(opt(self.dnssec_ok()));
        }
    }

    /// Whether a message answers this question.
    pub fn is_answered_by(&self, message: &[u8]) -> bool {
        let Some(header) = message.first_chunk::<HEADER_BYTES>() else {
            return false;
        };
        let question = message.get(HEADER_BYTES..self.end());
        let (name, rest) = self.bytes.split_at(self.name_bytes());
        header[2] & (RESPONSE | OPCODE) == RESPONSE
            && header[4..6] == [0, 1]
            && question.is_some_and(|question| {
                let (asked, same) = question.split_at(name.len());
                asked.eq_ignore_ascii_case(name) && same == rest
            })
    }
}

/// A number of a header: flags or how many records there are.
pub fn number(header: &[u8; HEADER_BYTES], at: usize) -> u16 {
    let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u16::from_be_bytes(*bytes))
}

/// An OPT record of ours.
fn opt(dnssec_ok: bool) -> [u8; OPT_BYTES] {
    let [high, low] = EDNS_LIMIT_BYTES.to_be_bytes();
    let flags = if dnssec_ok { DNSSEC_OK } else { 0 };
    [0, 0, 41, high, low, 0, 0, flags, 0, 0, 0]
}

/// Reads an OPT record that ends the message.
fn extension(record: &[u8]) -> Option<Extension> {
    let head = record.first_chunk::<11>()?;
    let [0, k1, k2, p1, p2, 0, 0, flags, _, l1, l2] = *head else {
        return None;
    };
    let mut options = &record[11..];
    let is_opt = u16::from_be_bytes([k1, k2]) == TYPE_OPT;
    if !is_opt || options.len() != usize::from(u16::from_be_bytes([l1, l2])) {
        return None;
    }
    while !options.is_empty() {
        let [c1, c2, l1, l2, rest @ ..] = options else {
            return None;
        };
        if !IGNORED_OPTIONS.contains(&u16::from_be_bytes([*c1, *c2])) {
            return None;
        }
        options = rest.get(usize::from(u16::from_be_bytes([*l1, *l2]))..)?;
    }
    Some(Extension {
        payload: u16::from_be_bytes([p1, p2]),
        dnssec_ok: flags & DNSSEC_OK != 0,
    })
}

/// The end of a name that is spelled out.
fn plain_name(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at = at.checked_add(1)?;
        match length {
            0 => return (at.checked_sub(start)? <= NAME_BYTES).then_some(at),
            1..=63 => at = at.checked_add(length)?,
            _ => return None,
        }
        if at.checked_sub(start)? > NAME_BYTES {
            return None;
        }
    }
}

/// The end of a name that may end with a pointer.
fn any_name(message: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        let length = usize::from(*message.get(at)?);
        at = at.checked_add(1)?;
        match length {
            0 => return Some(at),
            1..=63 => at = at.checked_add(length)?,
            0xc0.. => return at.checked_add(1).filter(|end| *end <= message.len()),
            _ => return None,
        }
    }
}

/// A record's place in its message.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub start: usize,
    pub kind: u16,
    /// Where its time to live is.
    pub ttl: usize,
    pub data: usize,
    pub end: usize,
}

impl Place {
    pub fn ttl_seconds(&self, message: &[u8]) -> Option<u32> {
        let bytes = message.get(self.ttl..)?.first_chunk()?;
        let ttl = u32::from_be_bytes(*bytes);
        // RFC 2181, 8: one with the highest bit is none.
        Some(if ttl > i32::MAX as u32 { 0 } else { ttl })
    }
}

/// The records from `start` on, `count` of them; `None` where they are cut off.
pub fn places(message: &[u8], start: usize, count: u16) -> Option<(Vec<Place>, usize)> {
    let mut places = Vec::with_capacity(usize::from(count.min(64)));
    let mut at = start;
    for _ in 0..count {
        let fixed = any_name(message, at)?;
        let head: &[u8; 10] = message.get(fixed..)?.first_chunk()?;
        let data = fixed.checked_add(head.len())?;
        let end = data.checked_add(u16::from_be_bytes([head[8], head[9]]).into())?;
        if end > message.len() {
            return None;
        }
        places.push(Place {
            start: at,
            kind: u16::from_be_bytes([head[0], head[1]]),
            ttl: fixed.checked_add(4)?,
            data,
            end,
        });
        at = end;
    }
    Some((places, at))
}

#[cfg(test)]
mod tests;
