//! TLS configurations whose certificate can change under them.

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SignatureScheme,
    client::ResolvesClientCert,
    crypto::CryptoProvider,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
};

use super::{Error, authority::Authority, cert::Credential};
use crate::front_proxy::{FrontProxies, Verifier};

/// ALPN names in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Looks the credential up at each handshake; parses its key only when it changed.
struct Current {
    source: Arc<ArcSwap<Credential>>,
    provider: Arc<CryptoProvider>,
    parsed: Mutex<Option<(Arc<Credential>, Arc<CertifiedKey>)>>,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current").finish_non_exhaustive()
    }
}

impl Current {
    fn certified(&self) -> Result<Arc<CertifiedKey>, rustls::Error> {
        let credential = self.source.load_full();
        let mut parsed = self.parsed.lock();
        if let Some((of, certified)) = &*parsed
            && Arc::ptr_eq(of, &credential)
        {
            return Ok(certified.clone());
        }
        let certified = Arc::new(CertifiedKey::from_der(
            credential.chain().to_vec(),
            credential.key().clone_key(),
            &self.provider,
        )?);
        *parsed = Some((credential, certified.clone()));
        Ok(certified)
    }

    fn certified_or_log(&self) -> Option<Arc<CertifiedKey>> {
        self.certified()
            .inspect_err(|error| tracing::error!(%error, "cannot use the renewed certificate"))
            .ok()
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certified_or_log()
    }
}

impl ResolvesClientCert for Current {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.certified_or_log()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn current(source: Arc<ArcSwap<Credential>>) -> Result<Arc<Current>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let current = Current {
        source,
        provider,
        parsed: Mutex::new(None),
    };
    // A key that TLS cannot use is an error now, not at the first handshake.
    current.certified()?;
    Ok(Arc::new(current))
}

fn parts(
    authority: &Authority,
    source: Arc<ArcSwap<Credential>>,
) -> Result<(Arc<RootCertStore>, Arc<Current>), Error> {
    let mut roots = RootCertStore::empty();
    for trusted in authority.trusted() {
        roots.add(trusted.clone())?;
    }
    Ok((Arc::new(roots), current(source)?))
}

pub(super) fn identity(
    source: Arc<ArcSwap<Credential>>,
) -> Result<Arc<dyn ResolvesClientCert>, Error> {
    Ok(current(source)?)
}

pub(super) fn serving_identity(
    source: Arc<ArcSwap<Credential>>,
) -> Result<Arc<dyn ResolvesServerCert>, Error> {
    Ok(current(source)?)
}

pub(super) fn server(
    authority: &Authority,
    source: Arc<ArcSwap<Credential>>,
) -> Result<Arc<ServerConfig>, Error> {
    let (roots, current) = parts(authority, source)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, current.provider.clone())
        .allow_unauthenticated()
        .build()?;
    serve(verifier, current)
}

/// One that proxies come to, too; with what tells them from users.
pub(super) fn proxied_server(
    authority: &Authority,
    source: Arc<ArcSwap<Credential>>,
    proxies: Arc<FrontProxies>,
) -> Result<(Arc<ServerConfig>, Arc<Verifier>), Error> {
    let (roots, current) = parts(authority, source)?;
    let verifier = Verifier::new(roots, current.provider.clone(), proxies)?;
    let verifier = Arc::new(verifier);
    Ok((serve(verifier.clone(), current)?, verifier))
}

fn serve(
    verifier: Arc<dyn ClientCertVerifier>,
    current: Arc<Current>,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(current.provider.clone())
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(current);
    config.alpn_protocols = PROTOCOLS.map(Vec::from).to_vec();
    Ok(Arc::new(config))
}

pub(super) fn client(
    authority: &Authority,
    source: Arc<ArcSwap<Credential>>,
) -> Result<Arc<ClientConfig>, Error> {
    let (roots, current) = parts(authority, source)?;
    let config = ClientConfig::builder_with_provider(current.provider.clone())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_cert_resolver(current);
    // No ALPN: the caller says what it speaks (an upgraded stream needs HTTP/1.1).
    Ok(Arc::new(config))
}
