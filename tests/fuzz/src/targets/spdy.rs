//! SPDY frames, to a server that sends back what comes on each stream. Header blocks of an input are plain; they are compressed as
//! a client does it, but in frames with [`FLAG_RAW`].
//!
//! Whatever is sent, what comes back are frames, on streams that were opened, as the protocol orders them; on each stream a prefix
//! of what was sent on it, and all of it where the client kept to the protocol; and no more credit than was used.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compress, Compression, FlushCompress};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use knarr_runtime::streaming::spdy::frame::{Control, HEAD_BYTES, Head};
use knarr_runtime::streaming::spdy::headers::Decoder;
use knarr_runtime::streaming::spdy::{Accept, Incoming, connect, together};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::shape;

use super::Target;

/// Of an input: leave the header block as it is.
const FLAG_RAW: u8 = 0x80;
const FLAG_FIN: u8 = 0x01;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const HEADERS: u16 = 8;
/// Streams of which the server is sure to take all.
const SURE_STREAMS: usize = 500;
/// Of paused time: how long the client waits for what still comes, how long the server for a client that holds it up, and how
/// long everything may take.
const SETTLE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(600);

pub struct Frames {
    runtime: Runtime,
}

/// What a client sends, and what that means.
#[derive(Default)]
struct Sent {
    wire: Vec<u8>,
    /// What was sent on each stream while it was open.
    streams: BTreeMap<u32, Vec<u8>>,
    open: BTreeSet<u32>,
    /// Streams that were tried to open.
    tried: BTreeSet<u32>,
    pings: BTreeSet<u32>,
    /// Everything is right, and nothing holds the server back.
    clean: bool,
}

impl Sent {
    fn read(mut input: &[u8]) -> Self {
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

/// Sends back what comes.
async fn echo(stream: Incoming) {
    let Incoming {
        mut input, output, ..
    } = stream;
    while let Some(chunk) = input.next().await {
        if output.send(chunk).await.is_err() {
            return;
        }
    }
    // A client that has gone hears nothing.
    let _ = output.end().await;
}

async fn echo_all(mut accept: Accept) {
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            stream = accept.next() => match stream {
                Some(stream) => running.push(echo(stream)),
                None => break,
            },
            Some(()) = running.next() => {}
        }
    }
    while running.next().await.is_some() {}
}

/// What the server sends.
async fn session(wire: &[u8]) -> Result<Vec<u8>, String> {
    let (client, server) = tokio::io::duplex(16 << 10);
    let (driver, accept) = connect(server, IDLE);
    let (mut reader, mut writer) = tokio::io::split(client);
    let writing = async {
        // A server that has gone takes nothing.
        let _ = writer.write_all(wire).await;
        tokio::time::sleep(SETTLE).await;
        let _ = writer.shutdown().await;
    };
    let reading = async {
        let mut all = Vec::new();
        let _ = reader.read_to_end(&mut all).await;
        all
    };
    let all = async { tokio::join!(together(driver, echo_all(accept)), writing, reading).2 };
    tokio::time::timeout(LIMIT, all)
        .await
        .map_err(|_| "the session does not end".to_owned())
}

/// What came back on the streams.
#[derive(Default)]
struct Received {
    streams: BTreeMap<u32, Vec<u8>>,
    ended: BTreeSet<u32>,
    replied: BTreeSet<u32>,
    credit: BTreeMap<u32, usize>,
    closed: bool,
}

