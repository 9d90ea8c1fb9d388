//! TLS of the node server.

use std::sync::Arc;

use rustls::{
    RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    server::{ResolvesServerCert, WebPkiClientVerifier},
    version,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};

use crate::configuration::Settings;

/// TLS that asks for a client certificate of `client_ca_pem`'s authorities and lets callers without one go on: they may have a
/// token.
pub(super) fn config(
    client_ca_pem: &str,
    certificate: Arc<dyn ResolvesServerCert>,
    settings: &Settings,
) -> Result<ServerConfig, String> {
    let mut provider = rustls::crypto::ring::default_provider();
    if !settings.tls_cipher_suites.is_empty() {
        provider.cipher_suites = suites(&provider.cipher_suites, &settings.tls_cipher_suites)?;
    }
    let provider = Arc::new(provider);
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
        .with_protocol_versions(versions(&settings.tls_min_version))
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(certificate);
    // Upstream's API server asks for HTTP/2, and for 1.1 where a connection is to be taken over.
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

const ONLY_13: &[&SupportedProtocolVersion] = &[&version::TLS13];

/// From the oldest on that is allowed; what is older than 1.2 is not spoken anyway.
fn versions(least: &str) -> &'static [&'static SupportedProtocolVersion] {
    match least {
        "VersionTLS13" => ONLY_13,
        _ => rustls::DEFAULT_VERSIONS,
    }
}

/// Those of TLS 1.3, which are not chosen, as in Go, and those of 1.2 that are named.
fn suites(
    known: &[SupportedCipherSuite],
    named: &[String],
) -> Result<Vec<SupportedCipherSuite>, String> {
    let name = |suite: &SupportedCipherSuite| format!("{:?}", suite.suite());
    let of_13 = |suite: &SupportedCipherSuite| suite.tls13().is_some();
    let is_known = |wanted: &String| {
        known.iter().any(|suite| {
            let name = name(suite);
            name == *wanted || (of_13(suite) && name.replacen("TLS13_", "TLS_", 1) == *wanted)
        })
    };
    if let Some(unknown) = named.iter().find(|wanted| !is_known(wanted)) {
        return Err(format!(
            "Cipher suite {unknown} not supported or doesn't exist"
        ));
    }
    let chosen = known
        .iter()
        .filter(|suite| of_13(suite) || named.contains(&name(suite)));
    Ok(chosen.copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_chosen_by_gos_names() {
        let known = rustls::crypto::ring::default_provider().cipher_suites;
        let chosen = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            suites(&known, &names)
        };
        let one = chosen(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]).unwrap();
        let of_12 = one.iter().filter(|suite| suite.tls13().is_none());
        assert_eq!(of_12.count(), 1);
        let of_13 = chosen(&["TLS_AES_128_GCM_SHA256"]).unwrap();
        assert!(of_13.iter().all(|suite| suite.tls13().is_some()));
        assert_eq!(
            chosen(&["TLS_RSA_WITH_RC4_128_SHA"]).unwrap_err(),
            "Cipher suite TLS_RSA_WITH_RC4_128_SHA not supported or doesn't exist"
        );
        assert_eq!(versions("VersionTLS13").len(), 1);
        assert_eq!(versions("").len(), 2);
    }
}
