//! Plugs tokens and reviews into the server: the handlers of kinds that are never stored, and the discovery pages.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use knarr_meta::status::Status;
use serde_json::Value;

use crate::{
    authz::{Authz, review::AccessReviews},
    request::{CreateHandler, CreateHandlers, Creation, Page, Pages},
    tokens::{self, Tokens},
};

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

#[derive(Clone, Copy)]
enum Kind {
    TokenRequest,
    TokenReview,
    SelfSubjectReview,
    SubjectAccessReview,
    LocalSubjectAccessReview,
    SelfSubjectAccessReview,
    SelfSubjectRulesReview,
}

struct Handler {
    kind: Kind,
    tokens: Arc<Tokens>,
    access: Arc<AccessReviews>,
}

#[async_trait]
impl CreateHandler for Handler {
    async fn create(&self, creation: Creation<'_>, object: Value) -> Result<Value, Status> {
        let Creation {
            user,
            namespace,
            name,
            ..
        } = creation;
        match self.kind {
            Kind::TokenRequest => self.tokens.request(namespace, name, object),
            Kind::TokenReview => self.tokens.review(object),
            Kind::SelfSubjectReview => Ok(tokens::self_subject_review(user, object)),
            Kind::SubjectAccessReview => self.access.subject(object),
            Kind::LocalSubjectAccessReview => self.access.local(namespace, object),
            Kind::SelfSubjectAccessReview => self.access.own(user, object),
            Kind::SelfSubjectRulesReview => self.access.rules(user, object),
        }
    }
}

/// The handlers of `serviceaccounts/token` and of every review.
pub fn create_handlers(tokens: &Arc<Tokens>, authz: &Arc<Authz>) -> CreateHandlers {
    let access = Arc::new(AccessReviews::new(authz.clone()));
    let handlers = [
        ("", "serviceaccounts/token", Kind::TokenRequest),
        (AUTHENTICATION, "tokenreviews", Kind::TokenReview),
        (
            AUTHENTICATION,
            "selfsubjectreviews",
            Kind::SelfSubjectReview,
        ),
        (
            AUTHORIZATION,
            "subjectaccessreviews",
            Kind::SubjectAccessReview,
        ),
        (
            AUTHORIZATION,
            "localsubjectaccessreviews",
            Kind::LocalSubjectAccessReview,
        ),
        (
            AUTHORIZATION,
            "selfsubjectaccessreviews",
            Kind::SelfSubjectAccessReview,
        ),
        (
            AUTHORIZATION,
            "selfsubjectrulesreviews",
            Kind::SelfSubjectRulesReview,
        ),
    ];
    let handler = |kind| {
        Arc::new(Handler {
            kind,
            tokens: tokens.clone(),
            access: access.clone(),
        }) as Arc<dyn CreateHandler>
    };
    handlers
        .into_iter()
        .map(|(group, resource, kind)| ((group, resource), handler(kind)))
        .collect()
}

/// OIDC discovery and the key set. Both need authorization (`system:service-account-issuer-discovery`).
pub fn pages(tokens: &Arc<Tokens>) -> Pages {
    let page = |content_type: &'static str, body: String| -> Page {
        let body = Bytes::from(body);
        Arc::new(move || (content_type, body.clone()))
    };
    Pages::from([
        (
            tokens::DISCOVERY_PATH,
            page("application/json", tokens.discovery()),
        ),
        (
            tokens::JWKS_PATH,
            page("application/jwk-set+json", tokens.jwks()),
        ),
    ])
}
