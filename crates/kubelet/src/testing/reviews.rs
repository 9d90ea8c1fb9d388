//! An API server that answers reviews.

use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use http::{Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

/// Knows the tokens `scraper` (of a user of that name), `nobody` (no error, no user) and `both` (allowed and denied); any other is
/// refused with an error. Clones share what they were asked.
#[derive(Clone, Default)]
pub(crate) struct ReviewServer {
    /// `user verb subresource` that may be done.
    pub allowed: Arc<Mutex<Vec<String>>>,
    /// The reviews so far: `token TOKEN` and `user verb subresource`.
    pub asked: Arc<Mutex<Vec<String>>>,
    /// Answers with this status and reason instead.
    pub failure: Arc<Mutex<Option<(u16, &'static str)>>>,
    /// Never answers.
    pub silent: Arc<AtomicBool>,
}

impl ReviewServer {
    pub(crate) fn allow(&self, access: &str) {
        self.allowed.lock().unwrap().push(access.to_owned());
    }

    /// What was asked since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    pub(crate) fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { Ok::<_, Infallible>(server.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let answer = match parts.uri.path() {
            "/apis/authentication.k8s.io/v1/tokenreviews" => self.token(body),
            "/apis/authorization.k8s.io/v1/subjectaccessreviews" => self.access(body),
            path => panic!("{path} was asked for"),
        };
        if self.silent.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let (code, answer) = match *self.failure.lock().unwrap() {
            Some((code, reason)) => (
                code,
                json!({"kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": reason}),
            ),
            None => (201, answer),
        };
        Response::builder()
            .status(code)
            .body(Body::from(answer.to_string().into_bytes()))
            .unwrap()
    }

    fn token(&self, mut body: Value) -> Value {
        let token = body["spec"]["token"].as_str().unwrap().to_owned();
        body["status"] = match token.as_str() {
            "scraper" | "both" => json!({
                "authenticated": true,
                "user": {"username": token, "uid": "7", "groups": ["bots"], "extra": {"pod": ["p"]}},
            }),
            "nobody" => json!({"authenticated": false}),
            _ => json!({"user": {}, "error": "token has expired"}),
        };
        self.asked.lock().unwrap().push(format!("token {token}"));
        body
    }

    fn access(&self, mut body: Value) -> Value {
        let spec = &body["spec"];
        assert!(
            spec["groups"]
                .as_array()
                .unwrap()
                .contains(&json!("system:authenticated")),
            "{spec}"
        );
        let of = &spec["resourceAttributes"];
        assert_eq!(
            (&of["resource"], &of["version"], &of["name"]),
            (&json!("nodes"), &json!("v1"), &json!("n1"))
        );
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let access = [&spec["user"], &of["verb"], &of["subresource"]].map(text);
        let access = access.join(" ");
        let allowed = self.allowed.lock().unwrap().contains(&access);
        body["status"] = json!({"allowed": allowed, "denied": access.starts_with("both ")});
        self.asked.lock().unwrap().push(access);
        body
    }
}
