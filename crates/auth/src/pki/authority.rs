//! The cluster's authorities: loading and making them, and replacing one while what it has signed is in use.
//!
//! A replacement has a key and a name of its own. Until the replaced one is dropped its certificate stands behind the new one in the same
//! file, so that what it has signed is trusted, and the new one has a second certificate that the replaced one has signed: who trusts
//! that one alone is shown a chain that it can follow.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::FromDer;

use super::{
    CA_LIFE, CLOCK_SKEW, Error, files,
    issue::{offset, serial},
    key,
};

/// What a certificate authority is called, and what its loss means.
pub(super) struct AuthorityProfile {
    /// File name without extension.
    file: &'static str,
    common_name: &'static str,
    durability: files::Durability,
}

/// The root of trust: all that the cluster has signed is lost with it.
pub(super) const CLUSTER: AuthorityProfile = AuthorityProfile {
    file: "ca",
    common_name: "knarr-ca",
    durability: files::Durability::Synced,
};

/// Signs [`Role::FrontProxy`](super::Role::FrontProxy).
pub(super) const FRONT_PROXY: AuthorityProfile = AuthorityProfile {
    file: "front-proxy-ca",
    common_name: "knarr-front-proxy-ca",
    durability: files::Durability::Remade,
};

impl AuthorityProfile {
    fn path(&self, dir: &Path, extension: &str) -> PathBuf {
        dir.join(format!("{}.{extension}", self.file))
    }

    fn key(&self, dir: &Path) -> PathBuf {
        self.path(dir, "key")
    }

    fn certificate(&self, dir: &Path) -> PathBuf {
        self.path(dir, "crt")
    }

    /// What the certificate's file becomes once the key is the new one.
    fn next(&self, dir: &Path) -> PathBuf {
        self.path(dir, "next.crt")
    }

    /// The new authority, as the replaced one has signed it.
    fn cross(&self, dir: &Path) -> PathBuf {
        self.path(dir, "cross")
    }

    fn failed(&self) -> impl Fn(rcgen::Error) -> Error + use<> {
        let name = self.common_name;
        move |source| Error::Issue {
            name: name.into(),
            source,
        }
    }
}

/// A certificate authority of the cluster.
pub(super) struct Authority {
    /// The one that signs, then a replaced one that is still trusted.
    pem: String,
    trusted: Vec<CertificateDer<'static>>,
    cross: Option<CertificateDer<'static>>,
    issuer: Issuer<'static, KeyPair>,
    signer: Arc<knarr_x509::Authority>,
}

impl Authority {
    /// Loads certificate and key, or makes both where neither exists.
    pub(super) fn open(
        dir: &Path,
        profile: &AuthorityProfile,
        now: SystemTime,
    ) -> Result<Authority, Error> {
        finish_replacing(dir, profile)?;
        let (cert_path, key_path) = (profile.certificate(dir), profile.key(dir));
        let cross = files::read(&profile.cross(dir))?;
        let lost = |path, reason| match profile.durability {
            files::Durability::Synced => Err(Error::Damaged { path, reason }),
            files::Durability::Remade => Self::make(dir, profile, now),
        };
        match (files::read(&cert_path)?, files::read(&key_path)?) {
            (Some(cert), Some(key)) => {
                Self::parse(&cert, &key, cross.as_deref()).or_else(|reason| lost(cert_path, reason))
            }
            // The key is written first: alone it has signed nothing yet.
            (None, _) => Self::make(dir, profile, now),
            (Some(_), None) => {
                let reason = format!("it is missing while {}.crt exists", profile.file);
                lost(key_path, reason)
            }
        }
    }

    fn parse(cert: &[u8], key: &[u8], cross: Option<&[u8]>) -> Result<Authority, String> {
        let key = key::signing_key(key)?;
        let trusted: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<_, _>>()
            .map_err(|e| e.to_string())?;
        let der = trusted.first().ok_or("it holds no certificate")?;
        if public_key_of(der).as_deref() != Some(key.public_key_raw()) {
            return Err("its key is another one's".into());
        }
        // One that was left behind leads nowhere.
        let cross = cross
            .filter(|_| trusted.len() > 1)
            .and_then(|cross| CertificateDer::from_pem_slice(cross).ok())
            .filter(|cross| public_key_of(cross).as_deref() == Some(key.public_key_raw()));
        let signer = knarr_x509::Authority::new(der, &key.serialize_pem());
        let signer = Arc::new(signer.map_err(|e| e.to_string())?);
        let issuer = Issuer::from_ca_cert_der(der, key).map_err(|e| e.to_string())?;
        Ok(Authority {
            pem: String::from_utf8_lossy(cert).into_owned(),
            trusted,
            cross,
            issuer,
            signer,
        })
    }

