//! Whether a server is who its configuration says, and who this process is to it.

use std::sync::Arc;

use knarr_auth::unverified::AnyCertificate;
use knarr_x509::trust::{Bundle, WrongName};
use rustls::{
    CertificateError, Error as TlsError,
    client::{ResolvesClientCert, danger::ServerCertVerifier},
    crypto::{CryptoProvider, ring},
};
use rustls_platform_verifier::Verifier;

use crate::Error;

/// Who vouches for a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Trust {
    /// PEM of the authorities. Empty: those of the system.
    Bundle(Vec<u8>),
    /// Nobody needs to.
    Unverified,
}

impl Trust {
    fn verifier(
        &self,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ServerCertVerifier>, Error> {
        Ok(match self {
            Trust::Bundle(pem) if pem.is_empty() => {
                Arc::new(Verifier::new(provider).map_err(Error::config)?)
            }
            Trust::Bundle(pem) => Arc::new(Bundle::new(pem, provider).map_err(Error::config)?),
            Trust::Unverified => Arc::new(AnyCertificate(provider)),
        })
    }
}

/// A TLS client for HTTP/1.1, as upstream's of webhooks: HTTP/2 would bring all calls to the same of several servers. It shows the
/// certificate of `identity`, where there is one and the server asks.
///
/// # Errors
/// Where the bundle has no certificate that can be read.
pub fn client(
    trust: &Trust,
    identity: Option<Arc<dyn ResolvesClientCert>>,
) -> Result<Arc<rustls::ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::config)?
        .dangerous()
        .with_custom_certificate_verifier(trust.verifier(provider)?);
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// What webpki says of an authority's certificate that a server shows as its own: openssl's self-signed ones are such.
const SELF_SIGNED: &str = "CaUsedAsEndEntity";

/// What a failed handshake is in Go's words.
pub fn explain(error: &TlsError) -> String {
    let TlsError::InvalidCertificate(why) = error else {
        return format!("tls: {error}");
    };
    let why = match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        CertificateError::NotValidForName => "certificate is not valid for the name".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => {
            format!("certificate is not valid for {}", expected.to_str())
        }
        CertificateError::Other(other) if other.0.is::<WrongName>() => other.0.to_string(),
        CertificateError::Other(other) if other.0.to_string() == SELF_SIGNED => {
            "certificate signed by unknown authority (it is an authority's own, which only the bundle can vouch for)".to_owned()
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

#[cfg(test)]
mod tests;
