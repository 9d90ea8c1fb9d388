//! Service-account tokens: issuing, checking, reviewing, and the documents by which others check them.
//!
//! A token is a JWT in upstream's shape, signed with ES256 (or ES384 or RS256, where the key is another one's): bound to its account's
//! uid and, where asked, to a pod, a node or a secret. Its signature is verified once and remembered by hash; that its account and bound
//! object still exist is looked up in the watch cache at every use, which costs a map lookup as long as they did not change.
//!
//! Tokens that other keys have signed, or that say another issuer, hold where that was configured.
//!
//! Rejected: the general JWT libraries. One algorithm a key, keys that name theirs, and no negotiation is the whole need, `ring` is linked
//! anyway, and the RSA code they bring has an open timing advisory.

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::sync::{Arc, OnceLock};

use knarr_meta::status::Status;
use serde::Deserialize;
use serde_json::json;

use crate::{UserInfo, objects::Objects};

mod cache;
mod claims;
mod jwt;
mod keys;
pub mod legacy;
mod of_secret;
mod request;
mod review;
#[cfg(test)]
mod tests;

pub use claims::Rejected;
pub use keys::VerificationKey;
pub use of_secret::{Holder, SecretToken, SecretTokens};
pub use review::{presented, self_subject_review};

/// Where discovery is served.
pub const DISCOVERY_PATH: &str = "/.well-known/openid-configuration";
/// Where the key set is served.
pub const JWKS_PATH: &str = "/openid/v1/jwks";

/// What tokens say and how long they live.
#[derive(Clone, Debug)]
pub struct Config {
    /// `https://kubernetes.default.svc.cluster.local`
    pub issuer: String,
    /// Who has issued tokens that hold, too.
    pub other_issuers: Vec<String>,
    /// What such tokens may be signed with beside the own key.
    pub other_keys: Vec<VerificationKey>,
    /// Audiences by which the API server itself is meant; the first stands in tokens that ask for none.
    pub audiences: Vec<String>,
    /// URL of the key set as discovery tells it: `https://<advertised address>/openid/v1/jwks`.
    pub jwks_uri: String,
    /// Longest life a request gets, in seconds; 0: as long as it asks for.
    pub max_expiration_seconds: i64,
}

impl Config {
    /// The usual configuration of a cluster domain; `advertised` is `host:port`.
    pub fn of_domain(domain: &str, advertised: &str) -> Config {
        let issuer = format!("https://kubernetes.default.svc.{domain}");
        Config {
            audiences: vec![issuer.clone()],
            issuer,
            other_issuers: Vec::new(),
            other_keys: Vec::new(),
            jwks_uri: format!("https://{advertised}{JWKS_PATH}"),
            max_expiration_seconds: 0,
        }
    }

    /// With issuers in place of the domain's, the first of which stands in new tokens; all are audiences of the API server.
    #[must_use]
    pub fn with_issuers(mut self, issuers: &[String]) -> Config {
        if let [first, others @ ..] = issuers {
            self.issuer.clone_from(first);
            self.other_issuers = others.to_vec();
            self.audiences = issuers.to_vec();
        }
        self
    }

    /// With keys whose tokens hold, too.
    #[must_use]
    pub fn with_keys(mut self, keys: Vec<VerificationKey>) -> Config {
        self.other_keys = keys;
        self
    }

    fn issues(&self, issuer: &str) -> bool {
        self.issuer == issuer || self.other_issuers.iter().any(|other| other == issuer)
    }
}

/// The key cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the service-account signing key is not usable: {0}")]
pub struct KeyError(String);

/// Issues and checks service-account tokens.
pub struct Tokens {
    config: Config,
    key: keys::TokenKey,
    objects: Arc<dyn Objects>,
    verified: cache::Cache,
    usage: OnceLock<Arc<dyn SecretUse>>,
}

/// Is told which tokens of Secrets are used, each at its first use of a day and until the Secret says so.
pub trait SecretUse: Send + Sync {
    /// The token of this Secret was used, or could have been if it were not marked as invalid. Called within requests: not to block.
    fn used(&self, namespace: &str, name: &str);
}

/// What a token with a good signature says.
#[derive(Deserialize)]
#[serde(untagged)]
enum Verified {
    Bound(Box<claims::Claims>),
    OfSecret(of_secret::SecretClaims),
}

/// A token that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    pub user: UserInfo,
    /// The asked audiences that the token is meant for.
    pub audiences: Vec<String>,
    /// The Secret that holds it, where one does.
    pub holder: Option<Holder>,
}

