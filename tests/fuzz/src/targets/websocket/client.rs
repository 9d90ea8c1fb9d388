//! The client's side: a script to bytes, and the server's bytes to channels.

use std::collections::BTreeMap;

use base64::{Engine, prelude::BASE64_STANDARD};

const BINARY: u8 = 2;
const TEXT: u8 = 1;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const FIN: u8 = 0x80;
/// The client's frames are masked; with zeros.
const MASKED: u8 = 0x80;
/// Lengths that are said by two bytes and by eight.
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a client sends after its request.
pub struct Script {
    protocol: String,
    pub wire: Vec<u8>,
    channels: BTreeMap<u8, Vec<u8>>,
    ended: Vec<u8>,
    /// Every frame is one of known meaning.
    known: bool,
    /// The client ends the connection.
    closes: bool,
}

impl Script {
    pub fn read<'a>(protocol: &str, lines: impl Iterator<Item = &'a str>) -> Self {
        let visible = |c: &char| c.is_ascii_graphic() || *c == ' ';
        let mut script = Self {
            protocol: protocol.chars().filter(visible).collect(),
            wire: Vec::new(),
            channels: BTreeMap::new(),
            ended: Vec::new(),
            known: true,
            closes: false,
        };
        for line in lines {
            script.line(line);
        }
        script
    }

    fn line(&mut self, line: &str) {
        let Some(kind) = line.chars().next() else {
            return;
        };
        let rest = &line[kind.len_utf8()..];
        match kind {
            'b' => {
                let message = numbered(rest);
                self.frame(FIN | BINARY, &message);
                if !self.is_base64() {
                    self.data(&message);
                }
            }
            't' => {
                self.frame(FIN | TEXT, rest.as_bytes());
                self.text(rest);
            }
            'c' => {
                let channel = rest.parse().unwrap_or(u8::MAX);
                self.frame(FIN | BINARY, &[u8::MAX, channel]);
                match self.protocol.as_str() {
                    "v5.channel.k8s.io" => self.ended.push(channel),
                    _ => self.data(&[u8::MAX, channel]),
                }
            }
            'p' => self.frame(FIN | PING, rest.as_bytes().get(..100).unwrap_or_default()),
            'z' => {
                self.frame(FIN | CLOSE, b"");
                self.closes = true;
            }
            'f' => {
                self.frame(BINARY, &numbered(rest));
                self.known = false;
            }
            '+' => {
                self.frame(FIN | CONTINUATION, rest.as_bytes());
                self.known = false;
            }
            'x' => {
                self.wire.extend(bytes_of(rest));
                self.known = false;
            }
            _ => {}
        }
    }

    fn data(&mut self, message: &[u8]) {
        if let Some((channel, bytes)) = message.split_first()
            && !self.closes
            && !self.ended.contains(channel)
        {
            self.channels.entry(*channel).or_default().extend(bytes);
        }
    }

    fn text(&mut self, message: &str) {
        let mut message = message.as_bytes().to_vec();
        if !self.is_base64() {
            return self.data(&message);
        }
        let Some(digit) = message.first().copied() else {
            return;
        };
        if let Ok(bytes) = BASE64_STANDARD.decode(&message[1..]) {
            message = bytes;
            message.insert(0, digit.wrapping_sub(b'0'));
            self.data(&message);
        }
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        self.wire.push(first);
        match payload.len() {
            length @ ..=125 => self.wire.push(MASKED | length as u8),
            length => {
                self.wire.push(MASKED | LENGTH_16);
                let length = u16::try_from(length).unwrap_or(u16::MAX);
                self.wire.extend(length.to_be_bytes());
            }
        }
        self.wire.extend([0; 4]);
        self.wire.extend_from_slice(payload);
    }

    /// The request for an upgrade.
    pub fn request(&self, path: &str) -> Vec<u8> {
        let protocol = match self.protocol.as_str() {
            "" => String::new(),
            name => format!("Sec-WebSocket-Protocol: {name}\r\n"),
        };
        format!(
            "GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{protocol}\r\n"
        )
        .into_bytes()
    }

    fn is_base64(&self) -> bool {
        self.protocol.contains("base64")
    }

    /// One protocol, which the server knows, and frames of known meaning.
    pub fn is_known(&self) -> bool {
        let known = [
            "v5.channel.k8s.io",
            "v4.channel.k8s.io",
            "v4.base64.channel.k8s.io",
            "channel.k8s.io",
            "base64.channel.k8s.io",
        ];
        self.known && known.contains(&self.protocol.as_str())
    }

    /// As [`Self::is_known`], from a client that stays.
    pub fn is_clean(&self) -> bool {
        self.is_known() && !self.closes
    }

    /// Errors are objects.
    pub fn has_status(&self) -> bool {
        self.is_clean() && self.protocol.starts_with(['4', '5', 'v'])
    }

    /// What is sent on a channel.
    pub fn sent(&self, channel: u8) -> &[u8] {
        self.channels.get(&channel).map_or(&[], Vec::as_slice)
    }
}

