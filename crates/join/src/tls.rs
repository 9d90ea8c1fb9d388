//! TLS towards the servers: nobody but the cluster's authority vouches for them.

use std::sync::Arc;

use knarr_x509::{Certificate, pem};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer},
};

use crate::{Error, certificate::Certified};

pub(crate) const PROTOCOLS: [&[u8]; 1] = [b"h2"];

/// The authority's certificates.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    pem: String,
    roots: Arc<RootCertStore>,
}

impl Authority {
    /// `None` where the text holds no certificate.
    pub(crate) fn from_pem(text: &str) -> Option<Self> {
        let mut roots = RootCertStore::empty();
        let blocks = pem::blocks(text.as_bytes());
        let blocks = blocks.filter(|block| block.label == pem::CERTIFICATE);
        roots.add_parsable_certificates(blocks.map(|block| CertificateDer::from(block.der)));
        (!roots.is_empty()).then(|| Self {
            pem: text.to_owned(),
            roots: Arc::new(roots),
        })
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether a certificate names the one that signs, the first, as its issuer.
    pub(crate) fn names_as_issuer(&self, leaf: &Certificate) -> bool {
        let mut blocks = pem::blocks(self.pem.as_bytes());
        let first = blocks.find(|block| block.label == pem::CERTIFICATE);
        let first = first.and_then(|block| Certificate::from_der(&block.der).ok());
        first.is_some_and(|first| leaf.names_issuer(&first))
    }

    /// TLS of a client that shows this certificate, or none.
    pub(crate) fn client(&self, shown: Option<&Certified>) -> Result<Arc<ClientConfig>, Error> {
        let shown = shown.map(|shown| (shown.chain(), shown.key()));
        Ok(self.client_showing(shown)?)
    }

    /// TLS of a client that shows a certificate with its chain, the leaf first, or none.
    pub(crate) fn client_showing(
        &self,
        shown: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(self.roots.clone());
        let mut config = match shown {
            Some((chain, key)) => config.with_client_auth_cert(chain, key)?,
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = PROTOCOLS.map(Vec::from).to_vec();
        Ok(Arc::new(config))
    }
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
