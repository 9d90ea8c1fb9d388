use bytes::{Buf, BufMut, Bytes};
use flate2::{Compress, Compression, FlushCompress};
use tokio::io::DuplexStream;

use super::super::dictionary::dictionary;
use super::super::together;
use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A client that writes frames by hand.
struct Client {
    io: DuplexStream,
    compress: Compress,
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Data(u32, Bytes, bool),
    /// Type, first field, second field if there is one.
    Control(u16, u32, Option<u32>),
    End,
}

const REPLY: u16 = 2;
const RST: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const WINDOW: u16 = 9;

impl Client {
    fn new(io: DuplexStream) -> Self {
        let mut compress = Compress::new(Compression::fast(), true);
        compress.set_dictionary(&dictionary()).unwrap();
        Self { io, compress }
    }

    async fn control(&mut self, kind: u16, payload: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_u16(0x8003);
        frame.put_u16(kind);
        frame.put_u32(payload.len() as u32);
        frame.put_slice(payload);
        self.io.write_all(&frame).await.unwrap();
    }

    async fn open(&mut self, stream: u32, kind: &str) {
        let mut plain = BytesMut::new();
        plain.put_u32(1);
        for text in ["streamtype", kind] {
            plain.put_u32(text.len() as u32);
            plain.put_slice(text.as_bytes());
        }
        let mut block = Vec::with_capacity(256);
        self.compress
            .compress_vec(&plain, &mut block, FlushCompress::Sync)
            .unwrap();
        let mut payload = stream.to_be_bytes().to_vec();
        payload.extend([0; 6]);
        payload.extend(block);
        self.control(1, &payload).await;
    }

    async fn data(&mut self, stream: u32, bytes: &[u8], fin: bool) {
        self.io
            .write_all(&frame::data(stream, fin, bytes.len()))
            .await
            .unwrap();
        self.io.write_all(bytes).await.unwrap();
    }

    async fn pair(&mut self, kind: u16, first: u32, second: u32) {
        let payload = [first.to_be_bytes(), second.to_be_bytes()].concat();
        self.control(kind, &payload).await;
    }

    async fn see(&mut self) -> Seen {
        let mut head = [0; HEAD_BYTES];
        let read = tokio::time::timeout(PATIENCE, self.io.read_exact(&mut head));
        if read.await.unwrap().is_err() {
            return Seen::End;
        }
        match Head::parse(head).unwrap() {
            Head::Data {
                stream,
                fin,
                length,
            } => {
                let mut bytes = vec![0; length];
                self.io.read_exact(&mut bytes).await.unwrap();
                Seen::Data(stream, bytes.into(), fin)
            }
            Head::Control { kind, length, .. } => {
                let mut payload = vec![0; length];
                self.io.read_exact(&mut payload).await.unwrap();
                let mut payload = &payload[..];
                let first = payload.get_u32();
                let second = (kind != REPLY)
                    .then(|| payload.try_get_u32().ok())
                    .flatten();
                Seen::Control(kind, first, second)
            }
        }
    }

    async fn expect(&mut self, expected: Seen) {
        assert_eq!(self.see().await, expected);
    }
}

/// Runs a session over a connection to a client.
async fn run<S: Future<Output = ()>, C: Future<Output = ()>>(
    session: impl FnOnce(Accept) -> S,
    client: impl FnOnce(Client) -> C,
) {
    let (near, far) = tokio::io::duplex(1 << 20);
    let (driver, accept) = connect(near, Duration::from_secs(60));
    let session = together(driver, session(accept));
    let both = async { tokio::join!(session, client(Client::new(far))) };
    tokio::time::timeout(PATIENCE * 2, both).await.unwrap();
}

#[tokio::test]
async fn a_stream_is_echoed_and_both_halves_end() {
    let session = async |mut accept: Accept| {
        let mut stream = accept.next().await.unwrap();
        assert_eq!(stream.header("streamtype"), Some("data"));
        while let Some(chunk) = stream.input.next().await {
            stream.output.send(chunk).await.unwrap();
        }
        stream.output.end().await.unwrap();
    };
    run(session, async |mut client| {
        client.open(1, "data").await;
        client.expect(Seen::Control(REPLY, 1, None)).await;
        client.data(1, b"ping", false).await;
        client
            .expect(Seen::Data(1, Bytes::from_static(b"ping"), false))
            .await;
        client.data(1, b"pong", true).await;
        client
            .expect(Seen::Data(1, Bytes::from_static(b"pong"), false))
            .await;
        client.expect(Seen::Data(1, Bytes::new(), true)).await;
        client.expect(Seen::Control(GOAWAY, 1, Some(0))).await;
        client.expect(Seen::End).await;
    })
    .await;
}

