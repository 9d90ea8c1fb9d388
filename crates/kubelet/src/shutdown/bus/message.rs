//! Messages of D-Bus, as far as they are needed: little-endian, with texts and numbers.

use std::io;

/// Of a message, bytes; logind's are short.
const MAX: usize = 1 << 20;
const CALL: u8 = 1;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;
/// Bytes before the fields of the header.
const FIXED: usize = 16;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// What a message says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    pub signature: String,
    pub bytes: Vec<u8>,
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    pub kind: u8,
    pub path: String,
    pub interface: String,
    pub member: String,
    pub destination: String,
    pub error_name: String,
    pub reply_to: Option<u32>,
    pub body: Body,
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("no message of D-Bus: {what}"),
    )
}

fn pad(bytes: &mut Vec<u8>, to: usize) {
    bytes.resize(bytes.len().next_multiple_of(to), 0);
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    pad(bytes, 4);
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes.push(0);
}

impl Body {
    /// Texts.
    pub fn texts(texts: &[&str]) -> Self {
        let mut bytes = Vec::new();
        texts.iter().for_each(|text| put_text(&mut bytes, text));
        Self {
            signature: "s".repeat(texts.len()),
            bytes,
        }
    }

    /// A number after what is there.
    pub fn with_number(mut self, number: i32) -> Self {
        pad(&mut self.bytes, 4);
        self.bytes.extend(number.to_le_bytes());
        self.signature.push('i');
        self
    }

    /// The truth value that a body begins with.
    pub fn truth(&self) -> Option<bool> {
        let is_it = self.signature.starts_with('b');
        let bytes = self.bytes.first_chunk::<4>().filter(|_| is_it)?;
        Some(u32::from_le_bytes(*bytes) != 0)
    }

    /// The large number in the variant that a body is.
    pub fn large_in_variant(&self) -> Option<u64> {
        let is_it = self.signature == "v" && self.bytes.starts_with(b"\x01t\0");
        let bytes = self.bytes.get(8..)?.first_chunk::<8>().filter(|_| is_it)?;
        Some(u64::from_le_bytes(*bytes))
    }

    fn first_text(&self) -> Option<String> {
        let mut reader = Reader {
            bytes: &self.bytes,
            at: 0,
        };
        let is_it = self.signature.starts_with('s');
        is_it.then(|| reader.text().ok()).flatten()
    }
}

impl Message {
    /// A call of what is at (destination, path, interface).
    pub fn call(
        (destination, path, interface): (&str, &str, &str),
        member: &str,
        body: Body,
    ) -> Self {
        Self {
            kind: CALL,
            path: path.to_owned(),
            interface: interface.to_owned(),
            member: member.to_owned(),
            destination: destination.to_owned(),
            body,
            ..Self::default()
        }
    }

    pub fn is_signal(&self) -> bool {
        self.kind == SIGNAL
    }

    /// What went wrong, of an answer that says so.
    pub fn error(&self) -> Option<String> {
        let text = || self.body.first_text().unwrap_or_default();
        (self.kind == ERROR).then(|| format!("{}: {}", self.error_name, text()))
    }

    /// Its bytes.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        let mut fields = Vec::new();
        let mut put = |code: u8, kind: u8, text: &str| {
            if text.is_empty() {
                return;
            }
            pad(&mut fields, 8);
            fields.extend([code, 1, kind, 0]);
            if kind == b'g' {
                fields.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
                fields.extend(text.as_bytes());
                fields.push(0);
            } else {
                put_text(&mut fields, text);
            }
        };
        put(PATH, b'o', &self.path);
        put(INTERFACE, b's', &self.interface);
        put(MEMBER, b's', &self.member);
        put(ERROR_NAME, b's', &self.error_name);
        put(DESTINATION, b's', &self.destination);
        put(SIGNATURE, b'g', &self.body.signature);
        if let Some(reply) = self.reply_to {
            pad(&mut fields, 8);
            fields.extend([REPLY_SERIAL, 1, b'u', 0]);
            fields.extend(reply.to_le_bytes());
        }
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = vec![b'l', self.kind, 0, 1];
        bytes.extend(number(self.body.bytes.len()));
        bytes.extend(serial.to_le_bytes());
        bytes.extend(number(fields.len()));
        bytes.extend(fields);
        pad(&mut bytes, 8);
        bytes.extend(&self.body.bytes);
        bytes
    }

    /// Reads one whole message.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut reader = Reader { bytes, at: 0 };
        let [_, kind, _, _] = reader.take::<4>()?;
        let body = reader.number()? as usize;
        let _serial = reader.number()?;
        let fields = reader.number()? as usize;
        let end = FIXED + fields;
        let mut message = Self {
            kind,
            ..Self::default()
        };
        while reader.at < end {
            reader.align(8)?;
            reader.field(&mut message)?;
        }
        let begin = end.next_multiple_of(8);
        let content = bytes.get(begin..begin + body);
        message.body.bytes = content.ok_or_else(|| wrong("it ends too early"))?.to_vec();
        Ok(message)
    }
}

