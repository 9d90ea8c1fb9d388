//! A webhook that authorizes, as upstream's `WebhookAuthorizer`.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use knarr_auth::{
    UserInfo,
    request::{Authorizer, Decision, RequestInfo},
};
use knarr_cel::{PER_CALL, Program, Val, weighed};
use knarr_tasks::Quota;
use knarr_webhook::{Kubeconfig, KubeconfigError, Remote};
use lru::LruCache;
use parking_lot::Mutex;
use ring::digest;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{caller::Caller, review};

/// Answers that are remembered, as upstream.
const ENTRIES: NonZeroUsize = NonZeroUsize::new(8192).expect("is not zero");
/// A question that is longer is not remembered, as upstream; bytes.
const REMEMBERED_BYTES: usize = 10_000;
/// Calls under way at once, of one user and in all. Each has a thread.
const CALLS_OF_USER: usize = 16;
const CALLS: usize = 64;

/// What becomes of a request about which a webhook says nothing that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    NoOpinion,
    Deny,
}

/// How a webhook is asked.
#[derive(Debug)]
pub struct Settings {
    pub kubeconfig: std::path::PathBuf,
    /// Of reviews: `v1`, `v1beta1`.
    pub version: String,
    pub timeout: Duration,
    /// How long answers are remembered; none: not at all.
    pub authorized_ttl: Duration,
    pub unauthorized_ttl: Duration,
    pub failure_policy: FailurePolicy,
    pub conditions: Vec<Program>,
}

type Key = [u8; 32];

/// The webhook.
pub struct Webhook {
    name: String,
    settings: Settings,
    remote: Arc<Remote>,
    caller: Arc<Caller>,
    places: Quota,
    answers: Mutex<LruCache<Key, (Instant, Decision)>>,
}

impl Webhook {
    /// # Errors
    /// Where its file names no server.
    pub fn new(
        name: &str,
        settings: Settings,
        caller: Arc<Caller>,
    ) -> Result<Webhook, KubeconfigError> {
        let remote = Remote::new(&Kubeconfig::read(&settings.kubeconfig)?)?;
        Ok(Webhook {
            name: name.to_owned(),
            settings,
            remote: Arc::new(remote),
            caller,
            places: Quota::new(CALLS_OF_USER, CALLS),
            answers: Mutex::new(LruCache::new(ENTRIES)),
        })
    }

    fn failed(&self, why: &str) -> Decision {
        tracing::warn!(
            webhook = self.name,
            why,
            "an authorization webhook gives no answer"
        );
        let reason = String::new();
        match self.settings.failure_policy {
            FailurePolicy::NoOpinion => Decision::NoOpinion { reason },
            FailurePolicy::Deny => Decision::Deny { reason },
        }
    }

    /// Whether it is to be asked. A condition that is false counts more than one that fails.
    fn matches(&self, spec: &Value) -> Result<bool, String> {
        let mut failed = None;
        for program in &self.settings.conditions {
            let passed = weighed(PER_CALL, |cost| {
                let request = Val::object(spec, review::spec_type());
                let value = program.eval(&[("request", request)], cost);
                match value {
                    Ok(Val::Bool(passed)) => Ok(passed),
                    Ok(_) => Err("no such overload".to_owned()),
                    Err(error) => Err(error.to_string()),
                }
            });
            match passed {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => failed = Some(why),
            }
        }
        failed.map_or(Ok(true), Err)
    }

    fn remembered(&self, key: &Key) -> Option<Decision> {
        let mut answers = self.answers.lock();
        let (until, decision) = answers.get(key)?;
        if Instant::now() < *until {
            return Some(decision.clone());
        }
        answers.pop(key);
        None
    }

    fn remember(&self, key: Key, decision: &Decision) {
        let ttl = match decision {
            Decision::Allow { .. } => self.settings.authorized_ttl,
            Decision::Deny { .. } | Decision::NoOpinion { .. } => self.settings.unauthorized_ttl,
        };
        let until = Instant::now().checked_add(ttl).filter(|_| !ttl.is_zero());
        if let Some(until) = until {
            self.answers.lock().put(key, (until, decision.clone()));
        }
    }

    fn ask(&self, user: &UserInfo, spec: &Value) -> Result<Decision, String> {
        let place = self.places.take(&user.name);
        let _place = place.map_err(|_| "too many calls are under way".to_owned())?;
        let review = json!({
            "kind": "SubjectAccessReview",
            "apiVersion": format!("authorization.k8s.io/{}", self.settings.version),
            "metadata": {},
            "spec": self.in_version(spec),
        });
        let (remote, review) = (self.remote.clone(), Bytes::from(review.to_string()));
        let answer = self.caller.call(remote, review, self.settings.timeout)?;
        review::decision(&answer)
    }

    /// The beta version calls groups by another name.
    fn in_version(&self, spec: &Value) -> Value {
        let mut spec = spec.clone();
        if self.settings.version == "v1beta1"
            && let Some(map) = spec.as_object_mut()
            && let Some(groups) = map.remove("groups")
        {
            map.insert("group".to_owned(), groups);
        }
        spec
    }
}

impl Authorizer for Webhook {
    fn authorize(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Decision {
        let spec = review::spec(user, request);
        match self.matches(&spec) {
            Ok(true) => {}
            Ok(false) => {
                let reason = String::new();
                return Decision::NoOpinion { reason };
            }
            Err(why) => return self.failed(&why),
        }
        let text = spec.to_string();
        let mut key = [0; 32];
        key.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        if let Some(decision) = self.remembered(&key) {
            return decision;
        }
        match self.ask(user, &spec) {
            Ok(decision) => {
                if text.len() < REMEMBERED_BYTES {
                    self.remember(key, &decision);
                }
                decision
            }
            Err(why) => self.failed(&why),
        }
    }
}

#[cfg(test)]
mod tests;