#[tokio::test]
async fn pings_are_answered_and_bad_streams_refused() {
    let session = async |mut accept: Accept| while accept.next().await.is_some() {};
    run(session, async |mut client| {
        client.control(PING, &7u32.to_be_bytes()).await;
        client.expect(Seen::Control(PING, 7, None)).await;
        client.control(PING, &8u32.to_be_bytes()).await;
        client.open(2, "data").await;
        client.expect(Seen::Control(RST, 2, Some(1))).await;
        client.open(5, "data").await;
        client.expect(Seen::Control(REPLY, 5, None)).await;
        client.open(3, "data").await;
        client.expect(Seen::Control(RST, 3, Some(1))).await;
    })
    .await;
}

#[tokio::test]
async fn a_reset_reaches_who_sends() {
    let session = async |mut accept: Accept| {
        let stream = accept.next().await.unwrap();
        stream.output.reset().await;
        let refused = stream.output.send(Bytes::from_static(b"late")).await;
        assert!(refused.is_err());
    };
    run(session, async |mut client| {
        client.open(1, "data").await;
        client.expect(Seen::Control(REPLY, 1, None)).await;
        client.pair(RST, 1, 5).await;
        client.expect(Seen::Control(GOAWAY, 1, Some(0))).await;
    })
    .await;
}

#[tokio::test]
async fn windows_that_a_client_announces_are_kept() {
    let session = async |mut accept: Accept| {
        let stream = accept.next().await.unwrap();
        stream
            .output
            .send(Bytes::from_static(b"abcdefgh"))
            .await
            .unwrap();
        stream.output.end().await.unwrap();
    };
    run(session, async |mut client| {
        // One setting: an initial window of 4 bytes.
        let settings = [0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 4];
        client.control(4, &settings).await;
        client.open(1, "data").await;
        client.expect(Seen::Control(REPLY, 1, None)).await;
        client
            .expect(Seen::Data(1, Bytes::from_static(b"abcd"), false))
            .await;
        client.control(PING, &1u32.to_be_bytes()).await;
        client.expect(Seen::Control(PING, 1, None)).await;
        client.pair(WINDOW, 1, 4).await;
        client
            .expect(Seen::Data(1, Bytes::from_static(b"efgh"), false))
            .await;
        client.expect(Seen::Data(1, Bytes::new(), true)).await;
    })
    .await;
}

#[tokio::test]
async fn consumed_bytes_are_credited() {
    let session = async |mut accept: Accept| {
        let mut stream = accept.next().await.unwrap();
        let mut total = 0;
        while let Some(chunk) = stream.input.next().await {
            total += chunk.len();
        }
        assert_eq!(total, 100_000);
    };
    run(session, async |mut client| {
        client.open(1, "data").await;
        client.expect(Seen::Control(REPLY, 1, None)).await;
        client.data(1, &[7; 100_000], true).await;
        let mut credited = [0, 0];
        loop {
            match client.see().await {
                Seen::Control(WINDOW, stream, Some(bytes)) => credited[stream as usize] += bytes,
                Seen::Control(GOAWAY, ..) => break,
                other => panic!("{other:?}"),
            }
        }
        // What is below the least that is worth a frame stays untold.
        assert!((80_000..=100_000).contains(&credited[0]), "{credited:?}");
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_ends_the_session() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let (driver, mut accept) = connect(near, Duration::from_secs(60));
    let session = together(driver, async move {
        while accept.next().await.is_some() {}
        std::future::pending::<()>().await;
    });
    drop(far);
    tokio::time::timeout(PATIENCE, session).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_ends() {
    let (near, _far) = tokio::io::duplex(1 << 16);
    let (driver, _accept) = connect(near, Duration::from_millis(20));
    tokio::time::timeout(PATIENCE, driver).await.unwrap();
}
