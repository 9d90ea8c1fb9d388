//! TLS of the node server.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig,
    server::{ResolvesServerCert, WebPkiClientVerifier},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

/// TLS that asks for a client certificate of `client_ca_pem`'s authorities and lets callers without one go on: they may have a
/// token.
pub(super) fn config(
    client_ca_pem: &str,
    certificate: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(client_ca_pem.as_bytes()) {
        let authority = authority.map_err(|error| format!("client authority: {error}"))?;
        roots
            .add(authority)
            .map_err(|error| format!("client authority: {error}"))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| format!("client authority: {error}"))?;
    let mut tls = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}
