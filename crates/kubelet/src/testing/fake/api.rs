//! An API server that holds one pod.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// One pod as the API holds it; status patches and deletions reach it. Events are only listed.
#[derive(Clone)]
pub(crate) struct Api {
    pub pod: Arc<Mutex<Option<Value>>>,
    /// The pod after each write of its status.
    pub history: Arc<Mutex<Vec<Value>>>,
    /// Writes that are still to be answered with a conflict.
    pub conflicts: Arc<Mutex<u32>>,
    /// Reason, field path and note of each event, the path empty where it is about the whole pod.
    pub events: Arc<Mutex<Vec<[String; 3]>>>,
    changed: Arc<tokio::sync::watch::Sender<u64>>,
}

impl Api {
    pub(crate) fn new(pod: &Pod) -> Self {
        let pod = Some(serde_json::to_value(pod).unwrap());
        Self {
            pod: Arc::new(Mutex::new(pod)),
            history: Arc::default(),
            conflicts: Arc::default(),
            events: Arc::default(),
            changed: Arc::new(tokio::sync::watch::Sender::new(1)),
        }
    }

    pub(crate) fn client(&self) -> kube::Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, std::convert::Infallible>(api.answer(request).await) }
        });
        kube::Client::new(service, "default")
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<kube::client::Body> {
        use http_body_util::BodyExt;
        let (parts, body) = request.into_parts();
        let body = body
            .collect()
            .await
            .map(|b| b.to_bytes())
            .unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let failure = |code: u16, reason: &str| {
            (
                code,
                json!({ "kind": "Status", "status": "Failure", "reason": reason, "code": code, "message": reason }),
            )
        };
        let (code, answer) = if self.conflicts(parts.method.as_str(), parts.uri.path()) {
            failure(409, "Conflict")
        } else {
            match self.change(parts.method.as_str(), parts.uri.path(), body) {
                Some(answer) => (200, answer),
                None => failure(404, "NotFound"),
            }
        };
        Response::builder()
            .status(code)
            .body(kube::client::Body::from(answer.to_string().into_bytes()))
            .unwrap()
    }

    fn conflicts(&self, method: &str, path: &str) -> bool {
        let mut left = self.conflicts.lock().unwrap();
        let conflicts = *left > 0 && method != "GET" && !path.contains("/events");
        *left -= u32::from(conflicts);
        conflicts
    }

    fn change(&self, method: &str, path: &str, body: Value) -> Option<Value> {
        if path.contains("/events") {
            let text = |path: &str| body.pointer(path).and_then(Value::as_str);
            let parts = ["/reason", "/involvedObject/fieldPath", "/message"];
            let parts = parts.map(|path| text(path).unwrap_or_default().to_owned());
            self.events.lock().unwrap().push(parts);
            self.changed.send_modify(|_| {});
            return Some(body);
        }
        let mut pod = self.pod.lock().unwrap();
        let held = pod.as_mut()?;
        let version = *self.changed.borrow() + 1;
        let answer = match method {
            "PATCH" => {
                apply(held.pointer_mut("/status")?, &body["status"]);
                held["metadata"]["resourceVersion"] = json!(version.to_string());
                self.history.lock().unwrap().push(held.clone());
                held.clone()
            }
            "GET" => held.clone(),
            "DELETE" => pod.take()?,
            _ => return None,
        };
        self.changed.send_replace(version);
        Some(answer)
    }

    /// Waits until the pod (`None` when it is deleted) is as wanted.
    pub(crate) async fn until(
        &self,
        what: &str,
        wanted: impl Fn(Option<&Value>) -> bool,
    ) -> Option<Value> {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !wanted(self.pod.lock().unwrap().as_ref()) {
                changed.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(std::time::Duration::from_secs(20), wait).await;
        let pod = self.pod.lock().unwrap().clone();
        assert!(waited.is_ok(), "timed out waiting until {what}: {pod:#?}");
        pod
    }
}

impl Api {
    /// Waits until an event has been told for this reason; all that were told until then.
    pub(crate) async fn until_told(&self, reason: &str) -> Vec<[String; 3]> {
        let told = |_: Option<&Value>| self.events.lock().unwrap().iter().any(|e| e[0] == reason);
        self.until(reason, told).await;
        self.events.lock().unwrap().clone()
    }
}

/// A strategic merge, as far as a status needs it.
fn apply(held: &mut Value, patch: &Value) {
    for (key, value) in patch.as_object().into_iter().flatten() {
        let list = held.get_mut(key).and_then(Value::as_array_mut);
        match (key.as_str(), list, value) {
            (_, _, Value::Null) => {
                held.as_object_mut().unwrap().remove(key);
            }
            ("conditions", Some(list), Value::Array(new)) => {
                for condition in new {
                    list.retain(|c| c["type"] != condition["type"]);
                    if condition["$patch"] != "delete" {
                        list.push(condition.clone());
                    }
                }
            }
            _ => held[key] = value.clone(),
        }
    }
}
