//! HTTP GET as probes and hooks do it: no certificate is checked, no connection kept, redirects to the same host are
//! followed.

use std::{error::Error, io, sync::Arc, time::Duration};

use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::{Outcome, tcp};

mod begun;

use begun::Begun;

const USER_AGENT: &str = "kube-probe/1.37";
/// As in Go's client.
const MAX_REDIRECTS: usize = 10;
/// Upstream reads no more of an answer.
const MAX_BODY_BYTES: usize = 10 * 1_024;
/// How an answer begins where the other side does not speak TLS.
const PLAIN: &[u8] = b"HTTP/";
/// Go's words for that.
const NOT_TLS: &str = "http: server gave HTTP response to HTTPS client";

/// Where to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub https: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

impl Target {
    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority(), self.path)
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        let host = &self.host;
        if host.contains(':') {
            format!("[{host}]:{}", self.port)
        } else {
            format!("{host}:{}", self.port)
        }
    }

    /// The same request without TLS, and without what proves who asks.
    pub(crate) fn plain(&self) -> Self {
        let mut plain = self.clone();
        plain.https = false;
        let names = |name: &str| name.eq_ignore_ascii_case("Authorization");
        plain.headers.retain(|(name, _)| !names(name));
        plain
    }

    /// The same request at a redirect's location; `None` for another host.
    fn redirected(&self, location: &str) -> Option<Self> {
        let mut next = self.clone();
        if let Ok(uri) = location.parse::<http::Uri>() {
            if let Some(host) = uri.host() {
                if host != self.host {
                    return None;
                }
                next.https = uri.scheme_str() == Some("https");
                next.port = uri.port_u16().unwrap_or(if next.https { 443 } else { 80 });
            }
            let path = uri.path_and_query().map_or("/", |p| p.as_str());
            next.path = if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            };
            return Some(next);
        }
        let base = self.path.rsplit_once('/').map_or("", |(base, _)| base);
        next.path = format!("{base}/{location}");
        Some(next)
    }
}

/// Clients share the TLS configuration.
#[derive(Clone)]
pub(crate) struct Http {
    tls: Arc<ClientConfig>,
}

impl Http {
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        let tls = knarr_auth::unverified::client()?;
        Ok(Self { tls })
    }

    /// The status of the last answer, and its body's beginning.
    pub(crate) async fn get(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<(StatusCode, String), String> {
        match tokio::time::timeout(timeout, self.follow(target, timeout)).await {
            Ok(result) => result.map_err(|error| format!("Get \"{}\": {error}", target.url())),
            Err(_) => Err(format!(
                "Get \"{}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                target.url()
            )),
        }
    }

    async fn follow(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<(StatusCode, String), String> {
        let mut target = target.clone();
        for _ in 0..MAX_REDIRECTS {
            let (status, body, location) = self.once(&target, timeout).await?;
            let next = location
                .filter(|_| status.is_redirection())
                .and_then(|l| target.redirected(&l));
            match next {
                Some(next) => target = next,
                None => return Ok((status, body)),
            }
        }
        Err(format!("stopped after {MAX_REDIRECTS} redirects"))
    }

    async fn once(
        &self,
        target: &Target,
        timeout: Duration,
    ) -> Result<(StatusCode, String, Option<String>), String> {
        let stream = tcp::connect(&target.host, target.port, timeout).await?;
        let ends = ends(&stream);
        if !target.https {
            return exchange(stream, target, &ends).await;
        }
        let name = ServerName::try_from(target.host.clone()).map_err(|error| error.to_string())?;
        let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
        let begun = Begun::new(stream);
        let connected = connector.connect(name, begun).into_fallible().await;
        let stream = connected.map_err(|(error, begun)| match begun.head == PLAIN {
            true => NOT_TLS.to_owned(),
            false => words(&error, &ends),
        })?;
        exchange(stream, target, &ends).await
    }
}

/// Whether a request failed because what is there speaks HTTP without TLS.
pub(crate) fn is_not_tls(error: &str) -> bool {
    error.ends_with(NOT_TLS)
}

/// Both ends of a connection, as Go tells of them.
fn ends(stream: &TcpStream) -> String {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => format!("{local}->{peer}"),
        _ => String::new(),
    }
}

/// Go's words for how a connection broke.
fn words(error: &(dyn Error + 'static), ends: &str) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let kinds = causes.filter_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind));
    for kind in kinds {
        match kind {
            io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
            io::ErrorKind::ConnectionReset => {
                return format!("read tcp {ends}: read: connection reset by peer");
            }
            _ => {}
        }
    }
    match error.downcast_ref::<hyper::Error>() {
        // Before the answer, or before the request was taken.
        Some(error) if error.is_incomplete_message() || error.is_canceled() => "EOF".to_owned(),
        _ => error.to_string(),
    }
}

async fn exchange<S>(
    stream: S,
    target: &Target,
    ends: &str,
) -> Result<(StatusCode, String, Option<String>), String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::get(&target.path);
    let has = |name: &str| {
        target
            .headers
            .iter()
            .any(|(n, _)| n.eq_ignore_ascii_case(name))
    };
    for (name, value) in [
        ("Host", target.authority()),
        ("User-Agent", USER_AGENT.to_owned()),
        ("Accept", "*/*".to_owned()),
        ("Connection", "close".to_owned()),
    ] {
        if !has(name) {
            request = request.header(name, value);
        }
    }
    for (name, value) in target.headers.iter().filter(|(_, value)| !value.is_empty()) {
        request = request.header(name, value);
    }
    let request = request
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| error.to_string())?;
    let asking = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| words(&error, ends))?;
        let status = response.status();
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|l| l.to_str().ok()).map(str::to_owned);
        let mut body = response.into_body();
        let mut text = Vec::new();
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(data) = frame.data_ref() {
                text.extend_from_slice(data);
            }
            if text.len() >= MAX_BODY_BYTES {
                break;
            }
        }
        text.truncate(MAX_BODY_BYTES);
        Ok((
            status,
            String::from_utf8_lossy(&text).into_owned(),
            location,
        ))
    };
    tokio::pin!(asking);
    tokio::select! {
        answer = &mut asking => answer,
        // The connection may end with the answer still to be read.
        _ = connection => asking.await,
    }
}

/// Success is any answer from 200 to 399. Of a redirect that was not followed nobody knows where it would have led.
pub(super) async fn probe(http: &Http, target: &Target, timeout: Duration) -> Outcome {
    match http.get(target, timeout).await {
        Ok((status, body)) if status.is_redirection() => {
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok((status, _)) if status.is_success() => Outcome::Success,
        Ok((status, _)) => Outcome::Failure(format!(
            "HTTP probe failed with statuscode: {}",
            status.as_u16()
        )),
        Err(error) => Outcome::Failure(error),
    }
}
