//! Who calls, and whether they may: as upstream's kubelet, by asking the API server.
//!
//! A caller is the user of its client certificate, else of its bearer token, which a TokenReview tells; nobody else gets in. What
//! it may is what a SubjectAccessReview says about a subresource of this node ([`attributes`]). Answers are remembered for
//! upstream's times, so that a scraper costs one review in minutes; what is asked of the API server has a deadline and a limit.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use knarr_auth::{AUTHENTICATED, Authenticated, UserInfo, bearer, x509::Certificates};

use super::{Body, text};
use reviews::Reviews;

mod attributes;
mod expiring;
mod reviews;

/// What a request shows as proof.
pub(super) struct Credentials<'r> {
    /// DER of the leaf of a client certificate that the handshake has verified.
    pub certificate: Option<&'r [u8]>,
    pub headers: &'r HeaderMap,
}

/// Lets requests in, or answers them.
pub(super) struct Gate {
    node: String,
    certificates: Certificates,
    reviews: Reviews,
}

impl Gate {
    /// `client` acts as the node, which may make reviews.
    pub(super) fn new(node: String, client: kube::Client) -> Self {
        Self {
            node,
            certificates: Certificates::default(),
            reviews: Reviews::new(client),
        }
    }

    /// Who calls, and may. `path` is the request's, in segments. The answer of one that is not let in is 401, 403, or 500 where nobody could say.
    pub(super) async fn admit(
        &self,
        method: &Method,
        path: &[&str],
        credentials: Credentials<'_>,
    ) -> Result<Arc<UserInfo>, Response<Body>> {
        let user = self.user(credentials).await;
        let user = user.ok_or_else(unauthorized)?;
        let verb = attributes::verb(method);
        let subresources = attributes::subresources(path);
        for subresource in subresources {
            let review = self.reviews.access(&user, verb, subresource, &self.node);
            match review.await {
                Ok(true) => return Ok(user),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(
                        error,
                        user = user.name,
                        verb,
                        subresource,
                        "cannot authorize"
                    );
                    let message = format!(
                        "Authorization error (user={}, verb={verb}, resource=nodes, subresource={subresource})",
                        user.name
                    );
                    return Err(text(StatusCode::INTERNAL_SERVER_ERROR, message));
                }
            }
        }
        let message = format!(
            "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
            user.name,
            subresources.join(" ")
        );
        Err(text(StatusCode::FORBIDDEN, message))
    }

    /// `None`: nobody, for whatever reason; upstream tells no reasons.
    async fn user(&self, credentials: Credentials<'_>) -> Option<Arc<UserInfo>> {
        let of_certificate = credentials
            .certificate
            .and_then(|der| self.certificates.user(der));
        if let Some(Authenticated { user, .. }) = of_certificate {
            return Some(user);
        }
        let token = bearer::token(credentials.headers).ok().flatten()?;
        let reviewed = self.reviews.token(&token).await;
        let mut user = reviewed
            // Whoever reaches the port decides how often.
            .inspect_err(|error| tracing::debug!(error, "cannot authenticate a token"))
            .ok()??;
        if !user.groups.iter().any(|group| group == AUTHENTICATED) {
            Arc::make_mut(&mut user)
                .groups
                .push(AUTHENTICATED.to_owned());
        }
        Some(user)
    }
}

fn unauthorized() -> Response<Body> {
    last(text(StatusCode::UNAUTHORIZED, "Unauthorized"))
}

/// The last answer of a connection: who is nobody, or has too many, must not keep one of its places by asking again.
pub(super) fn last(mut answer: Response<Body>) -> Response<Body> {
    let close = HeaderValue::from_static("close");
    answer.headers_mut().insert(header::CONNECTION, close);
    answer
}

#[cfg(test)]
mod tests;