    fn make(dir: &Path, profile: &AuthorityProfile, now: SystemTime) -> Result<Authority, Error> {
        let failed = profile.failed();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&failed)?;
        let params = params(profile.common_name, now);
        let cert = params.self_signed(&key).map_err(&failed)?;
        let key_pem = key.serialize_pem();
        let write = |path: &Path, text: &str, mode| {
            files::write(path, text.as_bytes(), mode, profile.durability)
        };
        write(&profile.key(dir), &key_pem, files::PRIVATE)?;
        write(&profile.certificate(dir), &cert.pem(), files::PUBLIC)?;
        let parsed = Self::parse(cert.pem().as_bytes(), key_pem.as_bytes(), None);
        parsed.map_err(|reason| Error::Damaged {
            path: profile.certificate(dir),
            reason,
        })
    }

    /// Certificates that are to be trusted, PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    pub(super) fn signer(&self) -> &Arc<knarr_x509::Authority> {
        &self.signer
    }

    /// The certificate of the one that signs.
    pub(super) fn der(&self) -> &CertificateDer<'static> {
        &self.trusted[0]
    }

    pub(super) fn trusted(&self) -> &[CertificateDer<'static>] {
        &self.trusted
    }

    pub(super) fn cross(&self) -> Option<&CertificateDer<'static>> {
        self.cross.as_ref()
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Whether this is what the next start has, too.
    pub(super) fn is_in(&self, dir: &Path, profile: &AuthorityProfile) -> Result<bool, Error> {
        let there = files::read(&profile.certificate(dir))?;
        Ok(there.as_deref() == Some(self.pem.as_bytes()))
    }
}

/// Whether a replaced authority has not been dropped.
pub(super) fn is_replacing(authority: &Authority) -> bool {
    authority.trusted.len() > 1
}

/// Puts a new authority in the place of the old one, which stays trusted. Whatever is interrupted, the next [`Authority::open`] finds one
/// of the two, whole.
pub(super) fn replace(
    dir: &Path,
    profile: &AuthorityProfile,
    old: &Authority,
    now: SystemTime,
) -> Result<(), Error> {
    let failed = profile.failed();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(&failed)?;
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    // Chains are built by names: two authorities of one name would be tried one after the other.
    let params = params(&format!("{}@{seconds}", profile.common_name), now);
    let cert = params.self_signed(&key).map_err(&failed)?;
    let cross = params.signed_by(&key, &old.issuer).map_err(&failed)?;
    let write = |path: &Path, text: &str, mode| {
        files::write(path, text.as_bytes(), mode, files::Durability::Synced)
    };
    write(&profile.cross(dir), &cross.pem(), files::PUBLIC)?;
    let both = cert.pem() + &old.pem;
    write(&profile.next(dir), &both, files::PUBLIC)?;
    files::sync_dir(dir)?;
    // From here on it is the new one.
    write(&profile.key(dir), &key.serialize_pem(), files::PRIVATE)?;
    files::sync_dir(dir)?;
    finish_replacing(dir, profile)
}

/// Brings to its end what a crash has left half: the key tells which certificate is meant.
fn finish_replacing(dir: &Path, profile: &AuthorityProfile) -> Result<(), Error> {
    let next = profile.next(dir);
    let Some(text) = files::read(&next)? else {
        return Ok(());
    };
    let key = files::read(&profile.key(dir))?;
    let fits = key.is_some_and(|key| Authority::parse(&text, &key, None).is_ok());
    let done = match fits {
        true => std::fs::rename(&next, profile.certificate(dir)),
        false => std::fs::remove_file(&next),
    };
    done.map_err(|source| Error::Io {
        action: "replace",
        path: next,
        source,
    })?;
    files::sync_dir(dir)
}

/// Trusts nobody any more but the authority that signs.
pub(super) fn drop_replaced(
    dir: &Path,
    profile: &AuthorityProfile,
    authority: &Authority,
) -> Result<(), Error> {
    let only = knarr_x509::pem::encode(knarr_x509::pem::CERTIFICATE, authority.der());
    let path = profile.certificate(dir);
    files::write(
        &path,
        only.as_bytes(),
        files::PUBLIC,
        files::Durability::Synced,
    )?;
    let cross = profile.cross(dir);
    match std::fs::remove_file(&cross) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::Io {
            action: "remove",
            path: cross,
            source,
        }),
        _ => files::sync_dir(dir),
    }
}

fn params(common_name: &str, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
    ];
    params.not_before = offset!(now - CLOCK_SKEW);
    params.not_after = offset!(now + CA_LIFE);
    params.serial_number = Some(serial());
    params
}

fn public_key_of(der: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
    Some(parsed.public_key().subject_public_key.data.to_vec())
}
