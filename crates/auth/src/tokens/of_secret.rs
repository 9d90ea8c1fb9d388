//! Tokens that are kept in Secrets of type `kubernetes.io/service-account-token`: without an end, good for the API server alone, and
//! for as long as their Secret holds them (upstream's `pkg/serviceaccount/legacy.go`).

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    KeyError,
    claims::{Claims, Kubernetes, Reference, Rejected},
    keys::TokenKey,
    legacy,
};
use crate::{
    accounts::service_account_user,
    objects::{Object, Objects},
    request::Remarks,
};

/// Who issues these tokens, in every cluster.
pub(super) const ISSUER: &str = "kubernetes/serviceaccount";

/// Everything in such a token.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct SecretClaims {
    iss: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
    sub: String,
}

impl SecretClaims {
    /// As claims of other tokens. `audiences` are the API server's: such a token names none.
    pub(super) fn into_claims(self, audiences: &[String]) -> Result<Claims, Rejected> {
        let parts = [&self.namespace, &self.secret, &self.account, &self.uid];
        let complete = parts.into_iter().all(|part| !part.is_empty());
        let subject = service_account_user(&self.namespace, &self.account);
        if self.iss != ISSUER || !complete || self.sub != subject {
            return Err(Rejected::Invalid);
        }
        Ok(Claims {
            aud: audiences.to_vec(),
            exp: i64::MAX,
            iat: 0,
            iss: self.iss,
            jti: String::new(),
            kubernetes: Kubernetes {
                namespace: self.namespace,
                // Which Secret of this name it is does not matter, as long as it holds the token.
                secret: Some(Reference {
                    name: self.secret,
                    uid: String::new(),
                }),
                serviceaccount: Reference {
                    name: self.account,
                    uid: self.uid,
                },
                ..Kubernetes::default()
            },
            nbf: 0,
            sub: self.sub,
        })
    }
}

/// Signs tokens for Secrets.
pub struct SecretTokens {
    key: TokenKey,
}

/// Which account and Secret a token is for.
#[derive(Clone, Copy, Debug)]
pub struct SecretToken<'a> {
    pub namespace: &'a str,
    pub account: &'a str,
    pub account_uid: &'a str,
    pub secret: &'a str,
}

impl SecretTokens {
    /// `pkcs8` is the key that the API server checks tokens with ([`super::Tokens::new`]).
    pub fn new(pkcs8: &[u8]) -> Result<Self, KeyError> {
        let key = TokenKey::from_pkcs8(pkcs8)?;
        Ok(Self { key })
    }

    /// The key is a file's, in PEM: RSA of 2048 to 4096 bits, P-256 or P-384.
    ///
    /// # Errors
    /// The file has none of these.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        let key = TokenKey::from_pem(text)?;
        Ok(Self { key })
    }

    /// The token; an error when the key cannot sign.
    pub fn sign(&self, of: &SecretToken<'_>) -> Result<String, KeyError> {
        let claims = SecretClaims {
            iss: ISSUER.to_owned(),
            namespace: of.namespace.to_owned(),
            secret: of.secret.to_owned(),
            account: of.account.to_owned(),
            uid: of.account_uid.to_owned(),
            sub: service_account_user(of.namespace, of.account),
        };
        self.key.sign(&claims)
    }
}

impl std::fmt::Debug for SecretTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretTokens")
    }
}

#[derive(Deserialize)]
struct Secret {
    metadata: Metadata,
    #[serde(default)]
    data: Data,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default, rename = "deletionTimestamp")]
    deletion_timestamp: Option<String>,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    token: String,
}

/// The Secret that holds a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    name: String,
    /// The account names it: it was made with the account, by a release before 1.24, and not because somebody wanted it.
    made_with_account: bool,
}

impl Holder {
    /// That of a token with these claims; nothing for tokens that no Secret holds.
    pub(super) fn of(claims: &Claims, objects: &dyn Objects) -> Option<Holder> {
        #[derive(Deserialize)]
        struct Account {
            #[serde(default)]
            secrets: Vec<Reference>,
        }
        if claims.iss != ISSUER {
            return None;
        }
        let bound = &claims.kubernetes;
        let name = bound.secret.as_ref()?.name.clone();
        let account = &bound.serviceaccount.name;
        let account = objects.get("", "serviceaccounts", &bound.namespace, account)?;
        let account: Option<Account> = serde_json::from_slice(&account.json).ok();
        let named = account.map_or_else(Vec::new, |account| account.secrets);
        let made_with_account = named.iter().any(|secret| secret.name == name);
        Some(Holder {
            name,
            made_with_account,
        })
    }

    /// Tells that the token was used.
    pub(crate) fn tell(self, remarks: &dyn Remarks) {
        if self.made_with_account {
            remarks.warning(legacy::WARNING);
            remarks.annotation(legacy::AUTO_GENERATED_ANNOTATION, self.name);
        } else {
            remarks.annotation(legacy::MANUAL_ANNOTATION, self.name);
        }
    }
}

/// Whether the Secret's label says that its token is used today.
pub(super) fn says_used(secret: &Object, now: i64) -> bool {
    let found: Option<Secret> = serde_json::from_slice(&secret.json).ok();
    let labels = found.and_then(|secret| secret.metadata.labels);
    let said = labels
        .as_ref()
        .and_then(|labels| labels.get(legacy::LAST_USED));
    let now = jiff::Timestamp::from_second(now).unwrap_or_default();
    said.is_some_and(|day| legacy::is_current(day, now))
}

/// Checks that the Secret still holds the token. That the token is authentic is known by now, so that how long the comparison takes
/// tells nothing.
pub(super) fn check(claims: &Claims, secret: &Object, token: &str) -> Result<(), Rejected> {
    let found: Secret = serde_json::from_slice(&secret.json).map_err(|_| Rejected::Unbound)?;
    if found.metadata.deletion_timestamp.is_some() {
        return Err(Rejected::Unbound);
    }
    let held = BASE64_STANDARD.decode(&found.data.token);
    if held.ok().as_deref() != Some(token.as_bytes()) {
        return Err(Rejected::NotTheSecrets);
    }
    let labels = found.metadata.labels.unwrap_or_default();
    if labels
        .get(legacy::INVALID_SINCE)
        .is_some_and(|since| !since.is_empty())
    {
        let bound = &claims.kubernetes;
        let name = bound.secret.as_ref().map(|secret| secret.name.clone());
        return Err(Rejected::MarkedInvalid {
            namespace: bound.namespace.clone(),
            secret: name.unwrap_or_default(),
            account: bound.serviceaccount.name.clone(),
        });
    }
    Ok(())
}
