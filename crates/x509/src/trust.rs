//! Whose certificates a TLS client believes, where somebody names authorities. As Go, it believes a server's own certificate in their
//! place, which openssl makes an authority's by default: webpki alone would refuse it for that.

mod names;

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use rustls_platform_verifier::Verifier;

pub use names::WrongName;

/// What is wrong with what somebody gave.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("unable to load root certificates: unable to parse bytes as PEM block")]
    Unreadable,
    #[error("unable to parse the private key")]
    Key,
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The certificates of a bundle: authorities, or, as Go takes it too, the server's own.
#[derive(Debug)]
pub struct Bundle {
    authorities: Arc<dyn ServerCertVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// Nobody else is believed.
    ///
    /// # Errors
    /// Where it has no certificate that can be read.
    pub fn new(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, BundleError> {
        let certificates = read(pem)?;
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            return Err(BundleError::Unreadable);
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(roots.into(), provider)
            .build()
            .map_err(|_| BundleError::Unreadable)?;
        Ok(Self {
            authorities,
            certificates,
        })
    }

    /// The system's authorities are believed as well.
    ///
    /// # Errors
    /// Where it has no certificate that can be read.
    pub fn beside_system(pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, BundleError> {
        let certificates = read(pem)?;
        let authorities = Verifier::new_with_extra_roots(certificates.iter().cloned(), provider)?;
        Ok(Self {
            authorities: Arc::new(authorities),
            certificates,
        })
    }
}

/// A TLS client that believes the authorities of a bundle and the system's, and shows the certificate of `identity` (PEM, with its key)
/// where a server asks.
///
/// # Errors
/// Where one of the two cannot be read.
pub fn client(bundle: &[u8], identity: Option<&[u8]>) -> Result<ClientConfig, BundleError> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Bundle::beside_system(bundle, provider.clone())?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some(identity) = identity else {
        return Ok(builder.with_no_client_auth());
    };
    let key = PrivateKeyDer::from_pem_slice(identity).map_err(|_| BundleError::Key)?;
    Ok(builder.with_client_auth_cert(read(identity)?, key)?)
}

fn read(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let certificates = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| BundleError::Unreadable)?;
    match certificates.is_empty() {
        true => Err(BundleError::Unreadable),
        false => Ok(certificates),
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

#[cfg(test)]
mod tests;
