//! Who calls: the certificate's names, and whether they may.

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::prelude::FromDer;

use crate::config::Config;

const ADMIN_GROUP: &str = "system:masters";
const API_SERVER: &str = "kube-apiserver-kubelet-client";

/// The caller, as far as this server tells callers apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// No certificate: 401.
    Nobody,
    /// A certificate of our authority with no rights here: 403.
    Stranger(String),
    /// The API server or an administrator.
    Trusted,
}

impl Caller {
    /// The chain has been verified by the handshake.
    pub(super) fn of(chain: Option<&[CertificateDer<'_>]>) -> Self {
        let Some(leaf) = chain.and_then(<[_]>::first) else {
            return Self::Nobody;
        };
        let Ok((_, certificate)) = x509_parser::certificate::X509Certificate::from_der(leaf) else {
            return Self::Nobody;
        };
        let subject = certificate.subject();
        let name = subject
            .iter_common_name()
            .next()
            .and_then(|n| n.as_str().ok())
            .unwrap_or_default();
        let admin = subject
            .iter_organization()
            .any(|o| o.as_str() == Ok(ADMIN_GROUP));
        if admin || name == API_SERVER {
            Self::Trusted
        } else {
            Self::Stranger(name.to_owned())
        }
    }
}

/// TLS that asks for a client certificate and lets callers without one get as far as 401.
pub(super) fn tls(config: &Config) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(config.serving_cert_pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| format!("serving certificate: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(config.serving_key_pem.as_bytes())
        .map_err(|error| format!("serving key: {error}"))?;
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(config.client_ca_pem.as_bytes()) {
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
        .with_single_cert(chain, key)
        .map_err(|error| format!("serving certificate: {error}"))?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tls)
}
