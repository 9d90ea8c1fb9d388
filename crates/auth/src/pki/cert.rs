//! Issuing, loading and judging leaf certificates.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, prelude::FromDer};

use super::{
    CLOCK_SKEW, Error, FRONT_PROXY_NAME, KUBELET_ADMINS, LEAF_LIFE, Options, Role,
    authority::Authority,
    files,
    issue::{offset, serial},
    key,
};

/// Who a leaf names, and what it is for.
pub(super) struct Profile {
    pub common_name: String,
    pub organization: Option<&'static str>,
    /// DNS names and addresses; empty for a pure client certificate.
    pub sans: BTreeSet<String>,
    pub server: bool,
    pub client: bool,
}

/// What the leaf of a role says.
pub(super) fn profile(role: Role, options: &Options) -> Profile {
    let names = ["localhost", "127.0.0.1", "::1", &options.node_name];
    let mut node_sans = BTreeSet::from(names.map(String::from));
    node_sans.extend(options.node_ips.iter().map(IpAddr::to_string));
    let client = |common_name: &str, organization: &'static str| Profile {
        common_name: common_name.into(),
        organization: Some(organization).filter(|organization| !organization.is_empty()),
        sans: BTreeSet::new(),
        server: false,
        client: true,
    };
    match role {
        Role::ApiServer => {
            let mut sans = node_sans;
            sans.extend(
                ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(String::from),
            );
            sans.insert(format!("kubernetes.default.svc.{}", options.cluster_domain));
            sans.extend(options.service_ips.iter().map(IpAddr::to_string));
            sans.extend(options.extra_sans.iter().cloned());
            Profile {
                common_name: "kube-apiserver".into(),
                organization: None,
                sans,
                server: true,
                client: false,
            }
        }
        Role::KubeletClient => client("kube-apiserver-kubelet-client", KUBELET_ADMINS),
        Role::Admin => client("kubernetes-admin", "system:masters"),
        Role::FrontProxy => client(FRONT_PROXY_NAME, ""),
        Role::Kubelet => Profile {
            sans: node_sans,
            server: true,
            ..client(
                &format!("system:node:{}", options.node_name),
                "system:nodes",
            )
        },
    }
}

/// A leaf certificate with its key.
pub struct Credential {
    cert_pem: String,
    key_pem: String,
    /// The leaf, and what leads to a replaced authority that is still trusted.
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    not_before: SystemTime,
    not_after: SystemTime,
    common_name: String,
    organization: Option<String>,
    sans: BTreeSet<String>,
}

