//! What the API server says about a caller: TokenReview and SubjectAccessReview, remembered.

use std::{fmt::Debug, num::NonZeroUsize, sync::Arc};

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use knarr_auth::UserInfo;
use kube::{Api, Resource, api::PostParams};
use ring::{hmac, rand::SystemRandom};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::Semaphore,
    time::{Duration, timeout},
};

use super::expiring::{Expiring, Key};

/// Upstream's `authentication.webhook.cacheTTL`.
const TOKEN_TTL: Duration = Duration::from_secs(120);
/// Upstream's `authorization.webhook.cacheAuthorizedTTL`.
const ALLOWED_TTL: Duration = Duration::from_secs(300);
/// Upstream's `authorization.webhook.cacheUnauthorizedTTL`.
const REFUSED_TTL: Duration = Duration::from_secs(30);
/// Answers of each kind that are remembered: those of upstream's authorizer.
const ENTRIES: NonZeroUsize = NonZeroUsize::new(8_192).unwrap();
/// Longest that a request waits for one review, retries included.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(30);
/// Reviews in flight: who floods a node's port with tokens shall not flood the API server.
const REVIEWS: usize = 32;
/// Tries, the pause before the second, and how pauses grow and differ: upstream's.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_FACTOR: f64 = 1.5;
const PAUSE_JITTER: f64 = 0.2;

/// Asks, and remembers what it was told.
pub(super) struct Reviews {
    client: kube::Client,
    /// Made at start: keys of the caches can be computed by nobody else.
    secret: hmac::Key,
    tokens: Expiring<Option<Arc<UserInfo>>>,
    access: Expiring<bool>,
    places: Semaphore,
}

impl Reviews {
    pub(super) fn new(client: kube::Client) -> Self {
        let mut secret = [0; 32];
        // Without randomness no TLS is possible either; a known key would still be no way in.
        if ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut secret).is_err() {
            tracing::warn!("no randomness for the keys of remembered reviews");
        }
        Self {
            client,
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            tokens: Expiring::new(ENTRIES),
            access: Expiring::new(ENTRIES),
            places: Semaphore::new(REVIEWS),
        }
    }

    /// Whose token it is; `None` for nobody's.
    pub(super) async fn token(&self, token: &str) -> Result<Option<Arc<UserInfo>>, String> {
        let key = self.key(token.as_bytes());
        if let Some(known) = self.tokens.get(&key) {
            return Ok(known);
        }
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: Some(token.to_owned()),
                ..Default::default()
            },
            ..Default::default()
        };
        let answer: TokenReview = self.create(&review).await?;
        let status = answer.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            // As upstream: an error is no answer to remember.
            return match status.error.filter(|error| !error.is_empty()) {
                Some(error) => Err(error),
                None => {
                    self.tokens.put(key, None, TOKEN_TTL);
                    Ok(None)
                }
            };
        }
        let user = status.user.unwrap_or_default();
        let user = Arc::new(UserInfo {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default(),
        });
        self.tokens.put(key, Some(user.clone()), TOKEN_TTL);
        Ok(Some(user))
    }

    /// Whether a user may do `verb` to a subresource of the node.
    pub(super) async fn access(
        &self,
        user: &UserInfo,
        verb: &str,
        subresource: &str,
        node: &str,
    ) -> Result<bool, String> {
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let spec = SubjectAccessReviewSpec {
            user: text(&user.name),
            uid: text(&user.uid),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()),
            resource_attributes: Some(ResourceAttributes {
                verb: text(verb),
                version: text("v1"),
                resource: text("nodes"),
                subresource: text(subresource),
                name: text(node),
                ..Default::default()
            }),
            ..Default::default()
        };
        let key = self.key(&serde_json::to_vec(&spec).map_err(|error| error.to_string())?);
        if let Some(known) = self.access.get(&key) {
            return Ok(known);
        }
        let review = SubjectAccessReview {
            spec,
            ..Default::default()
        };
        let answer: SubjectAccessReview = self.create(&review).await?;
        let status = answer
            .status
            .ok_or_else(|| "the review was not answered".to_owned())?;
        if status.allowed && status.denied == Some(true) {
            return Err(
                "webhook subject access review returned both allow and deny response".to_owned(),
            );
        }
        let life = if status.allowed {
            ALLOWED_TTL
        } else {
            REFUSED_TTL
        };
        self.access.put(key, status.allowed, life);
        Ok(status.allowed)
    }

    fn key(&self, of: &[u8]) -> Key {
        let mut key = Key::default();
        key.copy_from_slice(hmac::sign(&self.secret, of).as_ref());
        key
    }

    /// Posts a review, and again where the failure says that this may help, until the deadline.
    async fn create<R>(&self, review: &R) -> Result<R, String>
    where
        R: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
    {
        let api: Api<R> = Api::all(self.client.clone());
        let params = PostParams::default();
        let asking = async {
            let _place = self.places.acquire().await;
            let mut pause = PAUSE;
            for _ in 1..TRIES {
                match api.create(&params, review).await {
                    Err(error) if may_pass(&error) => {}
                    answer => return answer,
                }
                tokio::time::sleep(pause.mul_f64(1.0 + PAUSE_JITTER * fastrand::f64())).await;
                pause = pause.mul_f64(PAUSE_FACTOR);
            }
            api.create(&params, review).await
        };
        match timeout(REVIEW_TIMEOUT, asking).await {
            Ok(answer) => answer.map_err(|error| knarr_client::errors::message(&error)),
            Err(_) => Err("context deadline exceeded".to_owned()),
        }
    }
}

/// As upstream's `webhook.DefaultShouldRetry`: what the server says is passing.
fn may_pass(error: &kube::Error) -> bool {
    let Some(status) = knarr_client::errors::status(error) else {
        return false;
    };
    let delay = status
        .details
        .as_ref()
        .is_some_and(|details| details.retry_after_seconds > 0);
    delay
        || matches!(
            status.reason.as_str(),
            "InternalError" | "Timeout" | "TooManyRequests"
        )
}
