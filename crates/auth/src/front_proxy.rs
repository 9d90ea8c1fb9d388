//! Proxies in front of the server that say on whose behalf they ask: upstream's request-header authentication.
//!
//! A proxy shows a certificate of an authority of its own. Only then its headers count; and such a certificate is nobody's by itself, so
//! that who issues certificates for proxies issues none for users.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

use http::{HeaderMap, HeaderName};
use knarr_meta::status::Status;
use knarr_x509::pem;
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{
    UserInfo, authn,
    escape::{self, Form},
    headers::texts,
};

/// Which proxies are believed, and by which headers: upstream's `--requestheader-*`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// PEM of the authorities of proxies.
    pub ca: Vec<u8>,
    /// Common names that a proxy may have; empty: any.
    pub allowed_names: Vec<String>,
    pub username_headers: Vec<String>,
    pub uid_headers: Vec<String>,
    pub group_headers: Vec<String>,
    pub extra_prefixes: Vec<String>,
}

/// They cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the authority of front proxies has no certificate that can be used")]
    Authority,
    #[error("{0:?} cannot be the name of a header")]
    Header(String),
    #[error("no header names the user")]
    NoUsername,
}

/// Proxies that are believed.
#[derive(Debug)]
pub struct FrontProxies {
    verifier: Arc<dyn ClientCertVerifier>,
    allowed_names: Vec<String>,
    usernames: Vec<HeaderName>,
    uids: Vec<HeaderName>,
    groups: Vec<HeaderName>,
    /// In lower case.
    extra_prefixes: Vec<String>,
}

/// A connection of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontProxy {
    /// The life of its certificate, which the connection may outlast; Unix seconds.
    valid: RangeInclusive<i64>,
}