impl Received {
    fn read(mut bytes: &[u8], sent: &Sent) -> Result<Self, String> {
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

    fn check(&self, sent: &Sent) -> Result<(), String> {
        for (stream, back) in &self.streams {
            let wanted = sent.streams.get(stream).map_or(&[][..], Vec::as_slice);
            if sent.tried.len() <= SURE_STREAMS && !wanted.starts_with(back) {
                return Err(format!("stream {stream} brings back something else"));
            }
        }
        if !sent.clean || sent.tried.len() > SURE_STREAMS {
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

fn control(kind: u16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or_default();
    let mut frame = vec![0x80, 3];
    frame.extend(kind.to_be_bytes());
    frame.extend((u32::from(flags) << 24 | length).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn open(stream: u32, flags: u8, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut payload = stream.to_be_bytes().to_vec();
    payload.extend([0; 6]);
    payload.extend(
        u32::try_from(headers.len())
            .unwrap_or_default()
            .to_be_bytes(),
    );
    for text in headers.iter().flat_map(|(name, value)| [name, value]) {
        payload.extend(u32::try_from(text.len()).unwrap_or_default().to_be_bytes());
        payload.extend(text.bytes());
    }
    control(SYN_STREAM, flags, &payload)
}

fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or_default();
    let mut frame = stream.to_be_bytes().to_vec();
    frame.extend((u32::from(flags) << 24 | length).to_be_bytes());
    frame.extend_from_slice(bytes);
    frame
}

impl Frames {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        Self { runtime }
    }
}

impl Target for Frames {
    fn seeds(&self) -> Vec<Vec<u8>> {
        let window = |bytes: u32| {
            let setting = [[0, 0, 0, 1], [0, 0, 0, 7], bytes.to_be_bytes()];
            control(4, 0, &setting.concat())
        };
        let update = |stream: u32, delta: u32| {
            control(9, 0, &[stream.to_be_bytes(), delta.to_be_bytes()].concat())
        };
        let reset = |stream: u32| control(3, 0, &[stream.to_be_bytes(), [0, 0, 0, 5]].concat());
        let stdin = [("streamtype", "stdin")];
        let port = [("streamtype", "data"), ("port", "80"), ("requestid", "0")];
        vec![
            [
                open(1, 0, &stdin),
                data(1, 0, b"hello"),
                data(1, FLAG_FIN, b""),
            ]
            .concat(),
            [
                open(1, 0, &port),
                open(3, FLAG_FIN, &[]),
                data(1, 0, b"a"),
                data(3, 0, b"b"),
                data(1, FLAG_FIN, b"c"),
            ]
            .concat(),
            [
                window(3),
                open(1, 0, &stdin),
                data(1, 0, b"hello"),
                update(1, 5),
                update(0, 5),
                reset(1),
                data(1, 0, b"x"),
            ]
            .concat(),
            [
                control(6, 0, &[0, 0, 0, 7]),
                control(6, 0, &[0, 0, 0, 8]),
                control(7, 0, &[0; 8]),
            ]
            .concat(),
            [
                open(1, 0, &stdin),
                control(HEADERS, FLAG_FIN, &[0, 0, 0, 1, 0, 0, 0, 0]),
                open(5, FLAG_RAW, &stdin),
            ]
            .concat(),
            [open(1, 0, &stdin), data(1, FLAG_FIN, &[b'x'; 9_000])].concat(),
        ]
    }

    fn words(&self) -> &'static [&'static str] {
        &[
            "\0\0\0\u{1}\0\0\0\u{1}x",
            "\0\0\0\u{1}\u{1}\0\0\0",
            "\0\0\0\u{3}\0\0\0\u{1}y",
            "\0\0\0\u{1}",
            "\0\0\0\u{3}",
            "\0\0\0\u{7}",
            "\0\0\0\0",
            "streamtype",
            "\u{7f}",
            "\u{1}",
        ]
    }

    fn run(&mut self, input: &[u8]) -> Result<u64, String> {
        let sent = Sent::read(input);
        let bytes = self.runtime.block_on(session(&sent.wire))?;
        if bytes.len() > 4 * sent.wire.len() + 1_024 {
            return Err(format!("{} bytes bring {}", sent.wire.len(), bytes.len()));
        }
        let received = Received::read(&bytes, &sent)?;
        received.check(&sent)?;
        Ok(shape::exact(format!(
            "{} {} {} {} {} {}",
            sent.clean,
            sent.tried.len().min(4),
            received.replied.len().min(4),
            received.ended.len().min(4),
            received.streams.values().any(|back| !back.is_empty()),
            received.closed,
        )))
    }
}
