//! The table of what answers a POST without storing anything, and of the pages outside the API that security serves.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use knarr_api::Kind;
use knarr_auth::{
    UserInfo, authn,
    authz::{Authz, review::AccessReviews},
    request::TokenAuthenticator,
    tokens::{self, Tokens},
};
use knarr_meta::{object::str_at, status::Status};
use serde_json::Value;

/// Who creates a virtual object, and where.
pub struct Creation<'a> {
    pub kind: &'a Kind,
    pub user: &'a UserInfo,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Name of the parent for subresources (`serviceaccounts/NAME/token`), else empty.
    pub name: &'a str,
    pub dry_run: bool,
}

/// Answers POST where nothing is stored: the review kinds and `serviceaccounts/token`. The object came through decoding (its
/// apiVersion and kind are checked) and admission; the answer is written as it is with code 201.
#[async_trait]
pub trait CreateHandler: Send + Sync {
    async fn create(&self, creation: Creation<'_>, object: Value) -> Result<Value, Status>;
}

/// (group, resource) or (group, "resource/subresource") to its handler.
pub type CreateHandlers = HashMap<(&'static str, &'static str), Arc<dyn CreateHandler>>;

/// A page outside the API: `/.well-known/openid-configuration`, `/openid/v1/jwks`. Content type and body.
pub type Page = Arc<dyn Fn() -> (&'static str, Bytes) + Send + Sync>;

/// Path to page.
pub type Pages = HashMap<&'static str, Page>;

type Answer = fn(&Reviews, &Creation<'_>, Value) -> Result<Value, Status>;

/// What the handlers ask.
struct Reviews {
    tokens: Arc<Tokens>,
    access: AccessReviews,
}

/// One entry of the table.
struct Handler {
    reviews: Arc<Reviews>,
    answer: Answer,
}

#[async_trait]
impl CreateHandler for Handler {
    async fn create(&self, creation: Creation<'_>, object: Value) -> Result<Value, Status> {
        (self.answer)(&self.reviews, &creation, object)
    }
}

/// What is reviewed is a token and no request: it goes on as nobody's only where every path does.
const NO_PATH: &str = "";

/// Reviews of tokens, those of others too.
struct TokenReviews {
    tokens: Arc<Tokens>,
    others: Option<Arc<dyn TokenAuthenticator>>,
}

#[async_trait]
impl CreateHandler for TokenReviews {
    async fn create(&self, _: Creation<'_>, object: Value) -> Result<Value, Status> {
        let reviewed = self.tokens.review(object)?;
        let known = reviewed["status"]["authenticated"] == Value::Bool(true);
        let Some(others) = self.others.as_ref().filter(|_| !known) else {
            return Ok(reviewed);
        };
        let given = str_at(&reviewed, &["spec", "token"]);
        let Some(token) = tokens::presented(given, str::to_owned) else {
            return Ok(match others.anonymous(NO_PATH) {
                Some(true) => self.tokens.review_of_nobody(reviewed, &authn::anonymous()),
                Some(false) | None => reviewed,
            });
        };
        match others.user(&token).await {
            Some(mut user) => {
                authn::add_authenticated(&mut user);
                Ok(self.tokens.review_of_other(reviewed, &user))
            }
            None => Ok(reviewed),
        }
    }
}

const AUTHENTICATION: &str = "authentication.k8s.io";
const AUTHORIZATION: &str = "authorization.k8s.io";

const TABLE: [(&str, &str, Answer); 6] = [
    (AUTHENTICATION, "selfsubjectreviews", |_, c, body| {
        Ok(tokens::self_subject_review(c.user, &body))
    }),
    (AUTHORIZATION, "subjectaccessreviews", |r, _, body| {
        r.access.subject(body)
    }),
    (AUTHORIZATION, "localsubjectaccessreviews", |r, c, body| {
        r.access.local(c.namespace, body)
    }),
    (AUTHORIZATION, "selfsubjectaccessreviews", |r, c, body| {
        r.access.own(c.user, body)
    }),
    (AUTHORIZATION, "selfsubjectrulesreviews", |r, c, body| {
        r.access.rules(c.user, body)
    }),
    ("", "serviceaccounts/token", |r, c, body| {
        r.tokens.request(c.namespace, c.name, body)
    }),
];

/// Handlers by group and resource. `others` know tokens that are not the cluster's own.
pub fn table(
    tokens: Arc<Tokens>,
    authz: Arc<Authz>,
    others: Option<Arc<dyn TokenAuthenticator>>,
) -> CreateHandlers {
    let token_reviews: Arc<dyn CreateHandler> = Arc::new(TokenReviews {
        tokens: tokens.clone(),
        others,
    });
    let reviews = Arc::new(Reviews {
        tokens,
        access: AccessReviews::new(authz),
    });
    let handlers = TABLE.into_iter().map(|(group, resource, answer)| {
        let handler: Arc<dyn CreateHandler> = Arc::new(Handler {
            reviews: reviews.clone(),
            answer,
        });
        ((group, resource), handler)
    });
    let token_reviews = ((AUTHENTICATION, "tokenreviews"), token_reviews);
    handlers.chain([token_reviews]).collect()
}

/// OIDC discovery of the service-account issuer.
pub fn pages(tokens: &Arc<Tokens>) -> Pages {
    let (discovery, keys) = (tokens.clone(), tokens.clone());
    let discovery: Page =
        Arc::new(move || ("application/json", Bytes::from(discovery.discovery())));
    let keys: Page = Arc::new(move || ("application/jwk-set+json", Bytes::from(keys.jwks())));
    Pages::from([
        (tokens::DISCOVERY_PATH, discovery),
        (tokens::JWKS_PATH, keys),
    ])
}