impl FrontProxies {
    /// # Errors
    /// What is configured cannot be.
    pub fn new(options: &Options) -> Result<FrontProxies, Error> {
        let mut roots = RootCertStore::empty();
        for block in pem::blocks(&options.ca).filter(|block| block.label == pem::CERTIFICATE) {
            let added = roots.add(CertificateDer::from(block.der));
            added.map_err(|_| Error::Authority)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().map_err(|_| Error::Authority)?;
        let names = |texts: &[String]| -> Result<Vec<HeaderName>, Error> {
            let name = |text: &String| HeaderName::from_bytes(text.trim().as_bytes());
            let names = texts
                .iter()
                .map(|text| name(text).map_err(|_| Error::Header(text.clone())));
            names.collect()
        };
        let usernames = names(&options.username_headers)?;
        if usernames.is_empty() {
            return Err(Error::NoUsername);
        }
        // What is after it is a part of the header's name.
        names(&options.extra_prefixes)?;
        let prefixes = options.extra_prefixes.iter();
        Ok(FrontProxies {
            verifier,
            allowed_names: options.allowed_names.clone(),
            usernames,
            uids: names(&options.uid_headers)?,
            groups: names(&options.group_headers)?,
            extra_prefixes: prefixes.map(|p| p.trim().to_ascii_lowercase()).collect(),
        })
    }

    /// The proxy that a chain of certificates is of; `None` where it is of none that is believed.
    pub fn find(&self, chain: &[CertificateDer<'_>]) -> Option<FrontProxy> {
        let (leaf, intermediates) = chain.split_first()?;
        let verified = self
            .verifier
            .verify_client_cert(leaf, intermediates, UnixTime::now());
        verified.ok()?;
        let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
        let name = certificate.subject().iter_common_name().last();
        let name = name.and_then(|name| name.as_str().ok()).unwrap_or_default();
        let allowed = |allowed: &String| allowed == name;
        if !self.allowed_names.is_empty() && !self.allowed_names.iter().any(allowed) {
            return None;
        }
        let life = certificate.validity();
        Some(FrontProxy {
            valid: life.not_before.timestamp()..=life.not_after.timestamp(),
        })
    }

    /// On whose behalf a request of a proxy is; `None` where it does not say. `now` in Unix seconds.
    ///
    /// # Errors
    /// 400 for headers that cannot be read.
    pub fn user(
        &self,
        proxy: &FrontProxy,
        headers: &HeaderMap,
        now: i64,
    ) -> Result<Option<UserInfo>, Status> {
        if !proxy.valid.contains(&now) {
            return Ok(None);
        }
        let first = |names: &[HeaderName]| -> Result<String, Status> {
            for name in names {
                let values = texts(headers, name)?;
                if let Some(value) = values.first().filter(|value| !value.is_empty()) {
                    return Ok((*value).to_owned());
                }
            }
            Ok(String::new())
        };
        let name = first(&self.usernames)?;
        if name.is_empty() {
            return Ok(None);
        }
        let mut groups = Vec::new();
        for header in &self.groups {
            let values = texts(headers, header)?.into_iter();
            groups.extend(values.filter(|value| !value.is_empty()).map(str::to_owned));
        }
        let mut user = UserInfo {
            name,
            uid: first(&self.uids)?,
            groups,
            extra: self.extra(headers)?,
        };
        // As upstream: nobody stays nobody.
        if !authn::is_anonymous(&user) {
            authn::add_authenticated(&mut user);
        }
        Ok(Some(user))
    }

    fn extra(&self, headers: &HeaderMap) -> Result<BTreeMap<String, Vec<String>>, Status> {
        let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for header in headers.keys() {
            let mut prefixes = self.extra_prefixes.iter();
            let Some(key) = prefixes.find_map(|prefix| header.as_str().strip_prefix(&**prefix))
            else {
                continue;
            };
            let key = escape::decode(key, Form::Path)?.into_owned();
            let values = texts(headers, header)?.into_iter().map(str::to_owned);
            extra.entry(key).or_default().extend(values);
        }
        Ok(extra)
    }

    /// Removes what names users: who a request is passed on to must not believe it.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let named = [&self.usernames, &self.uids, &self.groups];
        for name in named.into_iter().flatten() {
            headers.remove(name);
        }
        let is_extra = |name: &HeaderName| {
            let mut prefixes = self.extra_prefixes.iter();
            prefixes.any(|prefix| name.as_str().starts_with(&**prefix))
        };
        let extra: Vec<HeaderName> = headers
            .keys()
            .filter(|name| is_extra(name))
            .cloned()
            .collect();
        for name in extra {
            headers.remove(name);
        }
    }
}

/// Verifies the certificates of users, and those of proxies.
#[derive(Debug)]
pub struct Verifier {
    users: Arc<dyn ClientCertVerifier>,
    proxies: Arc<FrontProxies>,
    hints: Vec<DistinguishedName>,
}

impl Verifier {
    /// `roots` are the authorities of users.
    ///
    /// # Errors
    /// They cannot be used.
    pub fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        proxies: Arc<FrontProxies>,
    ) -> Result<Verifier, rustls::server::VerifierBuilderError> {
        let users = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
        let of_users = users.root_hint_subjects().iter();
        let of_proxies = proxies.verifier.root_hint_subjects();
        Ok(Verifier {
            hints: of_users.chain(of_proxies).cloned().collect(),
            users,
            proxies,
        })
    }

