//! Service account tokens for pods: asked for through TokenRequest, bound to the pod, kept until they are due.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount, ServiceAccountTokenProjection},
};
use kube::{Api, api::PostParams};
use parking_lot::Mutex;

use crate::context;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_SECONDS: i64 = 3_600;
/// A token is renewed when this share of its life, in percent, is over.
const REFRESH_PERCENT: i64 = 80;
/// And after this long in any case.
const OLDEST_SECONDS: i64 = 86_400;
/// Renewals are spread over this many seconds, so that pods which started together do not renew together.
const JITTER_SECONDS: i64 = 10;
/// A failed renewal of a token that is still valid is tried again after this long.
const RETRY_SECONDS: i64 = 30;

/// A token and when to ask for the next.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub text: String,
    pub refresh_at: Timestamp,
    pub expires_at: Timestamp,
}

/// `(pod uid, audience, path and lifetime)`.
type Key = (String, String, i64);

/// Tokens of the node's pods; clones share them.
#[derive(Clone)]
pub(crate) struct Tokens {
    client: kube::Client,
    held: Arc<Mutex<HashMap<Key, Token>>>,
}

impl Tokens {
    pub(crate) fn new(client: kube::Client) -> Self {
        Self {
            client,
            held: Arc::default(),
        }
    }

    /// The token for one projection, new when the one at hand is due.
    pub(crate) async fn get(
        &self,
        pod: &Pod,
        source: &ServiceAccountTokenProjection,
    ) -> Result<Token, String> {
        let seconds = source.expiration_seconds.unwrap_or(DEFAULT_SECONDS);
        let audience = source.audience.clone().unwrap_or_default();
        let key = (context::uid(pod).to_owned(), audience.clone(), seconds);
        let now = Timestamp::now();
        let held = self.held.lock().get(&key).cloned();
        if let Some(token) = held.as_ref().filter(|t| now < t.refresh_at) {
            return Ok(token.clone());
        }
        match self.request(pod, audience, seconds).await {
            Ok(token) => {
                self.held.lock().insert(key, token.clone());
                Ok(token)
            }
            // A valid token is better than none while the API server is away.
            Err(error) => match held.filter(|t| now < t.expires_at) {
                Some(mut token) => {
                    tracing::warn!(error, pod = context::display(pod), "cannot renew a token");
                    token.refresh_at = later(now, RETRY_SECONDS);
                    Ok(token)
                }
                None => Err(format!("failed to fetch token: {error}")),
            },
        }
    }

    async fn request(&self, pod: &Pod, audience: String, seconds: i64) -> Result<Token, String> {
        let account = pod
            .spec
            .as_ref()
            .and_then(|s| s.service_account_name.as_deref());
        let account = account.filter(|a| !a.is_empty()).unwrap_or("default");
        let api: Api<ServiceAccount> =
            Api::namespaced(self.client.clone(), context::namespace(pod));
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: if audience.is_empty() {
                    Vec::new()
                } else {
                    vec![audience]
                },
                expiration_seconds: Some(seconds),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
            },
            ..Default::default()
        };
        let params = PostParams::default();
        let call = api.create_subresource::<_, TokenRequest>("token", account, &params, &request);
        let answer = tokio::time::timeout(REQUEST_TIMEOUT, call)
            .await
            .map_err(|_| "context deadline exceeded".to_owned())?
            .map_err(|error| knarr_client::errors::message(&error))?;
        let status = answer
            .status
            .ok_or_else(|| "the answer carries no token".to_owned())?;
        let now = Timestamp::now();
        let expires_at = status.expiration_timestamp.0;
        Ok(Token {
            text: status.token,
            refresh_at: refresh_at(now, expires_at),
            expires_at,
        })
    }

    /// Drops the pod's tokens.
    pub(crate) fn forget(&self, uid: &str) {
        self.held.lock().retain(|(of, _, _), _| of != uid);
    }
}

fn refresh_at(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let life = expires.as_second().saturating_sub(issued.as_second());
    let wait = (life.max(0).saturating_mul(REFRESH_PERCENT) / 100).min(OLDEST_SECONDS);
    let jitter = fastrand::i64(0..JITTER_SECONDS).min(wait / 10);
    later(issued, wait.saturating_sub(jitter))
}

/// The last of times where there is no such time.
fn later(time: Timestamp, seconds: i64) -> Timestamp {
    time.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::json;

    use super::*;

    /// An API server that makes tokens of a given life in seconds; a negative one is a refusal.
    fn client(life: &Arc<AtomicI64>, count: &Arc<AtomicUsize>) -> kube::Client {
        let (life, count) = (life.clone(), count.clone());
        let service = tower::service_fn(move |request: Request<Body>| {
            assert_eq!(
                request.uri().path(),
                "/api/v1/namespaces/shop/serviceaccounts/default/token"
            );
            let life = life.load(Ordering::SeqCst);
            let number = count.fetch_add(1, Ordering::SeqCst);
            let expires = Timestamp::now() + SignedDuration::from_secs(life);
            let (code, answer) = if life < 0 {
                (
                    503,
                    json!({ "kind": "Status", "status": "Failure", "code": 503, "message": "away" }),
                )
            } else {
                let status = json!({ "token": format!("token-{number}"), "expirationTimestamp": expires.to_string() });
                (
                    201,
                    json!({ "spec": { "audiences": [] }, "status": status }),
                )
            };
            let response = Response::builder()
                .status(code)
                .body(Body::from(answer.to_string().into_bytes()));
            async move { response }
        });
        kube::Client::new(service, "default")
    }

    #[tokio::test]
    async fn tokens_are_kept_until_due_and_as_long_as_they_hold() {
        let (life, count) = (Arc::new(AtomicI64::new(3_600)), Arc::default());
        let tokens = Tokens::new(client(&life, &count));
        let pod = crate::testing::pod(json!({ "containers": [] }));
        let source = |seconds| ServiceAccountTokenProjection {
            expiration_seconds: Some(seconds),
            ..Default::default()
        };
        let get = async |seconds| tokens.get(&pod, &source(seconds)).await.map(|t| t.text);
        assert_eq!(get(600).await.as_deref(), Ok("token-0"));
        assert_eq!(get(600).await.as_deref(), Ok("token-0"));
        // A projection of its own has a token of its own; one that lives a second is due at once.
        life.store(1, Ordering::SeqCst);
        assert_eq!(get(700).await.as_deref(), Ok("token-1"));
        life.store(3_600, Ordering::SeqCst);
        assert_eq!(get(700).await.as_deref(), Ok("token-2"));
        assert_eq!(get(700).await.as_deref(), Ok("token-2"));
        // Due, and the API is away: what still holds is kept, and asked for again soon.
        tokens
            .held
            .lock()
            .values_mut()
            .for_each(|token| token.refresh_at = Timestamp::now());
        life.store(-1, Ordering::SeqCst);
        let kept = tokens.get(&pod, &source(700)).await.unwrap();
        assert_eq!(kept.text, "token-2");
        assert!(kept.refresh_at > Timestamp::now());
        tokens.forget("u1");
        assert!(get(700).await.is_err());
    }

    #[test]
    fn tokens_are_renewed_before_four_fifths_of_their_life() {
        let at = |s| Timestamp::from_second(s).unwrap();
        for (life, earliest, latest) in [
            (3_600, 2_870, 2_880),
            (600, 470, 480),
            (31_536_000, 86_390, 86_400),
        ] {
            let seconds = refresh_at(at(0), at(life)).as_second();
            assert!((earliest..=latest).contains(&seconds), "{life}: {seconds}");
        }
    }
}
