use http_body_util::{BodyExt, Empty, Full};
use knarr_auth::testing::Fake;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{SignatureScheme, pki_types::PrivatePkcs8KeyDer, sign::CertifiedKey};
use serde_json::Value;

use super::*;
use crate::testing::api::{ApiServer, Behaviour, GROUP, VERSION};

const WAIT: Duration = Duration::from_secs(20);

/// One certificate, whoever asks.
#[derive(Debug)]
struct Identity(Arc<CertifiedKey>);

impl ResolvesClientCert for Identity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// PEM of an authority of clients, and a client's certificate of it.
fn client() -> (String, Arc<dyn ResolvesClientCert>) {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(Vec::new()).expect("no names");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let private = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let provider = rustls::crypto::ring::default_provider();
    let chain = vec![certificate.der().clone()];
    let certified = CertifiedKey::from_der(chain, private, &provider).expect("its key");
    (authority.pem(), Arc::new(Identity(Arc::new(certified))))
}

fn serve() -> (ApiServer, Arc<dyn ResolvesClientCert>) {
    let (authority, identity) = client();
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let server = ApiServer::on(listener, &[], &authority).expect("a server");
    (server, identity)
}

fn backend(server: &ApiServer, trust: &Trust, identity: Arc<dyn ResolvesClientCert>) -> Backend {
    let target = Target::Url(format!("https://{}", server.address));
    Backend::new(&target, trust, identity, Arc::new(Fake::default())).expect("a backend")
}

fn get(path: &str) -> Request<Body> {
    let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Request::get(path).body(empty).expect("a request")
}

async fn read(backend: &Backend, request: Request<Body>) -> Value {
    let response = backend.send(request, WAIT).await.expect("an answer");
    let body = response.into_body().collect().await.expect("a body");
    serde_json::from_slice(&body.to_bytes()).expect("JSON")
}

#[tokio::test]
async fn a_request_comes_as_it_is_from_who_shows_a_certificate() {
    let (server, identity) = serve();
    let trust = Trust::Bundle(server.authority.clone().into_bytes());
    let backend = backend(&server, &trust, identity);
    let gadgets = format!("/apis/{GROUP}/{VERSION}/namespaces/default/gadgets");
    let seen = read(&backend, get(&format!("{gadgets}/whoami?a=b%20c"))).await;
    assert_eq!(seen["spec"]["known"], true);
    assert_eq!(seen["spec"]["uri"], format!("{gadgets}/whoami?a=b%20c"));
    let body = Full::from("{\"a\":1}");
    let body = body.map_err(|never| match never {}).boxed_unsync();
    let post = Request::post(&gadgets).body(body).expect("a request");
    assert_eq!(read(&backend, post).await["a"], 1);
    assert_eq!(server.connections(), 1, "a connection is kept");
    backend.reconnect();
    read(&backend, get(&gadgets)).await;
    assert_eq!(server.connections(), 2);
}

#[tokio::test]
async fn who_is_not_vouched_for_or_does_not_answer_is_an_error() {
    let ((server, identity), (other, _)) = (serve(), serve());
    let trust = Trust::Bundle(other.authority.clone().into_bytes());
    let wrong = backend(&server, &trust, identity.clone());
    let error = wrong.send(get("/apis"), WAIT).await.expect_err("not asked");
    let wanted = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(error.to_string(), wanted);
    assert_eq!(server.calls(), 0);
    let any = backend(&server, &Trust::Unverified, identity.clone());
    let answer = any.send(get("/apis"), WAIT).await.expect("an answer");
    assert!(answer.status().is_client_error());
    server.behave(Behaviour::Hang);
    let late = any.send(get("/apis"), Duration::from_millis(200)).await;
    assert!(matches!(late, Err(Failure::Late)), "{late:?}");
    let target = Target::Url("https://127.0.0.1:1".to_owned());
    let nobody = Backend::new(
        &target,
        &Trust::Unverified,
        identity,
        Arc::new(Fake::default()),
    );
    let nobody = nobody.expect("a backend");
    let error = nobody
        .send(get("/"), WAIT)
        .await
        .expect_err("nobody is there");
    assert_eq!(
        error.to_string(),
        "dial tcp 127.0.0.1:1: connect: connection refused"
    );
}
