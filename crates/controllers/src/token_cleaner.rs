//! Bootstrap tokens go when they expire.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use knarr_client::{Event, Informer, WorkQueue};
use kube::Api;
use kube::api::DeleteParams;

use crate::bootstrap_tokens;
use crate::deletion;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;
const ACCOUNT: &str = "token-cleaner";

pub(crate) struct TokenCleaner {
    client: kube::Client,
    secrets: Informer<Secret>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(TokenCleaner {
        client: context.client(ACCOUNT),
        secrets: bootstrap_tokens::secrets(context),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.secrets.on_event(move |event| {
        if !matches!(event, Event::Deleted(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.secrets)];
    context.start(controller, WORKERS, informers);
}

/// How long a token has left; zero when it is over, `None` where it is for ever or no token. One of no use, such as of another's
/// name, ends as it says all the same.
fn left(secret: &Secret, now: Timestamp) -> Option<Duration> {
    let end = bootstrap_tokens::expiry(secret)?;
    Some(Duration::try_from(now.duration_until(end)).unwrap_or_default())
}

impl Reconciler for TokenCleaner {
    const NAME: &'static str = "tokencleaner";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(secret) = self.secrets.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let Some(left) = left(&secret, knarr_meta::clock::now()) else {
            return Ok(());
        };
        if !left.is_zero() {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &key.namespace);
        deletion::delete(&api, &secret.metadata, DeleteParams::default()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use knarr_client::fake;
    use serde_json::json;

    use super::*;
    use crate::exchange::{accepted, looks_again, reconcile};
    use crate::fixtures::{now, object};

    #[test]
    fn tokens_end_when_they_say() {
        for (type_, expiration, expected) in [
            (
                "bootstrap.kubernetes.io/token",
                "2030-01-01T12:00:30Z",
                Some(30),
            ),
            (
                "bootstrap.kubernetes.io/token",
                "2030-01-01T12:00:00Z",
                Some(0),
            ),
            (
                "bootstrap.kubernetes.io/token",
                "2029-01-01T12:00:00Z",
                Some(0),
            ),
            ("bootstrap.kubernetes.io/token", "some day", Some(0)),
            ("bootstrap.kubernetes.io/token", "", None),
            ("Opaque", "2029-01-01T12:00:00Z", None),
        ] {
            let secret: Secret = object(json!({
                "metadata": {"name": "bootstrap-token-abc123", "namespace": "kube-system"},
                "type": type_,
                "data": {
                    "token-id": STANDARD.encode("abc123"),
                    "token-secret": STANDARD.encode("0123456789abcdef"),
                    "expiration": STANDARD.encode(expiration),
                },
            }));
            let left = left(&secret, now()).map(|left| left.as_secs());
            assert_eq!(left, expected, "{type_} {expiration}");
        }
    }

    fn secret(name: &str, id: &str, expiration: &str) -> Secret {
        object(json!({
            "metadata": {"name": name, "namespace": "kube-system", "uid": "u"},
            "type": "bootstrap.kubernetes.io/token",
            "data": {"token-id": STANDARD.encode(id), "expiration": STANDARD.encode(expiration)},
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_deleted() {
        let (past, soon) = ("2020-01-01T00:00:00Z", Duration::from_secs(3600));
        let future = (knarr_meta::clock::now() + soon).to_string();
        let future = future.as_str();
        for (name, id, expiration, expected) in [
            ("bootstrap-token-abc123", "abc123", past, 1),
            ("bootstrap-token-abc123", "abc123", future, 0),
            // Nobody can use these, and they end.
            ("bootstrap-token-abc123", "other0", past, 1),
            ("mine", "abc123", past, 1),
            ("mine", "abc123", "", 0),
        ] {
            let (client, mut server) = fake::client();
            let controller = TokenCleaner {
                client,
                secrets: Informer::new(),
                queue: WorkQueue::new(),
            };
            controller.secrets.apply(secret(name, id, expiration));
            let key = Key::new("kube-system", name);
            let (result, asked) = reconcile(&controller, &key, &mut server, accepted).await;
            assert!(result.is_ok(), "{result:?}");
            assert_eq!(asked.len(), expected, "{name} {id} {expiration}");
            let again = looks_again(&controller.queue).await;
            assert_eq!(again, expiration == future, "{name} {id}");
            for asked in asked {
                let path = format!("/api/v1/namespaces/kube-system/secrets/{name}");
                assert_eq!(asked.shown(), format!("DELETE {path}"));
                assert_eq!(asked.body["preconditions"]["uid"], "u");
            }
        }
    }
}
