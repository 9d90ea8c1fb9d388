//! Answers that come before their requests have ended, over both protocols.

use futures::stream;
use http_body_util::{StreamBody, combinators::BoxBody};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::*;

pub(super) type Out = BoxBody<Bytes, std::convert::Infallible>;

/// A server that runs, with a client that shows the administrator's certificate.
pub(super) struct Running {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
    token: CancellationToken,
    local: LocalService,
    done: tokio::task::JoinHandle<Result<(), Error>>,
    _dir: tempfile::TempDir,
}

pub(super) async fn running() -> Running {
    running_with(Cluster::new().await)
}

pub(super) fn running_with(Cluster { server, dir }: Cluster) -> Running {
    let local = server.client_service(authn::server());
    let (address, token) = (server.address(), CancellationToken::new());
    let tls = server.pki().client_config(Role::Admin).expect("TLS");
    let done = tokio::spawn(server.run(token.clone()));
    Running {
        address,
        tls,
        token,
        local,
        done,
        _dir: dir,
    }
}

pub(super) enum Sender {
    One(hyper::client::conn::http1::SendRequest<Out>),
    Two(hyper::client::conn::http2::SendRequest<Out>),
}

impl Running {
    /// A request of the server's own user, beside the network.
    pub(super) async fn admin(&self, method: Method, uri: &str, body: Value) -> Reply {
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body.to_string())))
            .expect("a request");
        let answer = self.local.clone().call(request);
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        reply(answer.expect("an answer in time").expect("infallible")).await
    }

    /// A connection of a protocol on which nothing was sent.
    pub(super) async fn raw(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let tcp = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let name = rustls_pki_types::ServerName::from(self.address.ip());
        let stream = TlsConnector::from(Arc::new(tls)).connect(name, tcp).await;
        stream.expect("a handshake")
    }

    pub(super) async fn connect(&self, protocol: &[u8]) -> Sender {
        let io = TokioIo::new(self.raw(protocol).await);
        match protocol {
            b"h2" => {
                let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
                let (sender, connection) = made.expect("HTTP/2");
                tokio::spawn(connection);
                Sender::Two(sender)
            }
            _ => {
                let made = hyper::client::conn::http1::handshake(io).await;
                let (sender, connection) = made.expect("HTTP/1.1");
                tokio::spawn(connection);
                Sender::One(sender)
            }
        }
    }
}

impl Sender {
    pub(super) async fn send(&mut self, request: Request<Out>) -> (u16, String) {
        let answer = async {
            let response = match self {
                Sender::One(sender) => sender.send_request(request).await,
                Sender::Two(sender) => sender.send_request(request).await,
            };
            let (parts, body) = response.expect("an answer").into_parts();
            let body = body.collect().await.expect("its body").to_bytes();
            let text = String::from_utf8_lossy(&body).into_owned();
            (parts.status.as_u16(), text)
        };
        let answer = tokio::time::timeout(DEADLINE, answer).await;
        answer.expect("an answer in time")
    }
}

fn post(path: &str, authorization: &str, body: Out) -> Request<Out> {
    let request = Request::post(format!("https://localhost{path}"))
        .header("host", "localhost")
        .header("authorization", authorization)
        .header("content-type", "application/json");
    request.body(body).expect("a request")
}

const STATUS: &str = "\"kind\":\"Status\"";

/// What is refused without a look at the body, how, and what is in the answer.
const REFUSED: [(&str, u16, &str); 4] = [
    ("/apis/nothing.io/v1/things", 404, "404 page not found"),
    ("/api/v1/namespaces/default/nothings", 404, STATUS),
    ("/api/v1/watch/pods", 405, STATUS),
    ("/api/v1/namespaces/default/pods?a=%zz", 400, STATUS),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_arrives() {
    let running = running().await;
    for protocol in [&b"h2"[..], b"http/1.1"] {
        for (path, code, answer) in REFUSED {
            for bytes in [10, 100 << 10, 1 << 20] {
                let mut sender = running.connect(protocol).await;
                let body = Full::new(Bytes::from(vec![b' '; bytes])).boxed();
                let (got, text) = sender.send(post(path, "", body)).await;
                assert_eq!(got, code, "{path} {bytes}");
                assert!(text.contains(answer), "{path} {bytes}: {text}");
            }
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_no_body() {
    let running = running().await;
    for protocol in [&b"h2"[..], b"http/1.1"] {
        for (path, expected) in [("/healthz", 200), ("/version", 405), ("/nothing", 404)] {
            let mut sender = running.connect(protocol).await;
            let request = Request::head(format!("https://localhost{path}"));
            let request = request.header("host", "localhost");
            let body = Full::new(Bytes::new()).boxed();
            let request = request.body(body).expect("a request");
            let (got, text) = sender.send(request).await;
            assert_eq!((got, text.as_str()), (expected, ""), "{path}");
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_arrives_while_its_body_is_still_being_sent() {
    let running = running().await;
    for (path, code, answer) in REFUSED {
        let mut sender = running.connect(b"h2").await;
        // One piece, and no end: the answer must not wait for it.
        let first = stream::iter([Ok(hyper::body::Frame::data(Bytes::from_static(b"{")))]);
        let never = stream::pending();
        let body = BodyExt::boxed(StreamBody::new(futures::StreamExt::chain(first, never)));
        let (got, text) = sender.send(post(path, "", body)).await;
        assert_eq!(got, code, "{path}");
        assert!(text.contains(answer), "{path}: {text}");
    }
    running.stop().await;
}

impl Running {
    pub(super) async fn stop(self) {
        self.token.cancel();
        let done = tokio::time::timeout(DEADLINE, self.done).await;
        done.expect("an end in time")
            .expect("no panic")
            .expect("an orderly end");
    }
}