/// A digit and text, as a number and bytes.
fn numbered(text: &str) -> Vec<u8> {
    let mut message = text.as_bytes().to_vec();
    if let Some(first) = message.first_mut() {
        *first = first.wrapping_sub(b'0');
    }
    message
}

fn bytes_of(hexadecimal: &str) -> Vec<u8> {
    let digits: Vec<u8> = hexadecimal
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

/// What the server has sent.
pub struct Answer {
    /// The first line.
    pub head: String,
    pub upgraded: bool,
    /// By number, with what came on them; a tunnel's bytes are on none.
    pub channels: BTreeMap<u8, Vec<u8>>,
    pub closed: bool,
}

impl Answer {
    /// # Errors
    /// Frames that a server must not send.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = end else {
            return Err("the answer has no head".to_owned());
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let lower = head.to_ascii_lowercase();
        let mut answer = Self {
            head: head.lines().next().unwrap_or_default().to_owned(),
            upgraded: head.starts_with("HTTP/1.1 101 "),
            channels: BTreeMap::new(),
            closed: false,
        };
        if answer.upgraded {
            let base64 = lower.contains("base64.channel");
            let tunnel = lower.contains("spdy/3.1");
            answer.frames(&bytes[end + 4..], base64, tunnel)?;
        }
        Ok(answer)
    }

    fn frames(&mut self, mut bytes: &[u8], base64: bool, tunnel: bool) -> Result<(), String> {
        while let Some((opcode, payload, rest)) = frame(bytes)? {
            bytes = rest;
            if self.closed {
                return Err("something follows the end".to_owned());
            }
            match opcode {
                CLOSE => self.closed = true,
                PING | PONG => {}
                BINARY if tunnel => {}
                BINARY | TEXT if (opcode == TEXT) == base64 => self.message(payload, base64)?,
                other => return Err(format!("a frame of type {other}")),
            }
        }
        Ok(())
    }

    fn message(&mut self, payload: &[u8], base64: bool) -> Result<(), String> {
        let (first, bytes) = payload.split_first().ok_or("a message without channel")?;
        let (channel, bytes) = match base64 {
            false => (*first, bytes.to_vec()),
            true => (
                first.wrapping_sub(b'0'),
                BASE64_STANDARD
                    .decode(bytes)
                    .map_err(|error| format!("no base64: {error}"))?,
            ),
        };
        self.channels.entry(channel).or_default().extend(bytes);
        Ok(())
    }

    /// What came on a channel.
    pub fn channel(&self, channel: u8) -> &[u8] {
        self.channels.get(&channel).map_or(&[], Vec::as_slice)
    }
}

type Frame<'a> = (u8, &'a [u8], &'a [u8]);

/// The first frame's type and payload, and what follows it; `None` where it is cut off.
fn frame(bytes: &[u8]) -> Result<Option<Frame<'_>>, String> {
    let [first, second, rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = first & 0x0f;
    let control = opcode >= CLOSE;
    if first & !0x0f != FIN || second & MASKED != 0 || control && *second >= LENGTH_16 {
        return Err(format!("a frame begins with {first:#x} {second:#x}"));
    }
    let (length, rest) = match *second {
        LENGTH_16 => match rest.split_first_chunk::<2>() {
            Some((length, rest)) => (usize::from(u16::from_be_bytes(*length)), rest),
            None => return Ok(None),
        },
        LENGTH_64 => match rest.split_first_chunk::<8>() {
            Some((length, rest)) => (u64::from_be_bytes(*length) as usize, rest),
            None => return Ok(None),
        },
        length => (usize::from(length), rest),
    };
    Ok(rest
        .split_at_checked(length)
        .map(|(payload, rest)| (opcode, payload, rest)))
}
