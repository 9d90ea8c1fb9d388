//! Users from client certificates: CN is the name, each O a group.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
    sync::Arc,
};

use parking_lot::RwLock;
use ring::digest;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use crate::{AUTHENTICATED, Authenticated, UserInfo};

/// Where users tell which credential they came with (KEP 4193).
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
/// Certificates that are remembered parsed; a kubelet or a person has one each.
const MAX_ENTRIES: usize = 16_384;

/// Parses certificates once.
#[derive(Default)]
pub struct Certificates {
    entries: RwLock<HashMap<[u8; 32], Authenticated>>,
}

impl Certificates {
    /// `None` where the certificate names nobody or is outside its life (a connection may outlive its certificate).
    pub fn user(&self, der: &[u8]) -> Option<Authenticated> {
        self.user_at(der, jiff::Timestamp::now().as_second())
    }

    /// [`Self::user`] at a time, in Unix seconds.
    pub fn user_at(&self, der: &[u8], now: i64) -> Option<Authenticated> {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        let known = self.entries.read().get(&key).cloned();
        let entry = match known {
            Some(entry) => entry,
            None => {
                let entry = parse(der, &key)?;
                let mut entries = self.entries.write();
                if entries.len() >= MAX_ENTRIES {
                    entries.clear();
                }
                entries.insert(key, entry.clone());
                entry
            }
        };
        entry.holds(now).then_some(entry)
    }
}

/// `digest` is the certificate's own.
fn parse(der: &[u8], digest: &[u8; 32]) -> Option<Authenticated> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    // As upstream's verifier demands of a client.
    let usage = certificate.extended_key_usage().ok().flatten();
    if !usage.is_some_and(|usage| usage.value.client_auth || usage.value.any) {
        return None;
    }
    let subject = certificate.subject();
    let name = subject.iter_common_name().last()?.as_str().ok()?.to_owned();
    if name.is_empty() {
        return None;
    }
    let mut groups: Vec<String> = subject
        .iter_organization()
        .filter_map(|o| o.as_str().ok())
        .map(String::from)
        .collect();
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    let validity = certificate.validity();
    Some(Authenticated {
        user: Arc::new(UserInfo {
            name,
            groups,
            extra: BTreeMap::from([(CREDENTIAL_ID.to_owned(), vec![credential_id(digest)])]),
            ..UserInfo::default()
        }),
        valid: Some(validity.not_before.timestamp()..=validity.not_after.timestamp()),
    })
}

fn credential_id(digest: &[u8; 32]) -> String {
    let mut id = String::from("X509SHA256=");
    for byte in digest {
        // Writing to a String does not fail.
        let _ = write!(id, "{byte:02x}");
    }
    id
}
