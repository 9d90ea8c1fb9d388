//! Tokens whose signature was verified, by hash of the token.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;
use ring::digest;

use super::{
    SecretUse,
    claims::{Alive, Claims, LEEWAY_SECONDS, Reference, Rejected},
    of_secret,
};
use crate::objects::Objects;

/// Entries; a token is some hundred bytes of claims. More live tokens than this only cost their verification again.
const MAX_ENTRIES: usize = 16_384;
const DAY_SECONDS: i64 = 24 * 3600;

/// A verified token, with the revisions of the objects it is bound to as they were last found good (0: not yet).
pub(super) struct Entry {
    pub claims: Claims,
    account: AtomicU64,
    bound: [AtomicU64; 3],
    /// The day (of UTC, since 1970) at which its Secret was seen to say that it is used.
    noted: AtomicI64,
}

#[derive(Default)]
pub(super) struct Cache {
    entries: RwLock<HashMap<[u8; 32], Arc<Entry>>>,
}

impl Cache {
    /// The claims of the token, from memory or from `verify`.
    pub(super) fn get_or_verify(
        &self,
        token: &str,
        now: i64,
        verify: impl FnOnce() -> Result<Claims, Rejected>,
    ) -> Result<Arc<Entry>, Rejected> {
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        if let Some(entry) = self.entries.read().get(&key) {
            return Ok(entry.clone());
        }
        let entry = Arc::new(Entry {
            claims: verify()?,
            account: AtomicU64::default(),
            bound: Default::default(),
            noted: AtomicI64::new(i64::MIN),
        });
        let mut entries = self.entries.write();
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| now <= entry.claims.exp.saturating_add(LEEWAY_SECONDS));
            // All alive: any will do, since hashes are as good as random.
            if entries.len() >= MAX_ENTRIES
                && let Some(&victim) = entries.keys().next()
            {
                entries.remove(&victim);
            }
        }
        entries.insert(key, entry.clone());
        Ok(entry)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.read().len()
    }
}

impl Entry {
    /// Checks that the account and the bound object are still the ones the token was made for.
    pub(super) fn check_bound(
        &self,
        token: &str,
        objects: &dyn Objects,
        now: i64,
    ) -> Result<(), Rejected> {
        let bound = &self.claims.kubernetes;
        let account = &bound.serviceaccount;
        let shown = || format!("{}/{}", bound.namespace, account.name);
        match look(
            objects,
            "serviceaccounts",
            &bound.namespace,
            account,
            &self.account,
            now,
        ) {
            Found::Good => {}
            Found::Missing => return Err(Rejected::NoAccount(account.name.clone())),
            Found::Deleted => return Err(Rejected::AccountDeleted(shown())),
            Found::Other(is) => {
                return Err(Rejected::OtherUid {
                    what: "service account",
                    claim: "",
                    is,
                    claimed: account.uid.clone(),
                });
            }
        }
        if self.claims.iss == of_secret::ISSUER {
            return self.check_secret(token, objects);
        }
        // A pod's token names its node too, for information: only a token bound to the node alone goes with it.
        let node_only = bound.node.as_ref().filter(|_| bound.pod.is_none());
        let references = [
            (
                "secrets",
                "secret",
                "service account secret ref ",
                bound.namespace.as_str(),
                bound.secret.as_ref(),
            ),
            (
                "pods",
                "pod",
                "service account pod ref ",
                bound.namespace.as_str(),
                bound.pod.as_ref(),
            ),
            ("nodes", "node", "service account node ref ", "", node_only),
        ];
        for ((resource, what, claim, namespace, reference), seen) in
            references.into_iter().zip(&self.bound)
        {
            let Some(reference) = reference else { continue };
            match look(objects, resource, namespace, reference, seen, now) {
                Found::Good => {}
                Found::Missing | Found::Deleted => return Err(Rejected::Unbound),
                Found::Other(is) => {
                    return Err(Rejected::OtherUid {
                        what,
                        claim,
                        is,
                        claimed: reference.uid.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Tells that a Secret's token is used today, unless the Secret says so.
    pub(super) fn note_use(&self, objects: &dyn Objects, usage: &dyn SecretUse, now: i64) {
        let day = now.div_euclid(DAY_SECONDS);
        if self.claims.iss != of_secret::ISSUER || self.noted.load(Ordering::Relaxed) == day {
            return;
        }
        let bound = &self.claims.kubernetes;
        let name = bound.secret.as_ref().map_or("", |secret| &secret.name);
        let Some(secret) = objects.get("", "secrets", &bound.namespace, name) else {
            return;
        };
        match of_secret::says_used(&secret, now) {
            true => self.noted.store(day, Ordering::Relaxed),
            false => usage.used(&bound.namespace, name),
        }
    }

    /// A token that a Secret holds is good while it does.
    fn check_secret(&self, token: &str, objects: &dyn Objects) -> Result<(), Rejected> {
        let bound = &self.claims.kubernetes;
        let [seen, ..] = &self.bound;
        let name = bound.secret.as_ref().map_or("", |secret| &secret.name);
        let secret = objects.get("", "secrets", &bound.namespace, name);
        let secret = secret.ok_or(Rejected::Unbound)?;
        if seen.load(Ordering::Relaxed) != secret.revision {
            of_secret::check(&self.claims, &secret, token)?;
            seen.store(secret.revision, Ordering::Relaxed);
        }
        Ok(())
    }
}

enum Found {
    Good,
    Missing,
    Deleted,
    Other(String),
}

fn look(
    objects: &dyn Objects,
    resource: &str,
    namespace: &str,
    reference: &Reference,
    seen: &AtomicU64,
    now: i64,
) -> Found {
    let Some(object) = objects.get("", resource, namespace, &reference.name) else {
        return Found::Missing;
    };
    if seen.load(Ordering::Relaxed) == object.revision {
        return Found::Good;
    }
    match Alive::of(&object, now) {
        None => Found::Missing,
        Some(alive) if alive.deleted => Found::Deleted,
        Some(alive) if alive.uid != reference.uid => Found::Other(alive.uid),
        Some(alive) => {
            if !alive.leaving {
                seen.store(object.revision, Ordering::Relaxed);
            }
            Found::Good
        }
    }
}