    /// Whether a chain of certificates is a user's.
    pub fn is_users(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, intermediates)) = chain.split_first() else {
            return false;
        };
        let verified = self
            .users
            .verify_client_cert(leaf, intermediates, UnixTime::now());
        verified.is_ok()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let of_users = self.users.verify_client_cert(leaf, intermediates, now);
        let proxies = &self.proxies.verifier;
        of_users.or_else(|error| {
            let of_proxies = proxies.verify_client_cert(leaf, intermediates, now);
            of_proxies.map_err(|_| error)
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.users
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.users
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.users.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rcgen::{
        BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };

    use super::*;
    use crate::AUTHENTICATED;

    struct Ca {
        pem: String,
        issuer: Issuer<'static, KeyPair>,
    }

    fn authority(name: &str) -> Ca {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a certificate");
        Ca {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    impl Ca {
        fn issue(&self, name: &str) -> CertificateDer<'static> {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            let key = KeyPair::generate().expect("a key");
            let signed = params.signed_by(&key, &self.issuer).expect("a certificate");
            signed.der().clone()
        }
    }

    fn options(ca: &Ca) -> Options {
        let one = |text: &str| vec![text.to_owned()];
        Options {
            ca: ca.pem.clone().into_bytes(),
            allowed_names: one("front"),
            username_headers: vec!["X-Remote-User".into(), "X-Other-User".into()],
            uid_headers: one("X-Remote-Uid"),
            group_headers: one("X-Remote-Group"),
            extra_prefixes: one("X-Remote-Extra-"),
        }
    }

    fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in all {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn only_who_is_allowed_is_a_proxy() {
        let (own, other) = (authority("proxies"), authority("users"));
        let proxies = FrontProxies::new(&options(&own)).expect("proxies");
        let any = FrontProxies::new(&Options {
            allowed_names: Vec::new(),
            ..options(&own)
        });
        let any = any.expect("proxies");
        for (certificate, named, whoever) in [
            (own.issue("front"), true, true),
            (own.issue("back"), false, true),
            (other.issue("front"), false, false),
        ] {
            let chain = [certificate];
            assert_eq!(proxies.find(&chain).is_some(), named);
            assert_eq!(any.find(&chain).is_some(), whoever);
        }
        assert!(proxies.find(&[]).is_none());
    }

    #[test]
    fn certificates_of_proxies_are_no_users() {
        let (users, proxies) = (authority("users"), authority("proxies"));
        let mut roots = RootCertStore::empty();
        for block in pem::blocks(users.pem.as_bytes()) {
            roots.add(block.der.into()).expect("a root");
        }
        let believed = Arc::new(FrontProxies::new(&options(&proxies)).expect("proxies"));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(Arc::new(roots), provider, believed).expect("a verifier");
        let (user, proxy) = (users.issue("ann"), proxies.issue("front"));
        let stranger = authority("strangers").issue("ann");
        let holds = |leaf| {
            verifier
                .verify_client_cert(leaf, &[], UnixTime::now())
                .is_ok()
        };
        assert_eq!([&user, &proxy, &stranger].map(holds), [true, true, false]);
        assert!(verifier.is_users(&[user]) && !verifier.is_users(&[proxy]));
    }

    #[test]
    fn headers_name_the_user() {
        let ca = authority("proxies");
        let proxies = FrontProxies::new(&options(&ca)).expect("proxies");
        let proxy = FrontProxy { valid: 0..=10 };
        let asked = headers(&[
            ("x-other-user", "ann"),
            ("x-remote-uid", "7"),
            ("x-remote-group", "dev"),
            ("x-remote-group", "ops"),
            ("x-remote-extra-scopes%2fall", "a"),
            ("x-remote-extra-scopes%2fall", "b"),
        ]);
        let user = proxies
            .user(&proxy, &asked, 5)
            .expect("headers")
            .expect("a user");
        assert_eq!((&*user.name, &*user.uid), ("ann", "7"));
        assert_eq!(user.groups, ["dev", "ops", AUTHENTICATED]);
        assert_eq!(user.extra["scopes/all"], ["a", "b"]);
        assert_eq!(
            proxies.user(&proxy, &asked, 11),
            Ok(None),
            "its life is over"
        );
        let nameless = headers(&[("x-remote-user", ""), ("x-remote-group", "system:masters")]);
        assert_eq!(proxies.user(&proxy, &nameless, 5), Ok(None));
        let mut passed = asked;
        passed.insert("accept", HeaderValue::from_static("*/*"));
        proxies.strip(&mut passed);
        assert_eq!(passed.keys().collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let good = options(&authority("proxies"));
        for wrong in [
            Options {
                ca: b"nothing".to_vec(),
                ..good.clone()
            },
            Options {
                username_headers: Vec::new(),
                ..good.clone()
            },
            Options {
                group_headers: vec!["a b".into()],
                ..good.clone()
            },
        ] {
            assert!(FrontProxies::new(&wrong).is_err(), "{wrong:?}");
        }
    }
}
