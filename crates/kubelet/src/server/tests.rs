use http::header;
use http_body_util::Empty;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::{
    ClientConfig, RootCertStore,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{PrivateKeyDer, ServerName};
use serde_json::json;
use tokio_rustls::TlsConnector;

use super::*;
use crate::testing::{self, fake::Fake, reviews::ReviewServer};

/// An authority, and what it signs.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn sign(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["n1".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![usage];
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

/// A kubelet's server on a port of its own.
struct Bench {
    authority: Authority,
    api: ReviewServer,
    address: SocketAddr,
    token: CancellationToken,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let authority = Authority::new();
        let (certificate, key) = authority.sign("n1", ExtendedKeyUsagePurpose::ServerAuth);
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = rustls::crypto::ring::default_provider();
        let chain = vec![certificate.der().clone()];
        let certified = CertifiedKey::from_der(chain, key, &provider).unwrap();
        let certificate = SingleCertAndKey::from(certified);
        let config = Config {
            port: 0,
            listen: [127, 0, 0, 1].into(),
            client_ca_pem: authority.certificate.pem(),
            ..Config::default()
        };
        let dir = tempfile::tempdir().unwrap();
        Fake::default().serve(&dir.path().join("cri.sock"));
        let api = ReviewServer::default();
        let server = Server::bind(&config, Arc::new(certificate)).await.unwrap();
        let address = server.local_addr();
        let ctx = testing::context(api.client(), config, dir.path()).await;
        let token = CancellationToken::new();
        tokio::spawn(run(server, ctx, token.clone()));
        Self {
            authority,
            api,
            address,
            token,
            _dir: dir,
        }
    }

    /// Sends a request with the certificate of a user and a token, where they are not empty, over both protocols; status and text of
    /// the answers, which are the same.
    async fn ask(&self, method: Method, path: &str, user: &str, token: &str) -> (u16, String) {
        let first = self.ask_over("http/1.1", &method, path, user, token).await;
        let second = self.ask_over("h2", &method, path, user, token).await;
        // Figures change all the time.
        if !path.contains("metrics") && !path.contains("statusz") {
            assert_eq!(first, second, "{method} {path}");
        }
        assert_eq!(first.0, second.0, "{method} {path}");
        first
    }

    async fn ask_over(
        &self,
        protocol: &str,
        method: &Method,
        path: &str,
        user: &str,
        token: &str,
    ) -> (u16, String) {
        let tls = self.client(protocol, user);
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = TlsConnector::from(Arc::new(tls))
            .connect(ServerName::try_from("n1").unwrap(), stream)
            .await
            .unwrap();
        let negotiated = stream.get_ref().1.alpn_protocol();
        assert_eq!(negotiated, Some(protocol.as_bytes()));
        let mut request = Request::builder().method(method);
        if !token.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let stream = TokioIo::new(stream);
        let answer = match protocol {
            "h2" => send_second(stream, request, path).await,
            _ => send_first(stream, request, path).await,
        };
        let status = answer.status().as_u16();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&text).into_owned())
    }

    /// What a client speaks, with the certificate of a user where the name is not empty.
    fn client(&self, protocol: &str, user: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut tls = if user.is_empty() {
            tls.with_no_client_auth()
        } else {
            let (certificate, key) = self
                .authority
                .sign(user, ExtendedKeyUsagePurpose::ClientAuth);
            let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
            tls.with_client_auth_cert(vec![certificate.der().clone()], key)
                .unwrap()
        };
        tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        tls
    }
}

type Wire = TokioIo<tokio_rustls::client::TlsStream<TcpStream>>;

async fn send_first(
    stream: Wire,
    mut request: Request<Empty<Bytes>>,
    path: &str,
) -> Response<Incoming> {
    let made = hyper::client::conn::http1::handshake(stream).await;
    let (mut sender, connection) = made.unwrap();
    tokio::spawn(connection);
    let host = "n1".parse().unwrap();
    request.headers_mut().insert(header::HOST, host);
    *request.uri_mut() = path.parse().unwrap();
    let answer = sender.send_request(request).await.unwrap();
    // Who is nobody keeps no connection.
    let closes = answer.headers().get(header::CONNECTION);
    let is_nobody = answer.status() == 401;
    assert_eq!(closes.is_some_and(|c| c == "close"), is_nobody);
    answer
}

async fn send_second(
    stream: Wire,
    mut request: Request<Empty<Bytes>>,
    path: &str,
) -> Response<Incoming> {
    let made = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
    let (mut sender, connection) = made.unwrap();
    tokio::spawn(connection);
    *request.uri_mut() = format!("https://n1{path}").parse().unwrap();
    let answer = sender.send_request(request).await.unwrap();
    if answer.status() == 401 {
        let closed = async {
            while !sender.is_closed() {
                tokio::task::yield_now().await;
            }
        };
        let closed = tokio::time::timeout(HANDSHAKE_TIMEOUT, closed).await;
        closed.expect("the connection of nobody ends");
    }
    answer
}

