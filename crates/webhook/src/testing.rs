//! A webhook for tests: an HTTPS server of this process with a certificate of its own authority. [`api`] is an aggregated API server.

pub mod api;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{RootCertStore, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reaction {
    Answer(Value),
    Bytes(StatusCode, Vec<u8>),
    Redirect(String),
    /// Never answers.
    Hang,
}

/// What decides: path and query, and the review.
pub type Decide = dyn Fn(&str, &Value) -> Reaction + Send + Sync;

/// The server; it ends with the value.
pub struct Server {
    pub address: SocketAddr,
    /// PEM of the authority that its certificate is of.
    pub authority: String,
    calls: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Server {
    /// Serves on 127.0.0.1 under that address, `localhost` and these names.
    pub async fn start(
        names: &[&str],
        decide: impl Fn(&str, &Value) -> Reaction + Send + Sync + 'static,
    ) -> Server {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        Server::on(listener, names, decide).expect("a server")
    }

    /// As [`Server::start`], on a socket that is bound. Within a runtime.
    pub fn on(
        listener: std::net::TcpListener,
        names: &[&str],
        decide: impl Fn(&str, &Value) -> Reaction + Send + Sync + 'static,
    ) -> std::io::Result<Server> {
        let (authority, tls) = certificates(names, None);
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let server = Server {
            address: listener.local_addr()?,
            authority,
            calls: Arc::default(),
            connections: Arc::default(),
            stop: CancellationToken::new(),
        };
        let (calls, connections) = (server.calls.clone(), server.connections.clone());
        let (decide, tracker): (Arc<Decide>, _) = (Arc::new(decide), TaskTracker::new());
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let stop = server.stop.clone();
        knarr_tasks::spawn("a webhook for tests", async move {
            let accept = async {
                while let Ok((tcp, _)) = listener.accept().await {
                    connections.fetch_add(1, Ordering::Relaxed);
                    let serving = serve(tcp, acceptor.clone(), decide.clone(), calls.clone());
                    let stop = stop.clone();
                    tracker.spawn(async move { stop.run_until_cancelled(serving).await });
                }
            };
            stop.run_until_cancelled(accept).await;
        });
        Ok(server)
    }

    /// A `clientConfig` that names it by URL.
    pub fn config(&self, path: &str) -> Value {
        json!({
            "url": format!("https://{}{path}", self.address),
            "caBundle": self.ca_bundle(),
        })
    }

    /// The authority as configurations have it.
    pub fn ca_bundle(&self) -> String {
        STANDARD.encode(&self.authority)
    }

    /// Requests that came.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Connections that came.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// PEM of an authority, and a server's part of TLS with a certificate of it. `clients`: PEM of the authority of clients' certificates.
fn certificates(names: &[&str], clients: Option<&str>) -> (String, rustls::ServerConfig) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
    let mut all = vec!["127.0.0.1".to_owned(), "localhost".to_owned()];
    all.extend(names.iter().map(|name| (*name).to_owned()));
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(all).expect("names");
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("protocol versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            let certificate = CertificateDer::from_pem_slice(pem.as_bytes());
            let certificate = certificate.expect("an authority of clients");
            roots.add(certificate).expect("an authority of clients");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            let verifier = verifier.allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.expect("a verifier"))
        }
    };
    let tls = builder
        .with_single_cert(vec![certificate.der().clone()], private)
        .expect("a certificate with its key");
    (authority.pem(), tls)
}

async fn serve(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    decide: Arc<Decide>,
    calls: Arc<AtomicUsize>,
) {
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let service = service_fn(|request: Request<Incoming>| {
        let (decide, calls) = (decide.clone(), calls.clone());
        async move {
            calls.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(react(request, &*decide).await)
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(tls), service)
        .await;
}

async fn react(request: Request<Incoming>, decide: &Decide) -> Response<Full<Bytes>> {
    let path = request.uri().to_string();
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut response = Response::new(Full::default());
    match decide(&path, &review) {
        Reaction::Answer(answer) => *response.body_mut() = Full::from(answer.to_string()),
        Reaction::Bytes(code, bytes) => {
            *response.status_mut() = code;
            *response.body_mut() = Full::from(bytes);
        }
        Reaction::Redirect(to) => {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let to = to.parse().expect("a location");
            response.headers_mut().insert(header::LOCATION, to);
        }
        Reaction::Hang => std::future::pending().await,
    }
    response
}

/// The answer to an AdmissionReview that allows it, with more fields of the response.
pub fn allow(review: &Value, more: Value) -> Value {
    verdict(review, true, more)
}

/// The answer that refuses.
pub fn refuse(review: &Value, more: Value) -> Value {
    verdict(review, false, more)
}

fn verdict(review: &Value, allowed: bool, more: Value) -> Value {
    let mut response = json!({"uid": review["request"]["uid"], "allowed": allowed});
    for (field, value) in more.as_object().into_iter().flatten() {
        response[field] = value.clone();
    }
    json!({"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response})
}

/// The fields of a response that patch an object.
pub fn patch(operations: &Value) -> Value {
    json!({"patchType": "JSONPatch", "patch": STANDARD.encode(operations.to_string())})
}
