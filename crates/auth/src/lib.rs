//! Who asks, what is asked, and whether they may.
//!
//! ```text
//! connection, headers -> authn: a user        (x509, bearer tokens, impersonation)
//! method, path, query -> route: one request   (what is authorized is what is served)
//! both                -> authz: yes or no     (masters, Node, RBAC)
//! ```
//!
//! Below everything that serves: it reads the cluster through [`objects::Objects`] and writes nothing. [`pki`] and [`tokens`] make what
//! users prove themselves with; [`policy`] is upstream's table of roles. A kubelet uses [`x509`], [`bearer`] and
//! [`headers`] only, and asks the API server for the rest.
//!
//! [`unverified`] is the other direction: TLS to a server that nobody can vouch for.

use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc};

mod accounts;
pub mod authn;
pub mod authz;
pub mod bearer;
pub mod bootstrap_token;
pub mod cluster_info;
pub mod escape;
pub mod front_proxy;
pub mod headers;
pub mod node_accounts;
pub mod objects;
pub mod pki;
pub mod policy;
pub mod query;
pub mod request;
pub mod route;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tokens;
pub mod unverified;
pub mod x509;

/// The version that servers and nodes tell: upstream's whose API this is.
pub const VERSION: &str = "v1.37.2+knarr";

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
