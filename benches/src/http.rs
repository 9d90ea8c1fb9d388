//! HTTPS over hyper and rustls, with nothing between: what the generator costs is taken from what it measures.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use knarr_auth::unverified::AnyCertificate;
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use crate::kubeconfig::Access;

/// For TCP, TLS and the HTTP preface together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For one request that is not measured: set-up and clean-up.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// Bytes in flight for one stream of HTTP/2: a whole list page.
const H2_WINDOW: u32 = 4 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time on a connection.
    H1,
    /// HTTP/2.
    H2,
}

/// A server to connect to, as many times as wanted. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    name: ServerName<'static>,
    tls: TlsConnector,
    protocol: Protocol,
    host: HeaderValue,
    authorization: Option<HeaderValue>,
}

/// One connection; requests on it come one after the other.
pub enum Connection {
    H1(http1::SendRequest<Full<Bytes>>),
    H2(http2::SendRequest<Full<Bytes>>),
}

impl Endpoint {
    /// Resolves the server's name, in the network namespace of the calling thread.
    pub fn new(access: &Access, protocol: Protocol) -> Result<Self> {
        let uri: Uri = access.server.parse().context("the server is not a URL")?;
        if uri.scheme_str() != Some("https") {
            bail!("{}: only https is spoken", access.server);
        }
        let host = uri.host().context("the server's URL has no host")?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = uri.port_u16().unwrap_or(443);
        let address = std::net::ToSocketAddrs::to_socket_addrs(&(bare, port))
            .with_context(|| format!("cannot resolve {bare}"))?
            .next()
            .with_context(|| format!("{bare} has no address"))?;
        let name = access.tls_server_name.as_deref().unwrap_or(bare).to_owned();
        let authorization = match (&access.token, &access.client_certificate) {
            (Some(token), _) => Some(HeaderValue::try_from(format!("Bearer {token}"))?),
            _ => None,
        };
        Ok(Self {
            address,
            name: ServerName::try_from(name).context("the server's name")?,
            tls: TlsConnector::from(Arc::new(tls(access, protocol)?)),
            protocol,
            host: HeaderValue::try_from(format!("{host}:{port}"))?,
            authorization,
        })
    }

    pub async fn connect(&self) -> Result<Connection> {
        timeout(CONNECT_TIMEOUT, self.handshake())
            .await
            .with_context(|| {
                format!("{} did not answer within {CONNECT_TIMEOUT:?}", self.address)
            })?
    }

    async fn handshake(&self) -> Result<Connection> {
        let tcp = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("cannot connect to {}", self.address))?;
        tcp.set_nodelay(true)?;
        let stream = self
            .tls
            .connect(self.name.clone(), tcp)
            .await
            .context("TLS")?;
        let io = TokioIo::new(stream);
        // The connection ends when its sender is dropped, and its task with it; an error of it is the request's too.
        Ok(match self.protocol {
            Protocol::H1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Connection::H1(sender)
            }
            Protocol::H2 => {
                let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                    .initial_stream_window_size(H2_WINDOW)
                    .initial_connection_window_size(H2_WINDOW)
                    .handshake(io)
                    .await?;
                tokio::spawn(connection);
                Connection::H2(sender)
            }
        })
    }

    /// A request with what every request needs. `path` starts with a slash.
    pub fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut builder = Request::builder().method(method);
        builder = match self.protocol {
            Protocol::H1 => builder.uri(path).header(header::HOST, &self.host),
            Protocol::H2 => builder.uri(format!("https://{}{path}", self.host.to_str()?)),
        };
        builder = builder.header(header::ACCEPT, "application/json");
        if let Some(authorization) = &self.authorization {
            builder = builder.header(header::AUTHORIZATION, authorization);
        }
        if !body.is_empty() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        Ok(builder.body(Full::new(body))?)
    }

    /// A PATCH of the kind `application/{kind}`.
    pub fn patch(&self, kind: &str, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = self.request(Method::PATCH, path, body)?;
        let kind = HeaderValue::try_from(format!("application/{kind}"))?;
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        Ok(request)
    }

    /// One request on a connection of its own; see [`Connection::call`].
    pub async fn call(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        let mut connection = self.connect().await?;
        connection.call(self.request(method, path, body)?).await
    }

    /// GETs `path` and parses the answer; any status but 200 is an error.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.call(Method::GET, path, Bytes::new()).await?;
        if status != StatusCode::OK {
            bail!("GET {path}: {}", refusal(status, &body));
        }
        serde_json::from_slice(&body).with_context(|| format!("GET {path}: not JSON"))
    }
}

impl Connection {
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        Ok(match self {
            Self::H1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::H2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    /// Another sender on the same connection, where the protocol has streams.
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::H1(_) => None,
            Self::H2(sender) => Some(Self::H2(sender.clone())),
        }
    }

    /// The whole answer, with a deadline.
    pub async fn call(&mut self, request: Request<Full<Bytes>>) -> Result<(StatusCode, Bytes)> {
        let answer = async {
            let response = self.send(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        };
        timeout(CALL_TIMEOUT, answer)
            .await
            .context("no answer in time")?
    }
}

/// Reads a body to its end and forgets it; the bytes it had.
pub async fn drain(mut body: Incoming) -> Result<u64> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            bytes += data.len() as u64;
        }
    }
    Ok(bytes)
}

/// Creates `body` below `path`; an object that exists already is an error.
pub async fn create(endpoint: &Endpoint, path: &str, body: Bytes) -> Result<()> {
    let (status, answer) = endpoint.call(Method::POST, path, body).await?;
    if status != StatusCode::CREATED {
        bail!("POST {path}: {}", refusal(status, &answer));
    }
    Ok(())
}

/// Deletes what is at `path`, an object or a collection; what is gone already is as well.
pub async fn delete(endpoint: &Endpoint, path: &str) -> Result<()> {
    let (status, answer) = endpoint.call(Method::DELETE, path, Bytes::new()).await?;
    if !status.is_success() && status != StatusCode::NOT_FOUND {
        bail!("DELETE {path}: {}", refusal(status, &answer));
    }
    Ok(())
}

/// Merges `body` into the object at `path`.
pub async fn merge(endpoint: &Endpoint, path: &str, body: &Value) -> Result<()> {
    let request = endpoint.patch("merge-patch+json", path, Bytes::from(body.to_string()))?;
    let (status, answer) = endpoint.connect().await?.call(request).await?;
    if status != StatusCode::OK {
        bail!("PATCH {path}: {}", refusal(status, &answer));
    }
    Ok(())
}

/// What a server that refused has to say: the Status' message, or the start of the body.
pub fn refusal(status: StatusCode, body: &[u8]) -> String {
    /// Characters of a body that is no Status.
    const SHOWN: usize = 200;
    let message = serde_json::from_slice::<Value>(body)
        .ok()
        .and_then(|status| status.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).chars().take(SHOWN).collect());
    format!("{status}: {message}")
}

fn tls(access: &Access, protocol: Protocol) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let builder = match &access.authorities {
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in authorities {
                roots
                    .add(authority.clone())
                    .context("certificate authority")?;
            }
            builder.with_root_certificates(roots)
        }
        None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
    };
    let mut config = match &access.client_certificate {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .context("client certificate")?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = match protocol {
        Protocol::H1 => vec![b"http/1.1".to_vec()],
        Protocol::H2 => vec![b"h2".to_vec()],
    };
    Ok(config)
}
