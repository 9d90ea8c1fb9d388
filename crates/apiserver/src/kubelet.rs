//! The way to kubelets: logs, exec, attach and port-forward; the proxy of nodes dials through it.
//!
//! The server dials the node's kubelet with its own client certificate and passes bytes on. Upgraded streams (SPDY, WebSocket)
//! are spliced untouched: only the container runtime ends those protocols.

mod address;
mod options;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use knarr_auth::{authz::node::USER_PREFIX, objects::Objects, query::Query};
use knarr_meta::{object, status::Status};
use knarr_registry::cache::Cache;
use knarr_x509::Certificate;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::{
    body::BoxError,
    passing::{self, Sender},
    respond::Answer,
    server::limits::Place,
};

pub use self::{
    address::Address,
    options::{Stream, validate_log},
};

/// Dialing and the answer's head each get this long.
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Dials kubelets.
pub struct Kubelets {
    /// `None`: no certificate to show, every call is refused (tests).
    tls: Option<Arc<rustls::ClientConfig>>,
    /// Ends spliced streams at shutdown.
    stop: CancellationToken,
}

impl Kubelets {
    pub fn new(tls: Option<Arc<rustls::ClientConfig>>, stop: CancellationToken) -> Kubelets {
        Kubelets { tls, stop }
    }

    /// The log of a pod's container, streamed as it comes.
    pub async fn log(&self, cache: &Cache, pod: &Value, query: &Query<'_>, place: Place) -> Answer {
        let container = options::log_container(pod, query.get("container"))?;
        let node = object::str_at(pod, &["spec", "nodeName"]);
        if node.is_empty() {
            // Nothing runs yet: upstream answers with an empty log.
            return Ok(crate::respond::text(StatusCode::OK, ""));
        }
        let path = format!(
            "/containerLogs/{}/{}/{container}",
            object::namespace(pod),
            object::name(pod)
        );
        let uri = options::with_query(&path, options::log_query(query)?);
        let request = Request::get(uri)
            .body(Full::default())
            .map_err(Status::internal)?;
        let response = self.send(cache, node, request).await?;
        let code = response.status();
        if !code.is_success() {
            return Err(kubelet_error(response).await);
        }
        let mut answer = passing::streamed(response, place);
        if !answer.headers().contains_key(header::CONTENT_TYPE) {
            answer
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        Ok(answer)
    }

    /// Ends with the server; upgraded connections go with it.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// exec, attach or port-forward: passes the upgrade on and splices the streams.
    pub async fn stream(
        &self,
        cache: &Cache,
        pod: &Value,
        stream: Stream,
        query: &Query<'_>,
        client: &mut Request<()>,
        place: Place,
    ) -> Answer {
        let node = object::str_at(pod, &["spec", "nodeName"]);
        if node.is_empty() {
            return Err(Status::bad_request(format!(
                "pod {} does not have a host assigned",
                object::name(pod)
            )));
        }
        if !passing::wants_upgrade(client)? {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let mut request = Request::new(Full::default());
        *request.method_mut() = client.method().clone();
        *request.uri_mut() = stream
            .uri(pod, query)?
            .parse::<Uri>()
            .map_err(|e| Status::bad_request(e.to_string()))?;
        *request.headers_mut() = passing::forwarded(client.headers(), true)?;
        let response = self.send(cache, node, request).await?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let stop = self.stop.clone();
            return Ok(passing::spliced(client, response, place, stop));
        }
        if response.status().as_u16() < 400 {
            let code = response.status().as_u16();
            let why = format_args!("invalid upgrade response: status code {code}");
            return Err(Status::internal(why));
        }
        // A refusal is passed on as it is: clients show the text of what is no Status.
        Ok(passing::streamed(response, place))
    }

    async fn send(
        &self,
        cache: &Cache,
        node: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Status> {
        let address = Address::of(&node_named(cache, node)?)?;
        let host = HeaderValue::from_str(&address.to_string()).map_err(Status::internal)?;
        request.headers_mut().insert(header::HOST, host);
        self.exchange(&address, request, HEAD_TIMEOUT)
            .await
            .map_err(|why| Status::internal(format_args!("error dialing backend: {why}")))
    }

    /// Sends a request to the kubelet at an address. The error says what went wrong; the head of the answer has come in time.
    pub async fn exchange(
        &self,
        address: &Address,
        request: Request<Full<Bytes>>,
        head_timeout: Duration,
    ) -> Result<Response<Incoming>, String> {
        let failed = |why: &dyn std::fmt::Display| format!("dial tcp {address}: {why}");
        let mut sender = tokio::time::timeout(DIAL_TIMEOUT, self.dial(address))
            .await
            .map_err(|_| failed(&"i/o timeout"))?
            .map_err(|error| failed(&error))?;
        tokio::time::timeout(head_timeout, sender.send_request(request))
            .await
            .map_err(|_| failed(&"timed out waiting for the response"))?
            .map_err(|error| failed(&error))
    }

    async fn dial(&self, address: &Address) -> Result<Sender, BoxError> {
        let tls = self.tls.clone();
        let tls = tls.ok_or("this server has no client certificate for kubelets")?;
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await?;
        // Interactive streams are small.
        tcp.set_nodelay(true)?;
        let name = rustls_pki_types::ServerName::try_from(address.host.clone())?;
        let mut config = (*tls).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tls.connect(name, tcp).await?;
        check_node(&stream, &address.node)?;
        Ok(passing::handshake(stream, self.stop.clone()).await?)
    }
}

/// An address is what its node says it is: that another node's kubelet answers there is found out by the name in its certificate.
fn check_node(stream: &TlsStream<TcpStream>, node: &str) -> Result<(), BoxError> {
    let shown = stream.get_ref().1.peer_certificates();
    let leaf = shown.and_then(|chain| Certificate::from_der(chain.first()?).ok());
    let name = leaf.map(|leaf| leaf.common_name).unwrap_or_default();
    match name.strip_prefix(USER_PREFIX) {
        Some(named) if named == node => Ok(()),
        _ => Err(format!("its certificate is that of {name:?}, not of node {node:?}").into()),
    }
}

/// A node as the cache has it, 404 where it has none.
pub fn node_named(cache: &Cache, name: &str) -> Result<Value, Status> {
    let found = Objects::get(cache, "", "nodes", "", name)
        .ok_or_else(|| Status::not_found(knarr_meta::GroupResource::new("", "nodes"), name))?;
    serde_json::from_slice(&found.json).map_err(Status::internal)
}

/// Most bytes of a kubelet's error text.
const ERROR_BYTES: usize = 4 << 10;

/// The kubelet's refusal as a Status, as upstream's `GenericHttpResponseChecker`.
async fn kubelet_error(response: Response<Incoming>) -> Status {
    let code = response.status();
    let limited = http_body_util::Limited::new(response.into_body(), ERROR_BYTES);
    let text = match limited.collect().await {
        Ok(body) => String::from_utf8_lossy(&body.to_bytes()).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    match code {
        StatusCode::BAD_REQUEST => Status::bad_request(text),
        StatusCode::NOT_FOUND => Status {
            message: text,
            ..Status::path_not_found()
        },
        StatusCode::TOO_MANY_REQUESTS => Status::too_many_requests(text, 1),
        _ => Status::internal(text),
    }
}
