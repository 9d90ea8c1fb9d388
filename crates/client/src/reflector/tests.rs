mod shared;

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{Allowance, LIST_TIMEOUT};
use crate::fake::{self, Server};
use crate::{Event, Informer, Informers};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

fn map(name: &str, revision: &str) -> Value {
    json!({"metadata": {"namespace": "x", "name": name, "resourceVersion": revision}})
}

fn list(revision: &str, continue_token: &str, items: Vec<Value>) -> Value {
    json!({"kind": "ConfigMapList", "apiVersion": "v1",
        "metadata": {"resourceVersion": revision, "continue": continue_token}, "items": items})
}

struct Harness {
    server: Server,
    informer: Informer<ConfigMap>,
    events: mpsc::UnboundedReceiver<String>,
    token: CancellationToken,
    informers: Informers,
}

/// What handlers of an informer are told from now on.
fn told(informer: &Informer<ConfigMap>) -> mpsc::UnboundedReceiver<String> {
    let (sender, events) = mpsc::unbounded_channel();
    informer.on_event(move |event| {
        let text = match event {
            Event::Added(new) => format!("+{}", new.metadata.name.as_deref().unwrap_or_default()),
            Event::Updated { new, .. } => {
                format!("~{}", new.metadata.name.as_deref().unwrap_or_default())
            }
            Event::Deleted(last) => {
                format!("-{}", last.metadata.name.as_deref().unwrap_or_default())
            }
        };
        let _ = sender.send(text);
    });
    events
}

fn start() -> Harness {
    let (client, server) = fake::client();
    let token = CancellationToken::new();
    let informers = Informers::new(client, token.clone());
    let informer = informers.informer::<ConfigMap>();
    let events = told(&informer);
    Harness {
        server,
        informer,
        events,
        token,
        informers,
    }
}

impl Harness {
    async fn event(&mut self) -> String {
        self.events.recv().await.expect("the informer runs")
    }

    /// Answers the next request, which must be a list, with everything at `revision`.
    async fn lists(&mut self, revision: &str, items: Vec<Value>) {
        let request = self.server.next().await;
        assert!(!request.uri.contains("watch=true"), "{}", request.uri);
        request.answer(200, &list(revision, "", items));
    }

    /// Accepts the next request, which must be a watch from `revision`.
    async fn watches(&mut self, revision: &str) -> fake::Watch {
        let request = self.server.next().await;
        assert!(
            request.uri.contains("watch=true") && request.uri.contains("allowWatchBookmarks=true"),
            "{}",
            request.uri
        );
        assert!(
            request
                .uri
                .ends_with(&format!("resourceVersion={revision}")),
            "{}",
            request.uri
        );
        request.stream()
    }
}

