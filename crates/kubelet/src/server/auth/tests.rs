use std::{sync::atomic::Ordering, time::Duration};

use http::{HeaderValue, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance};

use super::*;
use crate::testing::reviews::ReviewServer;

struct Bench {
    api: ReviewServer,
    gate: Gate,
}

impl Bench {
    fn new() -> Self {
        let api = ReviewServer::default();
        let gate = Gate::new("n1".to_owned(), api.client());
        Self { api, gate }
    }

    /// `GET path` with a token, if any: `let in`, or status and text of the answer.
    async fn get(&self, token: &str, path: &str) -> String {
        self.send(Method::GET, token, path).await
    }

    async fn send(&self, method: Method, token: &str, path: &str) -> String {
        let mut headers = HeaderMap::new();
        if !token.is_empty() {
            let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
            headers.insert(header::AUTHORIZATION, value);
        }
        let credentials = Credentials {
            certificate: None,
            headers: &headers,
        };
        let path: Vec<&str> = path.split('/').collect();
        match self.gate.admit(&method, &path, credentials).await {
            Ok(_) => "let in".to_owned(),
            Err(answer) => {
                let status = answer.status().as_u16();
                let text = answer.into_body().collect().await.unwrap().to_bytes();
                format!("{status} {}", String::from_utf8_lossy(&text))
            }
        }
    }
}

#[tokio::test]
async fn a_token_with_a_right_reaches_what_it_is_for() {
    let bench = Bench::new();
    bench.api.allow("scraper get metrics");
    assert_eq!(bench.get("scraper", "metrics").await, "let in");
    assert_eq!(bench.get("scraper", "metrics/cadvisor").await, "let in");
    assert_eq!(
        bench.get("scraper", "pods").await,
        "403 Forbidden (user=scraper, verb=get, resource=nodes, subresource(s)=[pods proxy])\n"
    );
    assert_eq!(
        bench.send(Method::POST, "scraper", "metrics").await,
        "403 Forbidden (user=scraper, verb=create, resource=nodes, subresource(s)=[metrics])\n"
    );
    // The narrow right is enough, and so is the wide one.
    for right in ["pods", "proxy"] {
        let bench = Bench::new();
        bench.api.allow(&format!("scraper get {right}"));
        assert_eq!(bench.get("scraper", "pods").await, "let in", "{right}");
    }
}

#[tokio::test]
async fn who_proves_nothing_is_nobody() {
    let bench = Bench::new();
    for (token, asked) in [
        ("", &[][..]),
        ("nobody", &["token nobody"]),
        ("expired", &["token expired"]),
    ] {
        assert_eq!(
            bench.get(token, "healthz").await,
            "401 Unauthorized",
            "{token}"
        );
        assert_eq!(bench.api.take(), asked);
    }
    // What was said of a token without an error is remembered, an error is not.
    bench.get("nobody", "healthz").await;
    bench.get("expired", "healthz").await;
    assert_eq!(bench.api.take(), ["token expired"]);
}

#[tokio::test(start_paused = true)]
async fn answers_are_remembered_for_upstreams_times() {
    let bench = Bench::new();
    bench.api.allow("scraper get metrics");
    bench.get("scraper", "metrics").await;
    bench.get("scraper", "stats").await;
    assert_eq!(
        bench.api.take(),
        ["token scraper", "scraper get metrics", "scraper get stats"]
    );
    let asked_after = async |seconds, path| {
        advance(Duration::from_secs(seconds)).await;
        bench.get("scraper", path).await;
        bench.api.take()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(asked_after(29, "stats").await, nothing);
    assert_eq!(asked_after(1, "stats").await, ["scraper get stats"]);
    assert_eq!(asked_after(89, "metrics").await, nothing);
    assert_eq!(asked_after(1, "metrics").await, ["token scraper"]);
    assert_eq!(asked_after(119, "metrics").await, nothing);
    assert_eq!(
        asked_after(61, "metrics").await,
        ["token scraper", "scraper get metrics"]
    );
}

#[tokio::test(start_paused = true)]
async fn without_reviews_nobody_gets_in_and_nothing_hangs() {
    let bench = Bench::new();
    bench.api.allow("scraper get metrics");
    let failing =
        "500 Authorization error (user=scraper, verb=get, resource=nodes, subresource=stats)";
    // The token is known, its rights are not.
    assert_eq!(bench.get("scraper", "metrics").await, "let in");
    bench.api.take();
    // What may pass is asked again, with pauses; the rest is not.
    for (failure, tries) in [
        ((503, "ServiceUnavailable"), 1),
        ((403, "Forbidden"), 1),
        ((500, "InternalError"), 5),
        ((504, "Timeout"), 5),
        ((429, "TooManyRequests"), 5),
    ] {
        *bench.api.failure.lock().unwrap() = Some(failure);
        assert_eq!(bench.get("scraper", "stats").await, failing, "{failure:?}");
        assert_eq!(bench.api.take().len(), tries, "{failure:?}");
        assert_eq!(bench.get("other", "stats").await, "401 Unauthorized");
        bench.api.take();
    }
    *bench.api.failure.lock().unwrap() = None;
    bench.api.silent.store(true, Ordering::SeqCst);
    for (token, wanted) in [("scraper", failing), ("other", "401 Unauthorized")] {
        let before = Instant::now();
        assert_eq!(bench.get(token, "stats").await, wanted);
        assert_eq!(before.elapsed().as_secs(), 30);
    }
    bench.api.silent.store(false, Ordering::SeqCst);
    assert_eq!(bench.get("scraper", "metrics").await, "let in");
}

#[tokio::test]
async fn an_answer_that_says_yes_and_no_is_none() {
    let bench = Bench::new();
    bench.api.allow("both get metrics");
    assert_eq!(
        bench.get("both", "metrics").await,
        "500 Authorization error (user=both, verb=get, resource=nodes, subresource=metrics)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_tokens_is_a_bounded_number_of_reviews() {
    let bench = Bench::new();
    bench.api.silent.store(true, Ordering::SeqCst);
    let tokens: Vec<String> = (0..100).map(|n| format!("t{n}")).collect();
    let flood = tokens.iter().map(|token| bench.get(token, "pods"));
    let flood = futures::future::join_all(flood);
    let waiting = tokio::time::timeout(Duration::from_secs(29), flood).await;
    assert!(waiting.is_err(), "nothing was answered");
    assert_eq!(bench.api.take().len(), 32);
}
