//! Frames of HTTP/2 that cost their sender next to nothing: its connection ends, and others are answered.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    refusals::{Out, Running, running},
    *,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
// Types of frames, and flags of theirs.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// GET / by https, in fields of HPACK's static table.
const GET: &[u8] = &[0x82, 0x87, 0x84];
/// GET / without a scheme, which is no request.
const MALFORMED: &[u8] = &[0x82, 0x84];
/// Longest flood, bytes: what a connection takes without ending it.
const LONGEST: usize = 64 << 20;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a length")
        .to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Sends what `next` makes of the numbers of streams until the server ends the connection; whether it does.
async fn flood(running: &Running, mut next: impl FnMut(u32) -> Vec<u8>) -> bool {
    let (mut answers, mut connection) = tokio::io::split(running.raw(b"h2").await);
    let reading = tokio::spawn(async move {
        let mut ignored = vec![0; 16 << 10];
        while answers.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
    });
    let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    connection.write_all(&begin).await.expect("a preface");
    let (mut sent, mut stream) = (0, 1);
    let ended = loop {
        let piece = next(stream);
        sent += piece.len();
        stream += 2;
        if reading.is_finished() || connection.write_all(&piece).await.is_err() {
            break true;
        }
        if sent > LONGEST {
            break false;
        }
    };
    reading.abort();
    ended
}

/// Another client is answered.
async fn answers(running: &Running) {
    let mut other = running.connect(b"h2").await;
    let request = Request::get("https://localhost/readyz").header("host", "localhost");
    let body: Out = Full::new(Bytes::new()).boxed();
    let (code, text) = other.send(request.body(body).expect("a request")).await;
    assert_eq!((code, &*text), (200, "ok"));
}

async fn check(next: impl FnMut(u32) -> Vec<u8>) {
    let running = running().await;
    let (ended, ()) = tokio::time::timeout(DEADLINE, async {
        tokio::join!(flood(&running, next), answers(&running))
    })
    .await
    .expect("an end in time");
    assert!(ended, "{LONGEST} bytes were taken");
    answers(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_at_once_end_their_connection() {
    check(|stream| {
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, stream, GET);
        let cancelled = 8u32.to_be_bytes();
        [asked, frame(RST_STREAM, 0, stream, &cancelled)].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_none_end_their_connection() {
    check(|stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, MALFORMED)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_end_their_connection() {
    // A field with a name and a value of one letter, not to be indexed.
    let fields = [0x10, 1, b'a', 1, b'b'].repeat(3_000);
    check(|stream| match stream {
        1 => frame(HEADERS, END_STREAM, 1, GET),
        _ => frame(CONTINUATION, 0, 1, &fields),
    })
    .await;
}
