//! Logs and upgraded streams, over real connections to a kubelet made for the test.

use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use super::*;

/// A kubelet that logs its requests' paths, and echoes upgraded streams until they end, then says goodbye.
async fn kubelet(pki: &Pki) -> u16 {
    let tls = pki
        .server_config(Role::Kubelet)
        .expect("a TLS configuration");
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = TlsAcceptor::from(tls.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.expect("a handshake");
                let identified = stream.get_ref().1.peer_certificates().is_some();
                let service =
                    hyper::service::service_fn(move |request| answer(request, identified));
                let connection = hyper::server::conn::http1::Builder::new();
                let served = connection.serve_connection(TokioIo::new(stream), service);
                let _ = served.with_upgrades().await;
            });
        }
    });
    port
}

async fn answer(
    mut request: Request<hyper::body::Incoming>,
    identified: bool,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().to_string();
    let text = format!(
        "{path} identified={identified} authorization={}",
        request.headers().contains_key("authorization")
    );
    if !request.headers().contains_key("upgrade") {
        return Ok(http::Response::new(Full::from(text)));
    }
    if path.contains("command=refused") {
        let refusal = http::Response::builder().status(500);
        return Ok(refusal
            .body(Full::from("no such thing"))
            .expect("a response"));
    }
    let protocol = request.headers()["upgrade"].clone();
    let offered = request.headers().get_all("sec-websocket-protocol").iter();
    let offered: Vec<_> = offered.filter_map(|v| v.to_str().ok()).collect();
    let offered = offered.join(";");
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.expect("an upgrade");
        let mut stream = TokioIo::new(upgraded);
        let mut seen = Vec::new();
        stream
            .read_to_end(&mut seen)
            .await
            .expect("the client's bytes");
        seen.extend_from_slice(b" bye");
        stream.write_all(&seen).await.expect("the echo");
        stream.shutdown().await.expect("an end");
    });
    let response = http::Response::builder()
        .status(101)
        .header("connection", "Upgrade")
        .header("upgrade", protocol)
        .header("x-offered", offered);
    Ok(response.body(Full::default()).expect("a response"))
}

/// A running server with a pod on a node whose kubelet listens on `port`.
struct Running {
    address: SocketAddr,
    admin: Arc<rustls::ClientConfig>,
    core: Arc<crate::core::Core>,
    token: CancellationToken,
    done: tokio::task::JoinHandle<Result<(), Error>>,
    _dir: tempfile::TempDir,
}

async fn running() -> Running {
    running_on("test").await
}