#[tokio::test]
async fn callers_reach_what_they_may() {
    let bench = Bench::new().await;
    bench.api.allow("scraper get metrics");
    bench.api.allow("kube-apiserver-kubelet-client get proxy");
    for right in ["create proxy", "create checkpoint", "get statusz"] {
        let right = format!("kube-apiserver-kubelet-client {right}");
        bench.api.allow(&right);
    }
    bench.api.allow("scraper delete metrics");
    let admin = "kube-apiserver-kubelet-client";
    let get = Method::GET;
    for (method, path, user, token, wanted) in [
        (&get, "/metrics", "", "scraper", 200),
        (&get, "/pods", "", "scraper", 403),
        (&get, "/exec/ns/pod/c", "", "scraper", 403),
        (&get, "/containerLogs/ns/pod/c", "", "scraper", 403),
        (&get, "/metrics", "ann", "", 403),
        (&get, "/metrics", "", "", 401),
        (&get, "/healthz", "", "", 401),
        (&get, "/nowhere", "", "", 401),
        (&get, "/metrics", "", "expired", 401),
        // The certificate comes first, whatever the token says.
        (&get, "/metrics", "ann", "scraper", 403),
        (&get, "/pods", admin, "", 200),
        (&get, "/healthz", admin, "", 200),
        (&get, "/configz", admin, "", 200),
        (&get, "/runningpods/", admin, "", 200),
        // The right to proxy is not the one to read logs.
        (&get, "/knarr/logs", admin, "", 403),
        (&get, "/knarr/logs", "", "scraper", 403),
        (&Method::POST, "/configz", admin, "", 405),
        (&get, "/exec/ns/pod/c", admin, "", 404),
        (&get, "/nowhere", admin, "", 404),
        (&Method::POST, "/exec/ns/pod/c", admin, "", 404),
        (&Method::POST, "/pods", admin, "", 405),
        (&Method::PUT, "/exec/ns/pod/c", admin, "", 403),
        (&get, "/healthz/ping", admin, "", 200),
        (&get, "/statusz", admin, "", 200),
        // It needs the right to the configuration, and no other will do.
        (&get, "/flagz", admin, "", 403),
        (&get, "/healthz/other", admin, "", 404),
        (&get, "/metrics/slis", "", "scraper", 200),
        (&Method::DELETE, "/metrics/slis", "", "scraper", 200),
        (&Method::DELETE, "/metrics", "", "scraper", 405),
        (&get, "/run/ns/pod/c", admin, "", 405),
        (&Method::POST, "/run/ns/pod/c?cmd=ls", admin, "", 404),
        (&Method::POST, "/run/ns/pod/uid/c?cmd=ls", admin, "", 404),
        (&Method::POST, "/checkpoint/ns/pod/c", admin, "", 404),
        (&get, "/debug/pprof/heap", admin, "", 405),
        (&get, "/pods/ns/pod", admin, "", 404),
    ] {
        let (status, text) = bench.ask(method.clone(), path, user, token).await;
        assert_eq!(
            status, wanted,
            "{method} {path} as {user:?} with {token:?}: {text}"
        );
    }
    bench.token.cancel();
}

#[tokio::test]
async fn what_is_not_there_is_told_in_upstreams_words() {
    let bench = Bench::new().await;
    bench.api.allow("ann get proxy");
    bench.api.allow("ann create proxy");
    let (get, post) = (Method::GET, Method::POST);
    for (method, path, status, wanted) in [
        (&get, "/nowhere", 404, "404 page not found\n"),
        (&get, "/pods/ns/pod", 404, "404: Page Not Found"),
        (&get, "/exec/ns", 404, "404: Page Not Found"),
        (&post, "/pods", 405, "405: Method Not Allowed"),
        (&get, "/exec/ns/pod/c?stdout=1", 404, "pod does not exist"),
        (&post, "/run/ns/pod/c", 404, "pod does not exist"),
        (
            &get,
            "/containerLogs/ns/pod/c",
            404,
            "pod \"pod\" does not exist",
        ),
        (
            &get,
            "/debug/pprof/",
            405,
            "profiling endpoint is disabled.\n",
        ),
        (&get, "/debug/flags/v", 405, "flags endpoint is disabled.\n"),
    ] {
        let told = bench.ask(method.clone(), path, "ann", "").await;
        assert_eq!(told, (status, wanted.to_owned()), "{method} {path}");
    }
    bench.token.cancel();
}

#[tokio::test]
async fn a_refusal_names_what_would_have_been_needed() {
    let bench = Bench::new().await;
    let (_, text) = bench.ask(Method::GET, "/pods", "ann", "").await;
    assert_eq!(
        text,
        "Forbidden (user=ann, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
    );
    let (_, text) = bench.ask(Method::GET, "/pods", "", "").await;
    assert_eq!(text, "Unauthorized");
    bench.api.allow("ann get pods");
    let list = bench.ask(Method::GET, "/pods", "ben", "").await;
    assert_eq!(list.0, 403, "the right of another: {}", list.1);
    *bench.api.failure.lock().unwrap() = Some((503, "ServiceUnavailable"));
    let (status, text) = bench.ask(Method::GET, "/stats/summary", "ann", "").await;
    assert_eq!(
        (status, text.as_str()),
        (
            500,
            "Authorization error (user=ann, verb=get, resource=nodes, subresource=stats)"
        )
    );
    *bench.api.failure.lock().unwrap() = None;
    bench.api.allow("cem get pods");
    let (status, text) = bench.ask(Method::GET, "/pods", "cem", "").await;
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &list["kind"]), (200, &json!("PodList")));
    bench.token.cancel();
}

/// Whoever connects and says nothing takes a place, and keeps it only as long as nobody else wants it.
#[tokio::test]
async fn who_only_connects_keeps_nobody_out() {
    let bench = Bench::new().await;
    bench.api.allow("scraper get metrics");
    let mut held = Vec::new();
    for _ in 0..=MAX_UNKNOWN {
        held.push(TcpStream::connect(bench.address).await.unwrap());
    }
    // The others have not been told to end.
    let ended = held[0].readable();
    let ended = tokio::time::timeout(HANDSHAKE_TIMEOUT / 2, ended).await;
    ended.expect("the oldest is closed").unwrap();
    let newest = held.last().unwrap().try_read(&mut [0]);
    assert_eq!(newest.unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    let (status, _) = bench.ask(Method::GET, "/metrics", "", "scraper").await;
    assert_eq!(status, 200);
    bench.token.cancel();
}