impl Credential {
    /// PEM of the certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// PEM (PKCS#8) of the private key.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// DER of the certificate.
    pub fn cert(&self) -> &CertificateDer<'static> {
        &self.chain[0]
    }

    /// What is shown at a handshake.
    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// DER of the private key.
    pub fn key(&self) -> &PrivateKeyDer<'static> {
        &self.key
    }

    /// End of the certificate's life.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Reads a leaf from its two files; `None` where it is missing, damaged, torn or signed by someone else, since a leaf can
    /// always be issued again.
    pub(super) fn load(dir: &Path, file: &str, authority: &Authority) -> Option<Credential> {
        let cert_pem = std::fs::read_to_string(dir.join(format!("{file}.crt"))).ok()?;
        let key_pem = std::fs::read_to_string(dir.join(format!("{file}.key"))).ok()?;
        let key = KeyPair::from_pem(&key_pem).ok()?;
        let credential = Self::assemble(cert_pem, &key, authority)?;
        let (_, parsed) =
            x509_parser::certificate::X509Certificate::from_der(credential.cert()).ok()?;
        let (_, ca) = x509_parser::certificate::X509Certificate::from_der(authority.der()).ok()?;
        let ours = parsed.issuer() == ca.subject() && knarr_x509::is_signed_by(&parsed, &ca);
        let pair = parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw();
        (ours && pair).then_some(credential)
    }

    /// Makes a key, signs its certificate and writes both.
    pub(super) fn issue(
        dir: &Path,
        file: &str,
        authority: &Authority,
        profile: &Profile,
        now: SystemTime,
    ) -> Result<Credential, Error> {
        let failed = |source| Error::Issue {
            name: profile.common_name.clone(),
            source,
        };
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        if let Some(organization) = profile.organization {
            params
                .distinguished_name
                .push(DnType::OrganizationName, organization);
        }
        params
            .distinguished_name
            .push(DnType::CommonName, profile.common_name.as_str());
        for san in &profile.sans {
            params.subject_alt_names.push(match san.parse::<IpAddr>() {
                Ok(ip) => SanType::IpAddress(ip),
                Err(_) => SanType::DnsName(san.as_str().try_into().map_err(failed)?),
            });
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if profile.server {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if profile.client {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.not_before = offset!(now - CLOCK_SKEW);
        params.not_after = offset!(now + LEAF_LIFE);
        params.serial_number = Some(serial());
        let cert = params.signed_by(&key, authority.issuer()).map_err(failed)?;
        files::write(
            &dir.join(format!("{file}.key")),
            key.serialize_pem().as_bytes(),
            files::PRIVATE,
            files::Durability::Remade,
        )?;
        files::write(
            &dir.join(format!("{file}.crt")),
            cert.pem().as_bytes(),
            files::PUBLIC,
            files::Durability::Remade,
        )?;
        Self::assemble(cert.pem(), &key, authority)
            .ok_or_else(|| failed(rcgen::Error::CouldNotParseCertificate))
    }

    fn assemble(cert_pem: String, key: &KeyPair, authority: &Authority) -> Option<Credential> {
        let cert = CertificateDer::from_pem_slice(cert_pem.as_bytes()).ok()?;
        let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(&cert).ok()?;
        let instant = |seconds: i64| UNIX_EPOCH + Duration::from_secs(seconds.max(0) as u64);
        let mut sans = BTreeSet::new();
        if let Ok(Some(extension)) = parsed.subject_alternative_name() {
            sans.extend(
                extension
                    .value
                    .general_names
                    .iter()
                    .filter_map(general_name),
            );
        }
        let text = |value: Option<&x509_parser::x509::AttributeTypeAndValue<'_>>| {
            value.and_then(|v| v.as_str().ok()).map(String::from)
        };
        let not_before = instant(parsed.validity().not_before.timestamp());
        let not_after = instant(parsed.validity().not_after.timestamp());
        let common_name = text(parsed.subject().iter_common_name().next())?;
        let organization = text(parsed.subject().iter_organization().next());
        Some(Credential {
            key_pem: key.serialize_pem(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
            chain: [cert.clone()]
                .into_iter()
                .chain(authority.cross().cloned())
                .collect(),
            cert_pem,
            not_before,
            not_after,
            common_name,
            organization,
            sans,
        })
    }

    /// True once two thirds of the life have passed, and before it has begun: the clock was ahead when it was made.
    pub(super) fn due(&self, now: SystemTime) -> bool {
        let life = self
            .not_after
            .duration_since(self.not_before)
            .unwrap_or_default();
        now < self.not_before || now >= self.not_before + life * 2 / 3
    }

    /// True when the certificate says what the profile wants.
    pub(super) fn fits(&self, profile: &Profile) -> bool {
        self.common_name == profile.common_name
            && self.organization.as_deref() == profile.organization
            && self.sans == profile.sans
    }
}

fn general_name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes)
                .ok()
                .map(|b| IpAddr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}

/// The key for service-account tokens, as PKCS#8 DER; `sa.key` and `sa.pub` are made at first start.
pub(super) fn service_account_key(dir: &Path) -> Result<Vec<u8>, Error> {
    let path = dir.join("sa.key");
    let key = match files::read(&path)? {
        Some(pem) => key::signing_key(&pem).map_err(|reason| Error::Damaged {
            path: path.clone(),
            reason,
        })?,
        None => {
            let key =
                KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|source| Error::Issue {
                    name: "service accounts".into(),
                    source,
                })?;
            files::write(
                &path,
                key.serialize_pem().as_bytes(),
                files::PRIVATE,
                files::Durability::Synced,
            )?;
            key
        }
    };
    let public = dir.join("sa.pub");
    if files::read(&public)?.as_deref() != Some(key.public_key_pem().as_bytes()) {
        files::write(
            &public,
            key.public_key_pem().as_bytes(),
            files::PUBLIC,
            files::Durability::Remade,
        )?;
    }
    Ok(key.serialize_der())
}
