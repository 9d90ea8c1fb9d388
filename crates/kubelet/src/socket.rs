//! Sockets on which the kubelet serves gRPC.
//!
//! A client of grpc-go that dials a path sends the path as its `:authority`, and device plugins of the field do so. hyper ends such a
//! connection with PROTOCOL_ERROR, since a path is no host. So what a client sends passes through a filter, which puts a name in the
//! place of the authority: in HPACK, which is walked and not decoded. A name of one byte makes no entry of the decoder's table
//! larger than the client's encoder believes it to be, so that their indices stay the same.

use std::{fs, io, path::Path, sync::Arc, task::Poll};

use futures::Stream;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};

/// Connections at once; of more, each is closed.
const CONNECTIONS_MAX: usize = 64;
/// What may be on its way between a client and the server.
const BUFFER_BYTES: usize = 64 << 10;
/// HTTP/2: what a client begins with, a frame's head, and the largest frame that nobody has to have asked for.
const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const FRAME_BYTES_MAX: usize = 16 << 10;
const HEADERS: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// Of `:authority` in HPACK's static table.
const AUTHORITY: usize = 1;
/// A literal string of one byte, without Huffman coding: `k`.
const NAME: [u8; 2] = [1, b'k'];

/// Listens on a socket, in the place of one that was left.
pub(crate) fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    UnixListener::bind(path)
}

/// Connections for a server to take.
pub(crate) fn incoming(listener: UnixListener) -> impl Stream<Item = io::Result<DuplexStream>> {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    futures::stream::poll_fn(move |task| {
        loop {
            let Poll::Ready(accepted) = listener.poll_accept(task) else {
                return Poll::Pending;
            };
            let client = match accepted {
                Ok((client, _)) => client,
                Err(error) => return Poll::Ready(Some(Err(error))),
            };
            let Ok(seat) = seats.clone().try_acquire_owned() else {
                continue;
            };
            let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
            knarr_tasks::spawn("a connection of a plugin", async move {
                pass(client, ours).await;
                drop(seat);
            });
            return Poll::Ready(Some(Ok(theirs)));
        }
    })
}

/// Passes bytes both ways until either end has had enough.
async fn pass(client: UnixStream, server: DuplexStream) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let asked = async {
        let result = filter(&mut from_client, &mut to_server).await;
        let _ = to_server.shutdown().await;
        result
    };
    let answered = async {
        let result = tokio::io::copy(&mut from_server, &mut to_client).await;
        let _ = to_client.shutdown().await;
        result.map(drop)
    };
    tokio::pin!(answered);
    let ended = tokio::select! {
        answered = &mut answered => answered,
        asked = asked => asked.and(answered.await),
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection of a plugin has ended");
    }
}

/// Copies what a client sends, with another authority.
async fn filter(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut preface = [0; PREFACE_BYTES];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    let mut head = [0; HEAD_BYTES];
    loop {
        match from.read_exact(&mut head).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            result => drop(result?),
        }
        let [a, b, c, kind, flags, ..] = head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        if length > FRAME_BYTES_MAX {
            return Err(io::Error::other("a frame is larger than any may be"));
        }
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        if kind == HEADERS && flags & END_HEADERS != 0 {
            payload = with_name(flags, payload);
            let length = u32::try_from(payload.len())
                .unwrap_or(u32::MAX)
                .to_be_bytes();
            head[..3].copy_from_slice(&length[1..]);
        }
        to.write_all(&head).await?;
        to.write_all(&payload).await?;
    }
}

/// A HEADERS frame's payload with the name as its authority; as it is, where it makes no sense: that is the server's to say.
fn with_name(flags: u8, payload: Vec<u8>) -> Vec<u8> {
    let padded = flags & PADDED != 0;
    let padding = if padded {
        payload.first().copied().map_or(0, usize::from)
    } else {
        0
    };
    let priority = if flags & PRIORITY != 0 {
        PRIORITY_BYTES
    } else {
        0
    };
    let start = usize::from(padded) + priority;
    let Some(end) = payload
        .len()
        .checked_sub(padding)
        .filter(|end| *end >= start)
    else {
        return payload;
    };
    match authority(&payload[start..end]) {
        Some((from, until)) => {
            let (from, until) = (start + from, start + until);
            [&payload[..from], &NAME, &payload[until..]].concat()
        }
        None => payload,
    }
}

