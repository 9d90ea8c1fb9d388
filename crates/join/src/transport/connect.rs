//! The way to a server.

use std::{io, sync::Arc, time::Duration};

use rustls::{CertificateError, ClientConfig};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{Error, ServerAddress};

/// Until TLS stands. A server further away than this is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HTTP2: &[u8] = b"h2";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{server}: {kind}")]
pub(crate) struct ConnectError {
    pub(crate) server: ServerAddress,
    #[source]
    pub(crate) kind: ConnectErrorKind,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectErrorKind {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("no connection within {}s", CONNECT_TIMEOUT.as_secs())]
    Timeout,
    #[error("it does not speak HTTP/2")]
    Protocol,
}

/// A connection to one server.
pub(super) async fn connect(
    server: &ServerAddress,
    tls: &Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, ConnectErrorKind> {
    let connecting = async {
        let name = server.server_name().map_err(io::Error::other)?;
        let tcp = TcpStream::connect((server.host(), server.port())).await?;
        tcp.set_nodelay(true)?;
        let connector = TlsConnector::from(tls.clone());
        let stream = connector.connect(name, tcp).await.map_err(of_tls)?;
        match stream.get_ref().1.alpn_protocol() {
            Some(HTTP2) => Ok(stream),
            _ => Err(ConnectErrorKind::Protocol),
        }
    };
    timeout(CONNECT_TIMEOUT, connecting)
        .await
        .unwrap_or(Err(ConnectErrorKind::Timeout))
}

/// tokio hands TLS's errors over as those of a file.
fn of_tls(error: io::Error) -> ConnectErrorKind {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls.cloned() {
        Some(error) => ConnectErrorKind::Tls(error),
        None => ConnectErrorKind::Io(error),
    }
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
        let (server, reason) = (error.server.to_string(), error.kind.to_string());
        match error.kind {
            ConnectErrorKind::Tls(rustls::Error::InvalidCertificate(wrong)) => match wrong {
                Expired | NotValidYet => Error::Clock { server, reason },
                ExpiredContext { .. } | NotValidYetContext { .. } => {
                    Error::Clock { server, reason }
                }
                _ => Error::Untrusted { server, reason },
            },
            ConnectErrorKind::Tls(_) | ConnectErrorKind::Protocol => {
                Error::NoServerThere { server, reason }
            }
            ConnectErrorKind::Io(_) | ConnectErrorKind::Timeout => {
                Error::Unreachable { server, reason }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::AlertDescription;

    use super::*;

    #[test]
    fn what_a_connection_lacks_is_told() {
        let tls = |wrong| ConnectErrorKind::Tls(rustls::Error::InvalidCertificate(wrong));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let alert = rustls::Error::AlertReceived(AlertDescription::HandshakeFailure);
        for (kind, expected) in [
            (tls(CertificateError::Expired), "the clock of this machine"),
            (
                tls(CertificateError::NotValidYet),
                "the clock of this machine",
            ),
            (
                tls(CertificateError::UnknownIssuer),
                "https://server:6443 is not of the cluster's authority",
            ),
            (
                tls(CertificateError::NotValidForName),
                "https://server:6443 is not of the cluster's authority",
            ),
            (
                ConnectErrorKind::Tls(alert),
                "https://server:6443 is no API server",
            ),
            (
                ConnectErrorKind::Protocol,
                "https://server:6443 is no API server",
            ),
            (
                ConnectErrorKind::Io(refused),
                "https://server:6443 does not answer",
            ),
            (
                ConnectErrorKind::Timeout,
                "https://server:6443 does not answer",
            ),
        ] {
            let server = "https://server".parse().expect("an address");
            let error = Error::from(ConnectError { server, kind }).to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
