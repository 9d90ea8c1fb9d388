//! Whether a server is who its configuration says, and who this process is to it.

mod names;

use std::sync::Arc;

use knarr_auth::unverified::AnyCertificate;
use rustls::{
    CertificateError, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        ResolvesClientCert, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
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
            Trust::Bundle(pem) => Arc::new(Bundle::new(pem, provider)?),
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

/// The certificates of a bundle: authorities, or, as Go takes it too, the server's own.
#[derive(Debug)]
struct Bundle {
    authorities: Arc<WebPkiServerVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Bundle {
    fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Bundle, Error> {
        let none = || {
            Error::config("unable to load root certificates: unable to parse bytes as PEM block")
        };
        let certificates = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| none())?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            return Err(none());
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(Error::config)?;
        Ok(Bundle {
            authorities,
            certificates,
        })
    }
}

impl ServerCertVerifier for Bundle {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let verified = if self.certificates.iter().any(|one| one == end_entity) {
            // It vouches for itself: only its name and its time are left to check.
            valid_at(end_entity, now)?;
            let certificate = ParsedCertificate::try_from(end_entity)?;
            verify_server_name(&certificate, server_name).map(|()| ServerCertVerified::assertion())
        } else {
            self.authorities.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )
        };
        verified.map_err(|error| names::explained(error, end_entity, server_name))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.authorities
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        self.authorities
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authorities.supported_verify_schemes()
    }
}

fn valid_at(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), TlsError> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| TlsError::InvalidCertificate(CertificateError::BadEncoding))?;
    let (now, validity) = (now.as_secs() as i64, parsed.validity());
    match now {
        now if now < validity.not_before.timestamp() => {
            Err(TlsError::InvalidCertificate(CertificateError::NotValidYet))
        }
        now if now > validity.not_after.timestamp() => {
            Err(TlsError::InvalidCertificate(CertificateError::Expired))
        }
        _ => Ok(()),
    }
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
        CertificateError::Other(other) if other.0.is::<names::WrongName>() => other.0.to_string(),
        CertificateError::Other(other) if other.0.to_string() == SELF_SIGNED => {
            "certificate signed by unknown authority (it is an authority's own, which only the bundle can vouch for)".to_owned()
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

#[cfg(test)]
mod tests;
