//! The certificates that clients are shown, by the name that they ask for.

use std::{collections::HashMap, fmt, sync::Arc};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Secret;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose,
};
use rustls::{
    ServerConfig, crypto::CryptoProvider, server::ResolvesServerCert, sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

use crate::build::{Certificates, Key};

/// The type of Secrets that hold a certificate.
pub const SECRET_TYPE: &str = "kubernetes.io/tls";
/// What a client is shown for a host that has no certificate; made anew at each start.
const DEFAULT_SUBJECT: &str = "knarr Ingress Default Certificate";
const DEFAULT_NAME: &str = "ingress.knarr.invalid";
/// Longest chain of certificates.
const MAX_CHAIN: usize = 16;
/// ALPN names in the order of preference.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make a certificate for hosts without one")]
    Make(#[from] rcgen::Error),
    #[error("TLS is not usable")]
    Tls(#[from] rustls::Error),
}

/// The certificates of all hosts, as they are now.
pub struct Shown {
    current: ArcSwap<Certificates>,
    /// For hosts that have none.
    other: Arc<CertifiedKey>,
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").finish_non_exhaustive()
    }
}

impl Shown {
    /// With none but one that nobody trusts.
    pub fn new() -> Result<Arc<Self>, Error> {
        let other = default_certificate()?;
        Ok(Arc::new(Self {
            current: ArcSwap::default(),
            other: Arc::new(other),
        }))
    }

    /// From the next handshake on.
    pub fn replace(&self, certificates: Certificates) {
        self.current.store(Arc::new(certificates));
    }

    /// That of a host of Ingresses.
    pub fn named(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        let current = self.current.load();
        current.get(&name.to_ascii_lowercase()).cloned()
    }

    /// For hosts that have none.
    pub fn other(&self) -> Arc<CertifiedKey> {
        self.other.clone()
    }
}

/// One that says whose it is, so that whoever is shown it in a browser knows what is missing. It is nobody's: its only name is one
/// that nobody can have.
fn default_certificate() -> Result<CertifiedKey, Error> {
    let mut params = CertificateParams::new([DEFAULT_NAME.to_owned()])?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "knarr");
    subject.push(DnType::CommonName, DEFAULT_SUBJECT);
    params.distinguished_name = subject;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate()?;
    let chain = vec![params.self_signed(&key)?.der().clone()];
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(CertifiedKey::from_der(chain, key, &provider())?)
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// TLS with the certificates that a resolver finds.
///
/// # Errors
/// When the cryptography does not fit its own versions, which does not happen.
pub fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions()?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(resolver);
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// What Secrets hold, read once a version.
#[derive(Default)]
pub struct Parsed {
    known: HashMap<Key, (String, Result<Arc<CertifiedKey>, String>)>,
}

impl Parsed {
    /// The certificate of a Secret, or why it has none.
    pub fn get(&mut self, key: &Key, secret: Option<&Secret>) -> Result<Arc<CertifiedKey>, String> {
        let Some(secret) = secret else {
            self.known.remove(key);
            return Err(format!("there is none of type {SECRET_TYPE}"));
        };
        let version = secret.metadata.resource_version.clone().unwrap_or_default();
        match self.known.get(key) {
            Some((known, result)) if *known == version => result.clone(),
            _ => {
                let result = parse(secret);
                self.known.insert(key.clone(), (version, result.clone()));
                result
            }
        }
    }

    /// Forgets all but these.
    pub fn retain(&mut self, used: impl Fn(&Key) -> bool) {
        self.known.retain(|key, _| used(key));
    }
}

fn parse(secret: &Secret) -> Result<Arc<CertifiedKey>, String> {
    let data = |name: &str| {
        let found = secret.data.as_ref().and_then(|data| data.get(name));
        found
            .map(|bytes| bytes.0.as_slice())
            .ok_or(format!("it has no {name}"))
    };
    let chain = CertificateDer::pem_slice_iter(data("tls.crt")?)
        .take(MAX_CHAIN)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("tls.crt is no certificate: {error}"))?;
    if chain.is_empty() {
        return Err("tls.crt has no certificate".to_owned());
    }
    // What is wrong with a key is not for everybody's eyes.
    let key = PrivateKeyDer::from_pem_slice(data("tls.key")?)
        .map_err(|_| "tls.key is no private key".to_owned())?;
    let certified = CertifiedKey::from_der(chain, key, &provider());
    certified.map(Arc::new).map_err(|_| {
        "tls.key is not the key of tls.crt, or of a kind that is not supported".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;
    use crate::{
        build::build,
        regexes::{Regexes, Taking},
    };

    fn made(host: &str) -> (String, String) {
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn secret(version: &str, certificate: &str, key: &str) -> Secret {
        let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
        let data = [("tls.crt", bytes(certificate)), ("tls.key", bytes(key))];
        let mut secret = Secret {
            data: Some(BTreeMap::from(data.map(|(k, v)| (k.to_owned(), v)))),
            ..Secret::default()
        };
        secret.metadata.resource_version = Some(version.to_owned());
        secret
    }

    fn key() -> Key {
        Key {
            namespace: "x".to_owned(),
            name: "s".to_owned(),
        }
    }

    #[test]
    fn secrets_are_read_once_a_version() {
        let mut parsed = Parsed::default();
        let (certificate, private) = made("a");
        let (other, _) = made("b");
        let first = parsed
            .get(&key(), Some(&secret("1", &certificate, &private)))
            .expect("one");
        let again = parsed.get(&key(), Some(&secret("1", "", ""))).expect("one");
        assert!(Arc::ptr_eq(&first, &again));
        for (version, certificate, private) in [
            ("2", other.as_str(), private.as_str()),
            ("3", "", private.as_str()),
            ("4", certificate.as_str(), "x"),
            (
                "5",
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                private.as_str(),
            ),
        ] {
            let read = parsed.get(&key(), Some(&secret(version, certificate, private)));
            assert!(read.is_err(), "{version}");
        }
        assert!(parsed.get(&key(), None).is_err());
    }

    #[test]
    fn the_default_certificate_says_whose_it_is() {
        let made = default_certificate().expect("a certificate");
        let der = made.cert.first().expect("a certificate");
        let (_, read) = x509_parser::parse_x509_certificate(der).expect("a certificate");
        assert_eq!(
            read.subject().to_string(),
            "O=knarr, CN=knarr Ingress Default Certificate"
        );
        let names = read.subject_alternative_name().expect("names");
        let names = names.map(|names| format!("{:?}", names.value.general_names));
        assert_eq!(
            names.as_deref(),
            Some("[DNSName(\"ingress.knarr.invalid\")]")
        );
    }

    #[test]
    fn names_of_handshakes() {
        let shown = Shown::new().expect("certificates");
        let mut parsed = Parsed::default();
        let (certificate, private) = made("a");
        let found = parsed
            .get(&key(), Some(&secret("1", &certificate, &private)))
            .expect("one");
        let tls = serde_json::json!({
            "metadata": {"namespace": "x", "name": "i"},
            "spec": {"tls": [{"hosts": ["a.example.com", "*.example.org"], "secretName": "s"}]},
        });
        let ingress = serde_json::from_value(tls).expect("an Ingress");
        let mut regexes = Regexes::default();
        let built = build(
            vec![Arc::new(ingress)],
            Vec::new(),
            &mut Taking::new(&mut regexes),
            |_| Ok(found.clone()),
        );
        shown.replace(built.certificates);
        for (name, known) in [
            ("a.example.com", true),
            ("A.Example.com", true),
            ("b.example.org", true),
            ("b.c.example.org", false),
            ("example.org", false),
            ("b.example.com", false),
        ] {
            assert_eq!(shown.named(name).is_some(), known, "{name}");
        }
    }
}
