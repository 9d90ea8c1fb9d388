//! The streaming server against clients: one of our own for WebSocket, and every kubectl found on this machine, behind an API
//! server that is just enough for `kubectl exec` and splices the upgraded connection as the kubelet does.

mod streaming_kit;

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use streaming_kit::{Kit, kubectls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::tungstenite::Message;

/// Output larger than every buffer on the way.
const LARGE_BYTES: usize = 10 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn websocket_version_5_ends_stdin_and_reports_the_exit_code() {
    let kit = Kit::start().await;
    let url = kit.exec(&["sh", "-c", "cat; echo done >&2; exit 3"], true, false);
    let mut socket = kit.websocket(&url, "v5.channel.k8s.io").await;
    socket.send(Message::binary(&b"\0hello"[..])).await.unwrap();
    socket.send(Message::binary(&b"\xff\0"[..])).await.unwrap();
    let mut streams = vec![Vec::new(); 4];
    let mut closed = None;
    let first = kit.patiently(socket.next()).await.unwrap().unwrap();
    assert!(first.is_ping(), "output waits for the answer: {first:?}");
    while let Some(message) = kit.patiently(socket.next()).await {
        match message.unwrap() {
            Message::Binary(bytes) => {
                streams[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
            }
            Message::Close(frame) => closed = frame.map(|frame| u16::from(frame.code)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(streams[1], b"hello");
    assert_eq!(streams[2], b"done\n");
    let status: serde_json::Value = serde_json::from_slice(&streams[3]).unwrap();
    assert_eq!(status["reason"], "NonZeroExitCode");
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    assert_eq!(closed, Some(1000));
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_base64_is_text() {
    let kit = Kit::start().await;
    let url = kit.exec(&["echo", "-n", "hi"], false, false);
    let mut socket = kit.websocket(&url, "v4.base64.channel.k8s.io").await;
    let mut texts = Vec::new();
    while let Some(message) = kit.patiently(socket.next()).await {
        if let Message::Text(text) = message.unwrap() {
            texts.push(text.to_string());
        }
    }
    // {"metadata":{},"status":"Success"}
    let status = "3eyJtZXRhZGF0YSI6e30sInN0YXR1cyI6IlN1Y2Nlc3MifQ==";
    assert_eq!(texts, ["1", "1aGk=", status]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_closes_the_streams_of_its_process() {
    let kit = Kit::start().await;
    // Ends only when its input does.
    let url = kit.exec(&["cat"], true, false);
    let mut socket = kit.websocket(&url, "v4.channel.k8s.io").await;
    socket.send(Message::binary(&b"\0x"[..])).await.unwrap();
    loop {
        let message = kit.patiently(socket.next()).await.unwrap().unwrap();
        if message == Message::binary(&b"\x01x"[..]) {
            break;
        }
    }
    assert_eq!(kit.running(), 1);
    drop(socket);
    kit.until("the process has ended", || kit.running() == 0)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_port_forward_begins_with_the_port() {
    let kit = Kit::start().await;
    let port = kit.echo_server().await;
    let url = kit.port_forward(&[port, 1]);
    let mut socket = kit.websocket(&url, "v4.channel.k8s.io").await;
    socket.send(Message::binary(&b"\0hello"[..])).await.unwrap();
    let mut streams = vec![Vec::new(); 4];
    while streams[0].len() < 7 || streams[3].len() <= 2 {
        if let Message::Binary(bytes) = kit.patiently(socket.next()).await.unwrap().unwrap() {
            streams[usize::from(bytes[0])].extend_from_slice(&bytes[1..]);
        }
    }
    assert_eq!(streams[0][..2], port.to_le_bytes());
    assert_eq!(&streams[0][2..], b"hello");
    assert_eq!(streams[1], port.to_le_bytes());
    let error = String::from_utf8_lossy(&streams[3][2..]).into_owned();
    assert!(
        error.starts_with("error forwarding port 1 to pod sandbox"),
        "{error}"
    );
}

#[tokio::test]
async fn tokens_and_protocols_are_checked() {
    let kit = Kit::start().await;
    let plain = async |url: &str| kit.get(url, &[]).await;
    assert!(
        plain(&kit.url("/exec/nothing"))
            .await
            .starts_with("HTTP/1.1 404")
    );
    let url = kit.exec(&["true"], false, false);
    let answer = plain(&url).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains("X-Stream-Protocol-Version is required"),
        "{answer}"
    );
    assert!(plain(&url).await.starts_with("HTTP/1.1 404"), "used up");
    let headers = [
        "Connection: Upgrade",
        "Upgrade: SPDY/3.1",
        "X-Stream-Protocol-Version: v9",
    ];
    let answer = kit.get(&kit.exec(&["true"], false, false), &headers).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(
        answer.contains("x-accepted-stream-protocol-versions: v4.channel.k8s.io"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_exec() {
    let kit = Kit::start().await;
    for kubectl in kubectls() {
        let name = kubectl.name();
        let run = async |argv: &[&str]| kit.kubectl(&kubectl, argv, b"").await;

        let ended = run(&["exec", "p", "--", "sh", "-c", "echo out; echo err >&2"]).await;
        assert_eq!(
            (&ended.stdout[..], ended.code),
            (&b"out\n"[..], Some(0)),
            "{name}: {ended:?}"
        );
        assert!(ended.stderr.contains("err\n"), "{name}: {ended:?}");

        let ended = run(&["exec", "p", "--", "sh", "-c", "exit 42"]).await;
        assert_eq!(ended.code, Some(42), "{name}: {ended:?}");
        assert!(
            ended
                .stderr
                .contains("command terminated with exit code 42"),
            "{name}: {ended:?}"
        );

        let ended = run(&["exec", "p", "--", "/no/such/program"]).await;
        assert_eq!(ended.code, Some(1), "{name}: {ended:?}");
        assert!(
            ended
                .stderr
                .contains("error executing command in container"),
            "{name}: {ended:?}"
        );

        let ended = kit
            .kubectl(&kubectl, &["exec", "-i", "p", "--", "cat"], b"hi\n")
            .await;
        assert_eq!(
            (&ended.stdout[..], ended.code),
            (&b"hi\n"[..], Some(0)),
            "{name}: {ended:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_exec_large() {
    let kit = Kit::start().await;
    let large: Vec<u8> = (0..LARGE_BYTES)
        .map(|at| (at / 7 + at / 1021) as u8)
        .collect();
    for kubectl in kubectls() {
        let ended = kit
            .kubectl(&kubectl, &["exec", "-i", "p", "--", "cat"], &large)
            .await;
        assert_eq!(ended.code, Some(0), "{}: {}", kubectl.name(), ended.stderr);
        assert!(
            ended.stdout == large,
            "{}: {} bytes",
            kubectl.name(),
            ended.stdout.len()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_exec_tty_and_resize() {
    let kit = Kit::start().await;
    for kubectl in kubectls() {
        // The size of the terminal that kubectl has is the size of the terminal that the command gets.
        let script = "while [ \"$(stty size)\" != '33 99' ]; do sleep 0.05; done; echo size is right; exit 7";
        let (output, code) = kit
            .kubectl_tty(
                &kubectl,
                &["exec", "-it", "p", "--", "sh", "-c", script],
                (99, 33),
            )
            .await;
        assert!(
            output.contains("size is right"),
            "{}: {output:?}",
            kubectl.name()
        );
        assert_eq!(code, Some(7), "{}: {output:?}", kubectl.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_attach() {
    let kit = Kit::start().await;
    for kubectl in kubectls() {
        let ended = kit
            .kubectl(&kubectl, &["attach", "-i", "p"], b"to the container\n")
            .await;
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", kubectl.name());
        assert_eq!(
            String::from_utf8_lossy(&ended.stdout),
            "to the container\n",
            "{}",
            kubectl.name()
        );
    }
}

/// The input of the container stays open, so that there is nothing to wait for once the client's has ended.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_attach_ends_with_its_input() {
    let kit = Kit::start().await;
    for kubectl in kubectls() {
        let ended = kit
            .kubectl(&kubectl, &["attach", "-i", "p", "-c", "stays"], b"line\n")
            .await;
        assert_eq!(ended.code, Some(0), "{}: {ended:?}", kubectl.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_port_forward() {
    let kit = Kit::start().await;
    let port = kit.echo_server().await;
    for kubectl in kubectls() {
        let forward = kit.kubectl_port_forward(&kubectl, port).await;
        // Several connections at a time, one after the other ended, on one session.
        let connections = (0..3).map(|index| {
            let local = forward.local;
            async move {
                let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", local))
                    .await
                    .unwrap();
                let sent = vec![index; 300_000];
                let (mut reader, mut writer) = stream.split();
                let writing = async {
                    writer.write_all(&sent).await.unwrap();
                    writer.shutdown().await.unwrap();
                };
                let mut received = Vec::new();
                let (_, read) = tokio::join!(writing, reader.read_to_end(&mut received));
                read.unwrap();
                assert!(received == sent, "{} bytes of {index}", received.len());
            }
        });
        kit.patiently(futures::future::join_all(connections)).await;
        forward.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_port_forward_to_nothing() {
    let kit = Kit::start().await;
    for kubectl in kubectls() {
        let mut forward = kit.kubectl_port_forward(&kubectl, 1).await;
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", forward.local))
            .await
            .unwrap();
        stream.write_all(b"x").await.unwrap();
        let said = forward.says("error forwarding port 1").await;
        assert!(said.contains("refused"), "{}: {said}", kubectl.name());
        tokio::time::timeout(Duration::from_secs(5), forward.stop())
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_has_so_many_sessions_and_no_more() {
    const SESSIONS: usize = 64;
    let kit = Kit::start().await;
    let mut sockets = Vec::new();
    for _ in 0..SESSIONS {
        let url = kit.exec(&["cat"], true, false);
        sockets.push(kit.websocket(&url, "v5.channel.k8s.io").await);
    }
    kit.until("all run", || kit.running() == SESSIONS).await;
    let headers = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==",
        "Sec-WebSocket-Protocol: v5.channel.k8s.io",
    ];
    let refused = kit.get(&kit.exec(&["cat"], true, false), &headers).await;
    assert!(
        refused.starts_with("HTTP/1.1 429 Too Many Requests")
            && refused.ends_with("64 of it are open, and no more may be\n"),
        "{refused}"
    );
    assert_eq!(kit.running(), SESSIONS);
    sockets.pop();
    kit.until("one has ended", || kit.running() < SESSIONS)
        .await;
    kit.websocket(&kit.exec(&["cat"], true, false), "v5.channel.k8s.io")
        .await;
}
