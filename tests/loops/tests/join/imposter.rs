//! Who answers in place of the server sees no secret.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use base64::{Engine, prelude::BASE64_STANDARD};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use knarr_auth::pki::{self, Pki, Role};
use knarr_join::{Error, Options};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::cluster::{Cluster, refused};

/// A server with an authority of its own that publishes somebody's.
struct Imposter {
    address: String,
    /// Paths that were asked for, and whether with credentials.
    asked: Arc<Mutex<Vec<(String, bool)>>>,
    _dir: tempfile::TempDir,
}

impl Imposter {
    /// `published` gets the imposter's own authority.
    async fn start(published: impl FnOnce(&str) -> String) -> Imposter {
        let dir = tempfile::tempdir().expect("a directory");
        let options = pki::Options {
            node_name: "imposter".to_owned(),
            node_ips: vec![[127, 0, 0, 1].into()],
            cluster_domain: "cluster.local".to_owned(),
            service_ips: vec![[10, 43, 0, 1].into()],
            extra_sans: Vec::new(),
        };
        let pki = Pki::open(dir.path(), options).expect("keys");
        let authority = BASE64_STANDARD.encode(published(pki.ca_pem()));
        let cluster = json!({"server": "https://x", "certificate-authority-data": authority});
        let kubeconfig = json!({"clusters": [{"name": "", "cluster": cluster}]}).to_string();
        let answer = json!({"kind": "ConfigMap", "data": {"kubeconfig": kubeconfig}}).to_string();
        let tls = TlsAcceptor::from(pki.server_config(Role::ApiServer).expect("TLS"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("https://{}", listener.local_addr().expect("an address"));
        let asked = Arc::<Mutex<Vec<(String, bool)>>>::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (tls, seen, answer) = (tls.clone(), seen.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = tls.accept(tcp).await else {
                        return;
                    };
                    let service = service_fn(move |request: Request<Incoming>| {
                        let authorized = request.headers().contains_key(AUTHORIZATION);
                        let path = request.uri().path().to_owned();
                        seen.lock().expect("no panic").push((path, authorized));
                        let body = Full::new(Bytes::from(answer.clone()));
                        async { Ok::<_, Infallible>(Response::new(body)) }
                    });
                    let server = http2::Builder::new(TokioExecutor::new());
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Imposter {
            address,
            asked,
            _dir: dir,
        }
    }

    async fn refuses(&self, cluster: &Cluster) -> Error {
        let options = cluster.options("n1", [10, 9, 0, 1], Some(cluster.token().await));
        let options = Options {
            servers: vec![self.address.parse().expect("an address")],
            ..options
        };
        let error = refused(&options).await;
        let asked = self.asked.lock().expect("no panic").clone();
        let info = "/api/v1/namespaces/kube-public/configmaps/cluster-info";
        assert_eq!(asked, [(info.to_owned(), false)]);
        error
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_authority_gets_no_secret() {
    let cluster = Cluster::start().await;
    let imposter = Imposter::start(ToOwned::to_owned).await;
    let error = imposter.refuses(&cluster).await;
    assert!(matches!(error, Error::WrongHash { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_publishes_the_true_authority_must_have_its_certificate() {
    let cluster = Cluster::start().await;
    let both = |own: &str| format!("{own}{}", cluster.pki.ca_pem());
    let imposter = Imposter::start(both).await;
    let error = imposter.refuses(&cluster).await;
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
}
