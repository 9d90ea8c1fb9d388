//! Who is at the other end of a connection.
//!
//! What every server here reads from a request in the same way: the [user](UserInfo) of a verified client certificate
//! ([`x509`]), the bearer token ([`bearer`]), headers that decide something ([`headers`]). Whether a token is good and what a user
//! may is each server's to decide: the API server has the keys and the rules, a kubelet asks it.
//!
//! [`unverified`] is the other direction: TLS to a server that nobody can vouch for.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

pub mod bearer;
pub mod headers;
pub mod unverified;
pub mod x509;

/// Group of everyone who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";

/// An authenticated user, as upstream's `user.Info`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserInfo {
    pub name: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: BTreeMap<String, Vec<String>>,
}

/// Who credentials name, and when they do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    pub user: Arc<UserInfo>,
    /// Unix seconds, both inclusive. `None`: ask at each request.
    pub valid: Option<RangeInclusive<i64>>,
}

impl Authenticated {
    /// True while nobody need ask again.
    #[must_use]
    pub fn holds(&self, now: i64) -> bool {
        self.valid
            .as_ref()
            .is_some_and(|valid| valid.contains(&now))
    }
}
