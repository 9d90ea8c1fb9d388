//! A server that is asked whose a token is: TokenReview v1, as upstream's `--authentication-token-webhook-config-file`.
//!
//! Its answers are remembered, those of tokens that it does not know, too; who sends many of them finds so many places and no more, and
//! tokens of others do not wait for long.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use bytes::Bytes;
use knarr_auth::UserInfo;
use knarr_webhook::{Bounds, Kubeconfig, KubeconfigError, Remote};
use serde::Deserialize;
use serde_json::json;
use tokio::{sync::Semaphore, time::timeout};

use crate::cache::Cache;

/// One call, its answer included.
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES: usize = 1 << 20;
/// Calls that are under way at once, and how long more of them wait.
const CALLS: usize = 32;
const WAIT: Duration = Duration::from_secs(5);
/// A token that is not known is not asked for again so soon: upstream's `cacheUnauthenticatedTTL` of the kubelet.
const UNKNOWN_TTL: Duration = Duration::from_secs(10);

/// Which server, and how long it is believed.
#[derive(Clone, Debug)]
pub struct TokenWebhookOptions {
    /// In the form of a kubeconfig.
    pub config_file: PathBuf,
    pub cache_ttl: Duration,
}

pub struct TokenWebhook {
    remote: Remote,
    places: Semaphore,
    cache: Cache<Option<UserInfo>>,
    ttl: Duration,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Review {
    status: ReviewStatus,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReviewStatus {
    authenticated: bool,
    user: ReviewedUser,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ReviewedUser {
    username: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl TokenWebhook {
    /// # Errors
    /// Where the file names no server.
    pub fn new(options: &TokenWebhookOptions) -> Result<TokenWebhook, KubeconfigError> {
        Ok(TokenWebhook {
            remote: Remote::new(&Kubeconfig::read(&options.config_file)?)?,
            places: Semaphore::new(CALLS),
            cache: Cache::default(),
            ttl: options.cache_ttl,
        })
    }

    /// Whose a token is. What cannot be asked is nobody's, and asked again.
    pub async fn user(&self, token: &str) -> Option<UserInfo> {
        if let Some(known) = self.cache.get(token) {
            return known;
        }
        let Ok(Ok(_place)) = timeout(WAIT, self.places.acquire()).await else {
            tracing::warn!("the token webhook is not asked: too many tokens wait");
            return None;
        };
        // Somebody with the same token may have asked meanwhile.
        if let Some(known) = self.cache.get(token) {
            return known;
        }
        match self.ask(token).await {
            Ok(user) => {
                let ttl = if user.is_some() {
                    self.ttl
                } else {
                    UNKNOWN_TTL
                };
                self.cache.put(token, user.clone(), ttl);
                user
            }
            Err(why) => {
                tracing::warn!(why, "the token webhook gives no answer");
                None
            }
        }
    }

    async fn ask(&self, token: &str) -> Result<Option<UserInfo>, String> {
        let review = json!({
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "spec": {"token": token},
        });
        let bounds = Bounds {
            time: TIMEOUT,
            answer_bytes: ANSWER_BYTES,
        };
        let answer = self.remote.post(Bytes::from(review.to_string()), bounds);
        let answer = answer.await.map_err(|error| error.reason())?;
        let review: Review = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let ReviewStatus {
            authenticated,
            user,
        } = review.status;
        Ok(authenticated.then_some(UserInfo {
            name: user.username,
            uid: user.uid,
            groups: user.groups,
            extra: user.extra,
        }))
    }
}
