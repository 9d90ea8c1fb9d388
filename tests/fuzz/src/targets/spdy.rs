//! SPDY frames, to a server that sends back what comes on each stream. Header blocks of an input are plain; they are compressed as
//! a client does it, but in frames with [`FLAG_RAW`].
//!
//! Whatever is sent, what comes back are frames, on streams that were opened, as the protocol orders them; on each stream a prefix
//! of what was sent on it, and all of it where the client kept to the protocol; and no more credit than was used.

mod received;
mod sent;

use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use knarr_runtime::streaming::spdy::{Accept, Incoming, connect, together};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

use crate::shape;

use self::received::Received;
use self::sent::Sent;
use super::Target;

/// Of an input: leave the header block as it is.
const FLAG_RAW: u8 = 0x80;
const FLAG_FIN: u8 = 0x01;
const SYN_STREAM: u16 = 1;
const HEADERS: u16 = 8;
/// Of paused time: how long the client waits for what still comes, how long the server for a client that holds it up, and how
/// long everything may take.
const SETTLE: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(600);

pub struct Frames {
    runtime: Runtime,
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
