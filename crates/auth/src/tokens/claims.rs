//! What a token says, and when it stops being true.

use std::collections::BTreeMap;

use knarr_meta::{field, time};
use serde::{Deserialize, Serialize};

use super::legacy;
use crate::{UserInfo, accounts, objects::Object, request::Remarks};

/// Clocks differ: a token is good this long before and after its times (seconds), and what was deleted no longer ago than this
/// still counts, as upstream has it.
pub(super) const LEEWAY_SECONDS: i64 = 60;

/// Why a token is refused. The texts are upstream's, seen in TokenReviews.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    #[error("invalid bearer token")]
    Invalid,
    #[error("token audiences {} is invalid for the target audiences {}", list(.of), list(.asked))]
    Audience { of: Vec<String>, asked: Vec<String> },
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotYet,
    #[error("serviceaccounts \"{0}\" not found")]
    NoAccount(String),
    #[error("service account {0} has been deleted")]
    AccountDeleted(String),
    #[error("{what} UID ({is}) does not match {claim}claim ({claimed})")]
    OtherUid {
        what: &'static str,
        claim: &'static str,
        is: String,
        claimed: String,
    },
    #[error("service account token has been invalidated")]
    Unbound,
    #[error("token does not match server's copy")]
    NotTheSecrets,
    #[error(
        "the token in secret {namespace}/{secret} for service account {namespace}/{account} has been marked invalid. Use tokens from the TokenRequest API or \
         manually created secret-based tokens, or remove the 'kubernetes.io/legacy-token-invalid-since' label from the secret to \
         temporarily allow use of this token"
    )]
    MarkedInvalid {
        namespace: String,
        secret: String,
        account: String,
    },
}

impl Rejected {
    /// What the audit log is told of it.
    pub(crate) fn tell(&self, remarks: &dyn Remarks) {
        if let Self::MarkedInvalid {
            namespace, secret, ..
        } = self
        {
            // In upstream's order.
            let value = format!("{secret}/{namespace}");
            remarks.annotation(legacy::INVALIDATED_ANNOTATION, value);
        }
    }

    /// What a TokenReview says: upstream's server asks about its own token first, which this is not, and tells each reason once.
    pub(super) fn reviewed(&self) -> String {
        match self {
            Self::Invalid => self.to_string(),
            other => format!("[{}, {other}]", Self::Invalid),
        }
    }
}

/// Strings as Go's `%q` has them.
fn list(strings: &[String]) -> String {
    let quoted: Vec<String> = strings.iter().map(|s| field::quote(s)).collect();
    format!("[{}]", quoted.join(" "))
}

/// A name with the uid that the object had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Reference {
    #[serde(default)]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
}

/// The private claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Kubernetes {
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// Everything in a token. Times are unix seconds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Kubernetes,
    #[serde(default)]
    pub nbf: i64,
    pub sub: String,
}

impl Claims {
    pub(super) fn check_time(&self, now: i64) -> Result<(), Rejected> {
        if now > self.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(Rejected::Expired);
        }
        if now < self.nbf.saturating_sub(LEEWAY_SECONDS) {
            return Err(Rejected::NotYet);
        }
        Ok(())
    }

    /// The user that upstream makes of these claims.
    pub(super) fn user(&self) -> UserInfo {
        let bound = &self.kubernetes;
        let mut extra = BTreeMap::new();
        let mut add = |key: &str, value: &str| {
            if !value.is_empty() {
                extra.insert(
                    format!("authentication.kubernetes.io/{key}"),
                    vec![value.to_owned()],
                );
            }
        };
        if !self.jti.is_empty() {
            add("credential-id", &format!("JTI={}", self.jti));
        }
        for (kind, reference) in [("pod", &bound.pod), ("node", &bound.node)] {
            if let Some(reference) = reference {
                add(&format!("{kind}-name"), &reference.name);
                add(&format!("{kind}-uid"), &reference.uid);
            }
        }
        UserInfo {
            extra,
            uid: bound.serviceaccount.uid.clone(),
            ..accounts::service_account(&bound.namespace, &bound.serviceaccount.name)
        }
    }
}

#[derive(Deserialize)]
struct Peek {
    metadata: PeekMeta,
}

#[derive(Deserialize)]
struct PeekMeta {
    #[serde(default)]
    uid: String,
    #[serde(default, rename = "deletionTimestamp")]
    deletion_timestamp: Option<String>,
}

/// The uid of an object, and whether it has been on its way out for longer than the leeway.
pub(super) struct Alive {
    pub uid: String,
    pub deleted: bool,
    /// Deleted within the leeway: the answer changes as time passes, so it may not be remembered.
    pub leaving: bool,
}

impl Alive {
    pub(super) fn of(object: &Object, now: i64) -> Option<Alive> {
        let peek: Peek = serde_json::from_slice(&object.json).ok()?;
        let at = peek
            .metadata
            .deletion_timestamp
            .as_deref()
            .map(|t| time::parse_unix_seconds(t).unwrap_or(i64::MIN));
        let deleted = at.is_some_and(|at| at < now.saturating_sub(LEEWAY_SECONDS));
        Some(Alive {
            uid: peek.metadata.uid,
            deleted,
            leaving: at.is_some() && !deleted,
        })
    }
}