#[tokio::test(start_paused = true)]
async fn lists_in_pages_then_watches() {
    let mut t = start();
    let first = t.server.next().await;
    assert_eq!(
        (first.method.as_str(), first.uri.as_str()),
        ("GET", "/api/v1/configmaps?&limit=500")
    );
    first.answer(200, &list("5", "more", vec![map("a", "1")]));
    let second = t.server.next().await;
    assert!(second.uri.contains("continue=more"), "{}", second.uri);
    assert!(!t.informer.is_synced(), "half a list is none");
    second.answer(200, &list("5", "", vec![map("b", "2")]));
    let watch = t.watches("5").await;
    assert!(t.informer.is_synced());
    assert_eq!(
        (t.event().await, t.event().await),
        ("+a".into(), "+b".into())
    );
    watch.event("MODIFIED", &map("a", "6"));
    watch.event("DELETED", &map("b", "7"));
    assert_eq!(
        (t.event().await, t.event().await),
        ("~a".into(), "-b".into())
    );
    assert_eq!(t.informer.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_is_resumed_where_it_was() {
    let mut t = start();
    t.lists("5", vec![]).await;
    let watch = t.watches("5").await;
    watch.event("ADDED", &map("a", "6"));
    assert_eq!(t.event().await, "+a");
    drop(watch);
    let watch = t.watches("6").await;
    watch.event("BOOKMARK", &json!({"metadata": {"resourceVersion": "9"}}));
    watch.event("ADDED", &map("b", "10"));
    assert_eq!(t.event().await, "+b");
    drop(watch);
    t.watches("10").await;
}

#[tokio::test(start_paused = true)]
async fn an_expired_revision_is_listed_anew() {
    let expired = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    let mut t = start();
    t.lists("5", vec![map("a", "1"), map("b", "2")]).await;
    assert_eq!(
        (t.event().await, t.event().await),
        ("+a".into(), "+b".into())
    );
    let watch = t.watches("5").await;
    watch.event("ERROR", &expired);
    t.lists("20", vec![map("b", "2"), map("c", "15")]).await;
    assert_eq!(
        (t.event().await, t.event().await),
        ("-a".into(), "+c".into())
    );
    let refused = t.server.next().await;
    refused.answer(410, &expired);
    t.lists("30", vec![]).await;
    assert_eq!((t.event().await.len(), t.event().await.len()), (2, 2));
    t.watches("30").await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_and_hide_nothing() {
    let mut t = start();
    let error = json!({"kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError", "message": "no"});
    for _ in 0..3 {
        t.server.next().await.answer(500, &error);
    }
    t.lists("5", vec![map("a", "1")]).await;
    t.server
        .next()
        .await
        .answer(503, &json!("not even a status"));
    let watch = t.watches("5").await;
    watch.event("MODIFIED", &map("a", "6"));
    assert_eq!(
        (t.event().await, t.event().await),
        ("+a".into(), "~a".into())
    );
}

fn failure(code: u16, reason: &str, cause: &str) -> Value {
    json!({"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": "no",
        "details": {"causes": [{"reason": cause, "message": "no"}]}})
}

/// What a watch can never get over is not asked for again.
#[tokio::test(start_paused = true)]
async fn what_a_retry_cannot_mend_is_listed_anew() {
    let mut t = start();
    t.lists("5", vec![]).await;
    let watch = t.watches("5").await;
    watch.raw("this is no event\n".to_owned());
    t.lists("6", vec![]).await;
    let watch = t.watches("6").await;
    watch.event("ERROR", &failure(400, "BadRequest", ""));
    t.lists("7", vec![]).await;
    // Another store's revision, say: a backup was restored.
    for refusal in [
        failure(504, "Timeout", "ResourceVersionTooLarge"),
        failure(400, "BadRequest", ""),
        failure(403, "Forbidden", ""),
    ] {
        let code = refusal["code"].as_u64().unwrap_or_default();
        let request = t.server.next().await;
        assert!(request.uri.contains("watch=true"), "{}", request.uri);
        request.answer(u16::try_from(code).expect("a code"), &refusal);
        t.lists("7", vec![]).await;
    }
    t.watches("7").await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_for_long_is_given_up_for_a_list() {
    let mut t = start();
    t.lists("5", vec![]).await;
    for _ in 0..super::WATCH_ATTEMPTS {
        let request = t.server.next().await;
        assert!(request.uri.contains("watch=true"), "{}", request.uri);
        request.answer(500, &failure(500, "InternalError", ""));
    }
    t.lists("9", vec![]).await;
    t.watches("9").await;
}

#[tokio::test(start_paused = true)]
async fn one_watch_for_all_readers_and_none_after_the_end() {
    let mut t = start();
    let again = t.informers.informer::<ConfigMap>();
    t.lists("5", vec![map("a", "1")]).await;
    let watch = t.watches("5").await;
    again.synced().await;
    assert!(Arc::ptr_eq(
        &again.get("x", "a").expect("cached"),
        &t.informer.get("x", "a").expect("cached")
    ));
    assert!(t.server.is_idle());
    t.token.cancel();
    t.informers.stopped().await;
    drop(watch);
    assert!(t.server.is_idle());
}

#[tokio::test(start_paused = true)]
async fn the_pages_of_a_list_have_an_end() {
    let mut allowance = Allowance {
        bytes: 10,
        until: Instant::now() + LIST_TIMEOUT,
    };
    assert!(allowance.take(6).is_ok());
    assert!(allowance.take(5).is_err());
    assert!(allowance.take(4).is_ok());
    tokio::time::sleep(LIST_TIMEOUT + Duration::from_secs(1)).await;
    assert!(allowance.take(0).is_err());
}
