//! When the tokens of Secrets were used last: a label of each, by which the legacy-serviceaccount-token-cleaner knows those that nobody
//! needs (upstream's `pkg/serviceaccount/legacy.go`).

use std::{collections::HashSet, sync::Arc, time::Duration};

use knarr_admission::writer::Writer;
use knarr_api::kind::Part;
use knarr_auth::tokens::{SecretUse, legacy};
use knarr_meta::{clock, object};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Labels that are written at once: whose token is used meanwhile is noted at its next use.
const UNDER_WAY_MAX: usize = 256;
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Writes the labels. Requests do not wait for them.
pub struct TokenUse {
    writer: Arc<dyn Writer>,
    tasks: TaskTracker,
    /// Namespaces and names.
    under_way: Arc<Mutex<HashSet<(String, String)>>>,
}

impl TokenUse {
    pub fn new(writer: Arc<dyn Writer>, tasks: TaskTracker) -> Self {
        Self {
            writer,
            tasks,
            under_way: Arc::default(),
        }
    }
}

impl SecretUse for TokenUse {
    fn used(&self, namespace: &str, name: &str) {
        let place = (namespace.to_owned(), name.to_owned());
        {
            let mut under_way = self.under_way.lock();
            if under_way.len() >= UNDER_WAY_MAX || !under_way.insert(place.clone()) {
                return;
            }
        }
        let (writer, under_way) = (self.writer.clone(), self.under_way.clone());
        self.tasks.spawn(async move {
            let (namespace, name) = &place;
            match timeout(WRITE_TIMEOUT, note(&*writer, namespace, name)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(namespace, secret = name, %error, "cannot label a token's Secret with its last use");
                }
                Err(_) => {
                    tracing::warn!(namespace, secret = name, "labelling a token's Secret takes too long");
                }
            }
            under_way.lock().remove(&place);
        });
    }
}

async fn note(writer: &dyn Writer, namespace: &str, name: &str) -> Result<(), knarr_meta::Status> {
    let Some(kind) = knarr_api::built_in("", "v1", "secrets") else {
        return Ok(());
    };
    let label = |secret: &mut Value| {
        let now = clock::now();
        let known = object::str_at(secret, &["metadata", "labels", legacy::LAST_USED]);
        if legacy::is_current(known, now) {
            return Ok(false);
        }
        let labels = object::child_mut(secret, "metadata")
            .map(|metadata| metadata.entry("labels").or_insert(Value::Null));
        match labels {
            Some(Value::Object(labels)) => {
                labels.insert(legacy::LAST_USED.to_owned(), legacy::date(now).into());
            }
            Some(labels) => *labels = serde_json::json!({legacy::LAST_USED: legacy::date(now)}),
            None => return Ok(false),
        }
        Ok(true)
    };
    let written = writer.update(kind, namespace, name, Part::Main, &label);
    written.await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use knarr_auth::testing::Fake;
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn the_last_use_is_a_label_once_a_day() {
        let fake = Fake::new();
        let tasks = TaskTracker::new();
        let usage = TokenUse::new(fake.clone(), tasks.clone());
        let today = legacy::date(clock::now());
        for (labels, writes) in [
            (json!(null), 1),
            (json!({"a": "b"}), 1),
            (json!({legacy::LAST_USED: "2020-01-01"}), 1),
            (json!({legacy::LAST_USED: today}), 0),
        ] {
            let metadata = json!({"namespace": "x", "name": "held", "labels": labels});
            fake.put("", "secrets", json!({"metadata": metadata}));
            let before = fake.writes.load(Ordering::Relaxed);
            usage.used("x", "held");
            // While it is being written it is not written again.
            usage.used("x", "held");
            tasks.close();
            tasks.wait().await;
            tasks.reopen();
            assert_eq!(
                fake.writes.load(Ordering::Relaxed) - before,
                writes,
                "{labels}"
            );
            let stored = fake.stored("", "secrets", "x", "held");
            assert_eq!(
                stored["metadata"]["labels"][legacy::LAST_USED],
                today.as_str()
            );
        }
        assert!(usage.under_way.lock().is_empty());
    }
}
