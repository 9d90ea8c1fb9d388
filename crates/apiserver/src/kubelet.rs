//! The way to kubelets: logs, exec, attach, port-forward and the node proxy.
//!
//! The server dials the node's kubelet with its own client certificate and passes bytes on. Upgraded streams (SPDY, WebSocket)
//! are spliced untouched: only the container runtime ends those protocols.

mod address;
mod log_socket;
mod options;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use knarr_meta::{object, status::Status};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{
    body::Body,
    cache::Cache,
    passing::{self, Sender},
    query::Query,
    request::Objects,
    respond::Answer,
};

pub use self::options::Stream;

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
    pub async fn log(&self, cache: &Cache, pod: &Value, query: &Query<'_>) -> Answer {
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
        let mut answer = passing::streamed(response);
        if !answer.headers().contains_key(header::CONTENT_TYPE) {
            answer
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        }
        Ok(answer)
    }

    /// Sends an answered log over a WebSocket that the client opens.
    pub fn over_websocket(&self, client: &mut Request<()>, log: Response<Body>) -> Answer {
        let opening = log_socket::Opening::new(client.headers())?;
        passing::can_upgrade(client)?;
        let upgrade = hyper::upgrade::on(client);
        Ok(opening.serve(upgrade, log.into_body(), self.stop.clone()))
    }

    /// exec, attach or port-forward: passes the upgrade on and splices the streams.
    pub async fn stream(
        &self,
        cache: &Cache,
        pod: &Value,
        stream: Stream,
        query: &Query<'_>,
        client: &mut Request<()>,
    ) -> Answer {
        let node = object::str_at(pod, &["spec", "nodeName"]);
        if node.is_empty() {
            return Err(Status::bad_request(format!(
                "pod {} does not have a host assigned",
                object::name(pod)
            )));
        }
        if !client.headers().contains_key(header::UPGRADE) {
            return Err(Status::bad_request("Upgrade request required"));
        }
        let uri = stream.uri(pod, query)?;
        self.pass(cache, node, uri, client, Bytes::new()).await
    }

    /// Passes any request on to a node's kubelet, body and upgrade included.
    pub async fn pass(
        &self,
        cache: &Cache,
        node: &str,
        uri: String,
        client: &mut Request<()>,
        body: Bytes,
    ) -> Answer {
        let upgrade = passing::wants_upgrade(client)?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = client.method().clone();
        *request.uri_mut() = uri
            .parse::<Uri>()
            .map_err(|e| Status::bad_request(e.to_string()))?;
        *request.headers_mut() = passing::forwarded(client.headers(), upgrade)?;
        let response = self.send(cache, node, request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            if upgrade && !response.status().is_success() {
                return Err(kubelet_error(response).await);
            }
            return Ok(passing::streamed(response));
        }
        Ok(passing::spliced(client, response, self.stop.clone()))
    }

    async fn send(
        &self,
        cache: &Cache,
        node: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Status> {
        let found = Objects::get(cache, "", "nodes", "", node)
            .ok_or_else(|| Status::not_found(knarr_meta::GroupResource::new("", "nodes"), node))?;
        let tree: Value = serde_json::from_slice(&found.json).map_err(Status::internal)?;
        let address = address::of(&tree)?;
        let host = HeaderValue::from_str(&address.to_string()).map_err(Status::internal)?;
        request.headers_mut().insert(header::HOST, host);
        let mut sender = tokio::time::timeout(DIAL_TIMEOUT, self.dial(&address))
            .await
            .map_err(|_| dial_error(&address, "i/o timeout"))??;
        let sent = tokio::time::timeout(HEAD_TIMEOUT, sender.send_request(request)).await;
        sent.map_err(|_| dial_error(&address, "timed out waiting for the response"))?
            .map_err(|e| dial_error(&address, &e.to_string()))
    }

    async fn dial(&self, address: &address::Address) -> Result<Sender, Status> {
        let tls = self.tls.clone().ok_or_else(|| {
            Status::service_unavailable("this server has no client certificate for kubelets")
        })?;
        let failed = |e: &dyn std::fmt::Display| dial_error(address, &e.to_string());
        let tcp = TcpStream::connect((address.host.as_str(), address.port))
            .await
            .map_err(|e| failed(&e))?;
        // Interactive streams are small.
        tcp.set_nodelay(true).map_err(|e| failed(&e))?;
        let name =
            rustls_pki_types::ServerName::try_from(address.host.clone()).map_err(|e| failed(&e))?;
        let mut config = (*tls).clone();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tls.connect(name, tcp).await.map_err(|e| failed(&e))?;
        passing::handshake(stream, self.stop.clone())
            .await
            .map_err(|e| failed(&e))
    }
}

fn dial_error(address: &address::Address, why: &str) -> Status {
    Status::internal(format_args!(
        "error dialing backend: dial tcp {address}: {why}"
    ))
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
        _ => Status::internal(text),
    }
}