/// How long the message is that begins here, once that can be told.
pub fn length(bytes: &[u8]) -> io::Result<Option<usize>> {
    let Some(head) = bytes.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    if head[0] != b'l' || head[3] != 1 {
        return Err(wrong("another byte order or version"));
    }
    let mut reader = Reader { bytes: head, at: 4 };
    let body = reader.number()? as usize;
    let _serial = reader.number()?;
    let fields = reader.number()? as usize;
    if body > MAX || fields > MAX {
        return Err(wrong("it is too long"));
    }
    Ok(Some((FIXED + fields).next_multiple_of(8) + body))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest
            .first_chunk::<N>()
            .ok_or_else(|| wrong("it ends too early"))?;
        self.at += N;
        Ok(*taken)
    }

    fn align(&mut self, to: usize) -> io::Result<()> {
        self.at = self.at.next_multiple_of(to);
        match self.at > self.bytes.len() {
            true => Err(wrong("it ends too early")),
            false => Ok(()),
        }
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4)?;
        self.take::<4>().map(u32::from_le_bytes)
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.number()? as usize;
        self.text_of(length)
    }

    fn text_of(&mut self, length: usize) -> io::Result<String> {
        let text = self.bytes.get(self.at..self.at.saturating_add(length));
        let text = text.ok_or_else(|| wrong("it ends too early"))?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(text).into_owned())
    }

    /// A field of the header, of which some matter.
    fn field(&mut self, message: &mut Message) -> io::Result<()> {
        let [code, length] = self.take::<2>()?;
        let kind = self.text_of(usize::from(length))?;
        let text = match kind.as_str() {
            "s" | "o" => self.text()?,
            "g" => {
                let [length] = self.take::<1>()?;
                self.text_of(usize::from(length))?
            }
            "u" => {
                let number = self.number()?;
                if code == REPLY_SERIAL {
                    message.reply_to = Some(number);
                }
                return Ok(());
            }
            _ => return Err(wrong("a field of a form that is not known")),
        };
        match code {
            PATH => message.path = text,
            INTERFACE => message.interface = text,
            MEMBER => message.member = text,
            ERROR_NAME => message.error_name = text,
            DESTINATION => message.destination = text,
            SIGNATURE => message.body.signature = text,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        let body = Body::texts(&["shutdown", "ä"]).with_number(-7);
        let mut message = Message::call(("a.b", "/a/b", "a.b.C"), "Do", body);
        message.reply_to = Some(9);
        let bytes = message.encode(3);
        assert_eq!(length(&bytes).unwrap(), Some(bytes.len()));
        assert_eq!(Message::decode(&bytes).unwrap(), message);
        for cut in 0..bytes.len() {
            let part = &bytes[..cut];
            assert!(length(part).unwrap().is_none_or(|whole| whole > cut));
            assert!(Message::decode(part).is_err(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [[b'B'; 16], [b'l'; 16], [0xff; 16]] {
            assert!(length(&bytes).is_err());
        }
        let mut long = Message::default().encode(1);
        long[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(length(&long).is_err());
    }

    #[test]
    fn values_are_taken_by_their_signature() {
        let truth = |signature: &str, bytes: &[u8]| Body {
            signature: signature.to_owned(),
            bytes: bytes.to_vec(),
        };
        assert_eq!(truth("b", &[1, 0, 0, 0]).truth(), Some(true));
        assert_eq!(truth("b", &[0, 0, 0, 0]).truth(), Some(false));
        assert_eq!(truth("u", &[1, 0, 0, 0]).truth(), None);
        assert_eq!(truth("b", &[1]).truth(), None);
        let delay = truth("v", b"\x01t\0\0\0\0\0\0\x40\x4b\x4c\0\0\0\0\0");
        assert_eq!(delay.large_in_variant(), Some(5_000_000));
    }
}
