//! TLS to a pod that nobody can vouch for.

use std::net::IpAddr;

use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Opens TLS over a connection; the certificate is not verified.
pub async fn connect(ip: IpAddr, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
    let config = knarr_auth::unverified::client().map_err(std::io::Error::other)?;
    TlsConnector::from(config)
        .connect(ServerName::from(ip), tcp)
        .await
}
