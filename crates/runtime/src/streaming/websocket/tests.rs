use super::*;

const BINARY: Codec = Codec {
    base64: false,
    close: false,
};
const BASE64: Codec = Codec {
    base64: true,
    close: false,
};
const V5: Codec = Codec {
    base64: false,
    close: true,
};

fn data(channel: u8, bytes: &'static [u8]) -> Said {
    Said::Data {
        channel,
        bytes: Bytes::from_static(bytes),
    }
}

#[test]
fn messages_from_clients() {
    let check = |codec: Codec, message: &'static [u8], said: Said| {
        assert_eq!(
            codec.decode(Bytes::from_static(message)),
            said,
            "{message:?}"
        );
    };
    check(BINARY, b"\0foo\n", data(0, b"foo\n"));
    check(BINARY, b"\x04", data(4, b""));
    check(BINARY, b"", Said::Nothing);
    check(BINARY, b"\xff\0", data(255, b"\0"));
    check(BASE64, b"0Zm9vCg==", data(0, b"foo\n"));
    check(BASE64, b"0?", Said::Nothing);
    check(V5, b"\xff\0", Said::End { channel: 0 });
    check(V5, b"\xff", Said::Nothing);
    check(V5, b"\xff\0\0", Said::Nothing);
}

#[test]
fn messages_to_clients() {
    assert_eq!(BINARY.encode(1, b"\n"), Message::binary(&b"\x01\n"[..]));
    assert_eq!(BINARY.encode(1, b""), Message::binary(&b"\x01"[..]));
    assert_eq!(BASE64.encode(1, b"\n"), Message::text("1Cg=="));
}

#[tokio::test(start_paused = true)]
async fn output_waits_for_a_sign_of_the_client() {
    let waited = async |answers_after: Duration| {
        let (sender, mut sent) = futures::channel::mpsc::unbounded();
        let mut sink = sender.sink_map_err(|_| WebSocketError::ConnectionClosed);
        let sign = CancellationToken::new();
        let start = tokio::time::Instant::now();
        let answer = async {
            sleep(answers_after).await;
            sign.cancel();
        };
        let wait = async {
            wait_for_sign(&mut sink, &sign).await.unwrap();
            start.elapsed()
        };
        let (elapsed, ()) = tokio::join!(wait, answer);
        assert_eq!(sent.try_recv().unwrap(), Message::Ping(Bytes::new()));
        elapsed
    };
    let soon = Duration::from_millis(100);
    assert_eq!(waited(soon).await, soon + SETTLE_TIME);
    assert_eq!(waited(SIGN_LIMIT * 2).await, SIGN_LIMIT + SETTLE_TIME);
}
