//! Authentication: who is asking?
//!
//! A verified client certificate, else a bootstrap or service-account token, else one that others know, else nobody. Nobody (`system:anonymous`) is let through to
//! the health endpoints and to what a joining machine has to know before it trusts anybody; anything else without credentials is 401. Impersonation comes after authentication and before
//! authorization.

use std::sync::Arc;

use async_trait::async_trait;
use knarr_meta::status::Status;

use crate::{
    AUTHENTICATED, Authenticated, UserInfo,
    authz::MASTERS,
    bearer::unauthorized,
    bootstrap_token,
    objects::Objects,
    request::{Authenticator, Credentials, Remarks, TokenAuthenticator},
    tokens::Tokens,
    x509,
};

pub mod impersonation;
#[cfg(test)]
mod tests;

pub use crate::{accounts::service_account, request::anonymous_allowed};

/// Group of nobody.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of nobody.
pub const ANONYMOUS: &str = "system:anonymous";

/// x509 certificates, then tokens: those of machines that are to join, those of service accounts, and those that others know.
pub struct Authn {
    tokens: Arc<Tokens>,
    objects: Arc<dyn Objects>,
    certificates: x509::Certificates,
    others: Option<Arc<dyn TokenAuthenticator>>,
}

impl Authn {
    /// Certificates need no configuration: TLS has verified their chain. Bootstrap tokens are Secrets among `objects`.
    pub fn new(tokens: Arc<Tokens>, objects: Arc<dyn Objects>) -> Authn {
        Authn {
            tokens,
            objects,
            certificates: x509::Certificates::default(),
            others: None,
        }
    }

    /// With others who know tokens.
    #[must_use]
    pub fn with(self, others: Option<Arc<dyn TokenAuthenticator>>) -> Authn {
        Authn { others, ..self }
    }

    /// Whose a token is that is no machine's.
    async fn bearer(&self, token: &str, remarks: &dyn Remarks) -> Result<UserInfo, Status> {
        let rejected = match self.tokens.authenticate(token, self.tokens.audiences()) {
            Ok(found) => {
                if let Some(holder) = found.holder {
                    holder.tell(remarks);
                }
                return Ok(found.user);
            }
            Err(rejected) => rejected,
        };
        rejected.tell(remarks);
        let others = self.others.as_ref();
        let others = others.filter(|_| !token.is_empty()).ok_or(rejected)?;
        let mut user = others.user(token).await.ok_or_else(unauthorized)?;
        add_authenticated(&mut user);
        Ok(user)
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
            let now = jiff::Timestamp::now();
            if let Some(found) = bootstrap_token::authenticate(token, &*self.objects, now) {
                return Ok(Some(Authenticated {
                    user: Arc::new(found?),
                    valid: None,
                }));
            }
            return Ok(Some(Authenticated {
                user: Arc::new(self.bearer(token, credentials.remarks).await?),
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

    fn anonymous_allowed(&self, path: &str) -> bool {
        let said = self
            .others
            .as_ref()
            .and_then(|others| others.anonymous(path));
        said.unwrap_or_else(|| anonymous_allowed(path))
    }
}

/// Makes a user a member of all who proved who they are.
pub fn add_authenticated(user: &mut UserInfo) {
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
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

/// Whether it is nobody.
pub fn is_anonymous(user: &UserInfo) -> bool {
    user.name == ANONYMOUS
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