/// The kubelet's certificate is that of the node `test`, whatever the node is called that claims its address.
async fn running_on(name: &str) -> Running {
    let cluster = Cluster::new().await;
    let port = kubelet(cluster.server.pki()).await;
    let node = json!({
        "metadata": {"name": name},
        "status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    });
    cluster.create("/api/v1/nodes", node.clone()).await;
    let status = format!("/api/v1/nodes/{name}/status");
    cluster.merge(&status, node).await;
    cluster
        .create(
            "/api/v1/namespaces/default/serviceaccounts",
            configmap("default"),
        )
        .await;
    let pod = json!({
        "metadata": {"name": "p"},
        "spec": {"nodeName": name, "containers": [{"name": "c", "image": "i"}]},
    });
    cluster.create("/api/v1/namespaces/default/pods", pod).await;
    let Cluster { server, dir } = cluster;
    let core = server.core.clone();
    let (address, token) = (server.address(), CancellationToken::new());
    let admin = server
        .pki()
        .client_config(Role::Admin)
        .expect("a TLS configuration");
    let done = tokio::spawn(server.run(token.clone()));
    Running {
        address,
        admin,
        core,
        token,
        done,
        _dir: dir,
    }
}

impl Running {
    /// Sends a head over HTTP/1.1 and reads the answer's head.
    async fn head(&self, request: &str) -> (String, TlsStream<TcpStream>) {
        let tcp = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let name = rustls_pki_types::ServerName::from(self.address.ip());
        let mut stream = TlsConnector::from(self.admin.clone())
            .connect(name, tcp)
            .await
            .expect("a handshake");
        stream
            .write_all(request.as_bytes())
            .await
            .expect("a request");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.expect("the head"));
        }
        (
            String::from_utf8(head).expect("text").to_ascii_lowercase(),
            stream,
        )
    }

    async fn stop(self) {
        self.token.cancel();
        let done = tokio::time::timeout(DEADLINE, self.done)
            .await
            .expect("an end in time");
        done.expect("no panic").expect("an orderly end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_come_from_the_node() {
    let running = running().await;
    let (head, mut stream) = running
        .head("GET /api/v1/namespaces/default/pods/p/log?tailLines=5&follow=true HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let mut body = String::new();
    stream.read_to_string(&mut body).await.expect("a body");
    let wanted =
        "/containerLogs/default/p/c?follow=true&tailLines=5 identified=true authorization=false";
    assert!(body.contains(wanted), "{body}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_kubelet_does_not_upgrade_is_told_in_its_words() {
    let running = running().await;
    let (head, mut stream) = running
        .head(
            "POST /api/v1/namespaces/default/pods/p/exec?command=refused&stdout=true HTTP/1.1\r\nHost: a\r\n\
             Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n",
        )
        .await;
    assert!(head.starts_with("http/1.1 500"), "{head}");
    let mut body = [0; 13];
    stream.read_exact(&mut body).await.expect("a body");
    assert_eq!(&body, b"no such thing");
    drop(stream);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kubelet_that_is_another_nodes_is_asked_nothing() {
    let running = running_on("thief").await;
    let (head, mut stream) = running
        .head("GET /api/v1/namespaces/default/pods/p/log HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(head.starts_with("http/1.1 500"), "{head}");
    let mut body = String::new();
    stream.read_to_string(&mut body).await.expect("a body");
    let wanted = "its certificate is that of \\\"system:node:test\\\", not of node \\\"thief\\\"";
    assert!(body.contains(wanted), "{body}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn upgraded_streams_are_spliced_and_half_closed() {
    let running = running().await;
    let (head, mut stream) = running
        .head(
            "POST /api/v1/namespaces/default/pods/p/exec?command=sh&stdin=true HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\
             Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n",
        )
        .await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("upgrade: spdy/3.1"), "{head}");
    stream.write_all(b"hello").await.expect("bytes");
    // The kubelet answers only after the client's direction has ended.
    stream.shutdown().await.expect("a half-close");
    let mut echo = String::new();
    tokio::time::timeout(DEADLINE, stream.read_to_string(&mut echo))
        .await
        .expect("an echo in time")
        .expect("text");
    assert_eq!(echo, "hello bye");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_upgraded_is_told_so() {
    let running = running().await;
    let (head, mut stream) = running
        .head("POST /api/v1/namespaces/default/pods/p/exec?command=sh HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await;
    assert!(head.starts_with("http/1.1 400"), "{head}");
    let mut body = String::new();
    stream.read_to_string(&mut body).await.expect("a body");
    assert!(body.contains("Upgrade request required"), "{body}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_open_streams() {
    let running = running().await;
    let (head, stream) = running
        .head("GET /api/v1/namespaces/default/pods/p/attach?stdout=true HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    running.stop().await;
    drop(stream);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websockets_token_stays_here_and_its_protocols_go_on() {
    let running = running().await;
    let (head, stream) = running
        .head(
            "GET /api/v1/namespaces/default/pods/p/exec?command=sh HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io.YWJj, v5.channel.k8s.io\r\n\
             Sec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n",
        )
        .await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(
        head.contains("x-offered: v5.channel.k8s.io, v4.channel.k8s.io\r\n"),
        "{head}"
    );
    drop(stream);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_open_over_websocket() {
    let running = running().await;
    for (protocol, answered, text) in [
        ("", "", "/containerLogs/default/p/c"),
        (
            "Sec-WebSocket-Protocol: x.y, base64.binary.k8s.io\r\n",
            "sec-websocket-protocol: base64.binary.k8s.io\r\n",
            "L2NvbnRhaW5lckxvZ3M",
        ),
    ] {
        let request = format!(
            "GET /api/v1/namespaces/default/pods/p/log HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{protocol}\r\n"
        );
        let (head, mut stream) = running.head(&request).await;
        assert!(head.starts_with("http/1.1 101"), "{head}");
        assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        assert!(head.contains(answered), "{head}");
        let mut frames = Vec::new();
        let closed = async {
            // An empty message, the log, a close.
            while !(frames.len() > 40 && frames.contains(&0x88)) {
                frames.push(stream.read_u8().await.expect("a frame"));
            }
        };
        tokio::time::timeout(DEADLINE, closed)
            .await
            .expect("a close in time");
        assert_eq!(frames[1], 0, "the first message is empty");
        let all = String::from_utf8_lossy(&frames);
        assert!(all.contains(text), "{all}");
    }
    let (head, _) = running
        .head(
            "GET /api/v1/namespaces/default/pods/p/log HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: x.y\r\n\r\n",
        )
        .await;
    assert!(head.starts_with("http/1.1 403"), "{head}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_open_over_websocket() {
    let running = running().await;
    let open = |accept: &str| {
        format!(
            "GET /api/v1/namespaces/default/pods?watch=true HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAccept: {accept}\r\n\r\n"
        )
    };
    let (head, mut stream) = running.head(&open("application/json")).await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    let mut frame = [0; 4];
    let read = tokio::time::timeout(DEADLINE, stream.read_exact(&mut frame));
    read.await.expect("in time").expect("the first event");
    // One whole text message, its length in two bytes.
    assert_eq!(frame[..2], [0x81, 126]);
    let mut event = vec![0; usize::from(u16::from_be_bytes([frame[2], frame[3]]))];
    stream.read_exact(&mut event).await.expect("the event");
    let event: Value = serde_json::from_slice(&event).expect("JSON");
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["metadata"]["name"], "p");
    let (head, _) = running
        .head(&open("application/vnd.kubernetes.protobuf"))
        .await;
    assert!(head.starts_with("http/1.1 406"), "{head}");
    running.stop().await;
}

const EXEC: &str = "POST /api/v1/namespaces/default/pods/p/exec?command=sh HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n";
const LOG: &str =
    "GET /api/v1/namespaces/default/pods/p/log HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const PROXY: &str =
    "GET /api/v1/namespaces/default/pods/p/proxy/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_a_bounded_number_of_places() {
    let running = running().await;
    let limits = &running.core.limits;
    let (head, mut open) = running.head(EXEC).await;
    assert!(head.starts_with("http/1.1 101"), "{head}");
    // The administrator's certificate names this user.
    let mut held: Vec<_> = std::iter::from_fn(|| limits.stream("kubernetes-admin").ok()).collect();
    assert!(!held.is_empty());
    for request in [EXEC, LOG, PROXY] {
        let (head, _) = running.head(request).await;
        assert!(head.starts_with("http/1.1 429"), "{head}");
        assert!(head.contains("retry-after: 1\r\n"), "{head}");
    }
    held.pop();
    let (head, mut log) = running.head(LOG).await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    log.read_to_end(&mut Vec::new()).await.expect("a log");
    let again = || async {
        loop {
            if let Ok(place) = limits.stream("kubernetes-admin") {
                return place;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let given_back = tokio::time::timeout(DEADLINE, again()).await;
    let _log = given_back.expect("the log's place");
    assert!(limits.stream("kubernetes-admin").is_err(), "exec goes on");
    open.shutdown().await.expect("a half-close");
    open.read_to_end(&mut Vec::new()).await.expect("an end");
    let given_back = tokio::time::timeout(DEADLINE, again()).await;
    given_back.expect("the place of exec");
    running.stop().await;
}
