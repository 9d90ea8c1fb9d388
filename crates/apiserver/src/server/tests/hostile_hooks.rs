//! A webhook that hangs or answers nonsense costs those whom it judges, and nobody else.

use std::time::Instant;

use http::StatusCode;
use knarr_webhook::testing::{Reaction, Server as Hook, allow};

use super::{
    flow_control::{answer, crowded},
    refusals::{Out, Running, Sender},
    *,
};

const CONFIGURATIONS: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than there are seats for.
const JUDGED: usize = 60;
const SEATS: u32 = 40;
/// What somebody else does meanwhile, and the longest that it may take.
const ASIDE: usize = 30;
const SOON: Duration = Duration::from_secs(1);

/// Somebody writes.
async fn post(sender: &Sender, user: &str, path: &str, body: Value) -> (u16, Value) {
    let Sender::Two(sender) = sender else {
        panic!("HTTP/2 is expected");
    };
    let body: Out = BodyExt::boxed(Full::new(Bytes::from(body.to_string())));
    let request = Request::post(format!("https://localhost{path}"))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .header("impersonate-user", user)
        .body(body)
        .expect("a request");
    let mut sender = sender.clone();
    let answer = async {
        let response = sender.send_request(request).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("its body").to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        (parts.status.as_u16(), body)
    };
    tokio::time::timeout(DEADLINE, answer)
        .await
        .expect("in time")
}

async fn judged_by(running: &Running, server: &Hook, path: &str) {
    let body = json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": "judge"}, "webhooks": [{
        "name": "judge.example.com",
        "clientConfig": server.config(path),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "timeoutSeconds": TIMEOUT.as_secs(),
        "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["secrets"]}],
    }]});
    let made = running.admin(Method::POST, CONFIGURATIONS, body).await;
    assert_eq!(made.code, 201, "{}", made.body);
}

/// The longest that somebody waited who is not judged.
async fn aside(sender: &Sender, path: &str) -> Duration {
    let mut longest = Duration::ZERO;
    for n in 0..ASIDE {
        let began = Instant::now();
        let name = format!("{}-{n}", path.trim_matches('/'));
        let (code, body) = post(sender, "quiet", CONFIGMAPS, configmap(&name)).await;
        assert_eq!(code, 201, "{body}");
        let (code, _, _) = answer(sender, "quiet", &format!("{CONFIGMAPS}/{name}")).await;
        assert_eq!(code, 200);
        longest = longest.max(began.elapsed());
    }
    longest
}

/// What a webhook does at each path, and what is said to who is judged by it.
fn react(path: &str, review: &Value) -> Reaction {
    let other = |field: &str, value: Value| {
        let mut answer = allow(review, json!({}));
        answer["response"][field] = value;
        Reaction::Answer(answer)
    };
    match path.split('?').next().unwrap_or_default() {
        "/hangs" => Reaction::Hang,
        "/redirects" => Reaction::Redirect("https://127.0.0.1:1/elsewhere".to_owned()),
        "/large" => Reaction::Bytes(StatusCode::OK, vec![b' '; 10 << 20]),
        "/nonsense" => Reaction::Bytes(StatusCode::OK, b"<html>".to_vec()),
        "/fails" => Reaction::Bytes(StatusCode::INTERNAL_SERVER_ERROR, b"out of order".to_vec()),
        "/of-another" => other("uid", json!("other")),
        _ => other("allowed", json!("yes")),
    }
}

const SAID: [(&str, &str); 7] = [
    ("/hangs", "context deadline exceeded"),
    (
        "/redirects",
        "the server responded with the status code 307 but did not return more information",
    ),
    ("/large", ""),
    ("/nonsense", ""),
    (
        "/fails",
        "an error on the server (\"out of order\") has prevented the request from succeeding",
    ),
    ("/of-another", "expected response.uid="),
    ("/lies", ""),
];

#[tokio::test(flavor = "multi_thread")]
async fn only_who_is_judged_pays_for_a_hostile_webhook() {
    let server = Hook::start(&[], react).await;
    let running = crowded(SEATS).await;
    let (judged, quiet) = (running.connect(b"h2").await, running.connect(b"h2").await);
    let judged = Arc::new(judged);
    for (path, said) in SAID {
        judged_by(&running, &server, path).await;
        let began = Instant::now();
        let sent: Vec<_> = (0..JUDGED)
            .map(|n| {
                let judged = judged.clone();
                tokio::spawn(async move {
                    post(&judged, "judged", SECRETS, configmap(&format!("s{n}"))).await
                })
            })
            .collect();
        let longest = aside(&quiet, path).await;
        assert!(longest < SOON, "{path}: somebody waited for {longest:?}");
        let mut told = 0;
        for sent in sent {
            let (code, body) = sent.await.expect("no panic");
            // Who found no seat is told to come again.
            if code == 429 {
                continue;
            }
            told += 1;
            let message = body["message"].as_str().unwrap_or_default();
            let failed = "Internal error occurred: failed calling webhook \"judge.example.com\": ";
            assert!(
                code == 500 && message.starts_with(failed) && message.contains(said),
                "{path}: {code} {message}"
            );
        }
        assert!(told > 0, "{path}: nobody was judged");
        let waited = began.elapsed() >= TIMEOUT;
        assert!(waited || path != "/hangs", "{:?}", began.elapsed());
        let gone = format!("{CONFIGURATIONS}/judge");
        let gone = running.admin(Method::DELETE, &gone, Value::Null).await;
        assert_eq!(gone.code, 200, "{}", gone.body);
    }
    running.stop().await;
}