/// Where the value of a literal authority is in a block of HPACK.
fn authority(block: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < block.len() {
        let first = block[at];
        let prefix = match first {
            // Indexed, or a change of the table's size: there is nothing but a number.
            0x80.. => {
                (_, at) = integer(block, at, 7)?;
                continue;
            }
            0x20..=0x3f => {
                (_, at) = integer(block, at, 5)?;
                continue;
            }
            0x40..=0x7f => 6,
            _ => 4,
        };
        let (name, after) = integer(block, at, prefix)?;
        at = after;
        if name == 0 {
            at = string(block, at)?;
        }
        let end = string(block, at)?;
        if name == AUTHORITY {
            return Some((at, end));
        }
        at = end;
    }
    None
}

/// Where a string ends.
fn string(block: &[u8], at: usize) -> Option<usize> {
    let (length, start) = integer(block, at, 7)?;
    let end = start.checked_add(length)?;
    (end <= block.len()).then_some(end)
}

/// A number of HPACK (RFC 7541, 5.1), and where it ends.
fn integer(block: &[u8], at: usize, prefix: u32) -> Option<(usize, usize)> {
    let most = (1_usize << prefix) - 1;
    let mut value = usize::from(*block.get(at)?) & most;
    let mut at = at + 1;
    if value < most {
        return Some((value, at));
    }
    // Beyond 21 bits nothing in a frame has a number.
    for shift in [0, 7, 14] {
        let byte = usize::from(*block.get(at)?);
        at += 1;
        value += (byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value, at));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `:method: POST`, `:scheme: http`, `:path: /s/m` (a literal), then an authority.
    fn block(authority: &[u8]) -> Vec<u8> {
        [
            &[0x83, 0x86, 0x44, 4][..],
            b"/s/m",
            authority,
            &[0x5f, 1, b't'],
        ]
        .concat()
    }

    #[test]
    fn authorities_are_found() {
        let long = [&[0x41, 0x7f, 0x01][..], &[b'/'; 128]].concat();
        let cases: Vec<(&str, Vec<u8>, Option<usize>)> = vec![
            ("kept", block(&[0x41, 3, b'/', b'a', b'b']), Some(4)),
            ("not kept", block(&[0x01, 3, b'/', b'a', b'b']), Some(4)),
            ("Huffman coded", block(&[0x41, 0x82, 0xff, 0xff]), Some(3)),
            ("long", block(&long), Some(130)),
            ("indexed", block(&[0xbe]), None),
            ("none", block(&[]), None),
            (
                "after a change of the table",
                [&[0x3f, 0xe1, 0x1f][..], &block(&[0x41, 1, b'x'])].concat(),
                Some(2),
            ),
            ("cut off", vec![0x41, 9, b'x'], None),
            ("endless", vec![0xff, 0xff, 0xff, 0xff, 0xff], None),
        ];
        for (what, block, wanted) in cases {
            let found = authority(&block).map(|(from, until)| until - from);
            assert_eq!(found, wanted, "{what}");
        }
    }

    #[test]
    fn frames_get_a_name() {
        let of = |flags: u8, before: &[u8], after: &[u8]| {
            let payload = [before, &[0x83, 0x41, 2, b'/', b'a', 0x86], after].concat();
            with_name(flags, payload)
        };
        let named = [0x83, 0x41, 1, b'k', 0x86];
        assert_eq!(of(END_HEADERS, &[], &[]), named);
        let padded = of(END_HEADERS | PADDED, &[3], &[0; 3]);
        assert_eq!(padded, [&[3][..], &named, &[0; 3]].concat());
        let prior = of(END_HEADERS | PRIORITY, &[0; 5], &[]);
        assert_eq!(prior, [&[0; 5][..], &named].concat());
        assert_eq!(
            with_name(PADDED, vec![9, 0]),
            [9, 0],
            "more padding than there is"
        );
    }

    #[tokio::test]
    async fn a_client_may_call_the_server_by_its_path() {
        let head = |length: u8, kind: u8| [0, 0, length, kind, END_HEADERS, 0, 0, 0, 1];
        let sent = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &head(5, HEADERS),
            &[0x83, 0x41, 2, b'/', b'a'],
            &head(2, 0),
            b"xy",
        ]
        .concat();
        let mut passed = Vec::new();
        filter(&mut sent.as_slice(), &mut passed).await.unwrap();
        let wanted = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &head(4, HEADERS),
            &[0x83, 0x41, 1, b'k'],
            &head(2, 0),
            b"xy",
        ]
        .concat();
        assert_eq!(passed, wanted);
    }
}
