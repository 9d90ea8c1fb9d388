//! Authentication: who is asking?
//!
//! A verified client certificate, else a service-account token, else nobody. Nobody (`system:anonymous`) is let through to
//! the health endpoints only; anything else without credentials is 401. Impersonation comes after authentication and before
//! authorization.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_meta::status::Status;

use crate::{
    AUTHENTICATED, Authenticated, UserInfo,
    authz::{MASTERS, rbac::service_account_user},
    bearer::unauthorized,
    request::{Authenticator, Credentials},
    tokens::Tokens,
    x509,
};

pub mod impersonation;
#[cfg(test)]
mod tests;

/// Group of nobody.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of nobody.
pub const ANONYMOUS: &str = "system:anonymous";
/// The only paths that answer nobody.
const ANONYMOUS_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// x509 certificates, then tokens.
pub struct Authn {
    tokens: Arc<Tokens>,
    certificates: x509::Certificates,
}

impl Authn {
    /// Certificates need no configuration: TLS has verified their chain.
    pub fn new(tokens: Arc<Tokens>) -> Authn {
        Authn {
            tokens,
            certificates: x509::Certificates::default(),
        }
    }
}

#[async_trait]
impl Authenticator for Authn {
    async fn authenticate(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Option<Authenticated>, Status> {
        let mut refused = false;
        if let Some(der) = credentials.client_certificate {
            match self.certificates.user(der) {
                Some(found) => return Ok(Some(found)),
                None => refused = true,
            }
        }
        if let Some(token) = credentials.bearer {
            let found = self.tokens.authenticate(token, self.tokens.audiences())?;
            return Ok(Some(Authenticated {
                user: Arc::new(found.user),
                // What a token is bound to may be gone at the next request.
                valid: None,
            }));
        }
        if refused {
            Err(unauthorized())
        } else {
            Ok(None)
        }
    }
}

/// Nobody, as a user.
pub fn anonymous() -> UserInfo {
    UserInfo {
        name: ANONYMOUS.into(),
        groups: vec![UNAUTHENTICATED.into()],
        ..UserInfo::default()
    }
}

/// True for the paths where a request without credentials goes on as [`anonymous`] instead of 401.
pub fn anonymous_allowed(path: &str) -> bool {
    ANONYMOUS_PATHS.contains(&path)
}

/// A service account as a user, without uid.
pub fn service_account(namespace: &str, name: &str) -> UserInfo {
    UserInfo {
        name: service_account_user(namespace, name),
        groups: vec![
            "system:serviceaccounts".into(),
            format!("system:serviceaccounts:{namespace}"),
            AUTHENTICATED.into(),
        ],
        ..UserInfo::default()
    }
}

/// The name of the server itself.
pub const SERVER: &str = "system:apiserver";

/// The server itself: what its own writes run as.
pub fn server() -> UserInfo {
    UserInfo {
        name: SERVER.into(),
        groups: vec![MASTERS.into(), AUTHENTICATED.into()],
        ..UserInfo::default()
    }
}