impl Tokens {
    /// `pkcs8` is the DER of a P-256 key ([`crate::pki::Pki::service_account_key`]).
    pub fn new(
        pkcs8: &[u8],
        config: Config,
        objects: Arc<dyn Objects>,
    ) -> Result<Tokens, KeyError> {
        let key = keys::TokenKey::from_pkcs8(pkcs8)?;
        Ok(Tokens {
            config,
            key,
            objects,
            verified: cache::Cache::default(),
            usage: OnceLock::new(),
        })
    }

    /// Tells uses of tokens of Secrets, from the first call on.
    pub fn tell(&self, usage: Arc<dyn SecretUse>) {
        // There is one who keeps account of them.
        let _ = self.usage.set(usage);
    }

    /// Who issues the cluster's own tokens, the first those of today.
    pub fn issuers(&self) -> Vec<String> {
        let own = [self.config.issuer.clone(), of_secret::ISSUER.to_owned()];
        let others = self.config.other_issuers.iter().cloned();
        own.into_iter().chain(others).collect()
    }

    /// Audiences of the API server.
    pub fn audiences(&self) -> &[String] {
        &self.config.audiences
    }

    /// Who the token is, if it is meant for one of `audiences` and everything it is bound to still exists.
    pub fn authenticate(
        &self,
        token: &str,
        audiences: &[String],
    ) -> Result<Authenticated, Rejected> {
        self.authenticate_at(token, audiences, jiff::Timestamp::now().as_second())
    }

    fn authenticate_at(
        &self,
        token: &str,
        audiences: &[String],
        now: i64,
    ) -> Result<Authenticated, Rejected> {
        let entry = self.verified.get_or_verify(token, now, || {
            match self.verify(token).ok_or(Rejected::Invalid)? {
                Verified::Bound(claims) if self.config.issues(&claims.iss) => Ok(*claims),
                Verified::Bound(_) => Err(Rejected::Invalid),
                Verified::OfSecret(claims) => claims.into_claims(self.audiences()),
            }
        })?;
        let claims = &entry.claims;
        let common: Vec<String> = audiences
            .iter()
            .filter(|a| claims.aud.contains(a))
            .cloned()
            .collect();
        if common.is_empty() {
            return Err(Rejected::Audience {
                of: claims.aud.clone(),
                asked: audiences.to_vec(),
            });
        }
        claims.check_time(now)?;
        let bound = entry.check_bound(token, &*self.objects, now);
        if matches!(bound, Ok(()) | Err(Rejected::MarkedInvalid { .. }))
            && let Some(usage) = self.usage.get()
        {
            entry.note_use(&*self.objects, &**usage, now);
        }
        bound?;
        Ok(Authenticated {
            user: claims.user(),
            audiences: common,
            holder: Holder::of(claims, &*self.objects),
        })
    }

    /// What a token says that one of the keys has signed.
    fn verify(&self, token: &str) -> Option<Verified> {
        self.keys().find_map(|key| key.verify(token).ok())
    }

    /// The keys whose tokens hold, the own one first.
    fn keys(&self) -> impl Iterator<Item = &VerificationKey> {
        std::iter::once(self.key.public()).chain(&self.config.other_keys)
    }

    /// Body of `/.well-known/openid-configuration` (`application/json`).
    pub fn discovery(&self) -> String {
        json!({
            "issuer": self.config.issuer,
            "jwks_uri": self.config.jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": self.algorithms(),
        })
        .to_string()
    }

    /// Body of `/openid/v1/jwks` (`application/jwk-set+json`).
    pub fn jwks(&self) -> String {
        let own = self.key.public();
        // The own key may be in a file, too.
        let others = self.config.other_keys.iter();
        let others = others.filter(|key| key.id() != own.id());
        let keys: Vec<&serde_json::Value> = std::iter::once(own)
            .chain(others)
            .map(VerificationKey::jwk)
            .collect();
        json!({"keys": keys}).to_string()
    }

    fn algorithms(&self) -> Vec<&'static str> {
        let mut all: Vec<&str> = self.keys().map(VerificationKey::algorithm).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

impl From<Rejected> for Status {
    /// Clients learn nothing of the reason, as upstream's do not.
    fn from(rejected: Rejected) -> Status {
        tracing::debug!(%rejected, "token refused");
        crate::bearer::unauthorized()
    }
}
