//! The whole chain through the in-process service, with a real store in a temporary directory.

mod absent;
mod answers;
mod applying;
mod authority;
mod components;
mod conversion;
mod custom;
mod damaged;
mod deleting;
mod encryption;
mod eviction;
mod floods;
mod flow_control;
mod goaway;
mod hostile_hooks;
mod numbers;
mod protobuf;
mod quotas;
mod reading;
mod refusals;
mod registry;
mod rights;
mod servers;
mod sharing;
mod streaming;
mod watch_seats;
mod watching;
mod webhooks;
mod wording;
mod writing;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, Full};
use knarr_auth::{authn, pki::Role};
use knarr_store::Embedded;
use serde_json::{Value, json};
use tower::Service;

use super::*;
use crate::body::Body;

/// Every wait of a test ends after this.
const DEADLINE: Duration = Duration::from_secs(20);

struct Cluster {
    server: Server,
    dir: tempfile::TempDir,
}

struct Reply {
    code: u16,
    headers: HeaderMap,
    body: Value,
}

async fn open(dir: &std::path::Path) -> Server {
    open_with_seats(dir, SEATS).await
}

async fn open_with_seats(dir: &std::path::Path, seats: u32) -> Server {
    open_with(dir, |config| config.seats = seats).await
}

async fn open_with(dir: &std::path::Path, change: impl FnOnce(&mut Config)) -> Server {
    let store = Arc::new(Embedded::open(dir.join("store"), Default::default()).expect("a store"));
    let mut config = Config {
        node_name: "test".into(),
        seats: SEATS,
        ..Config::on_loopback(dir.join("pki"))
    };
    change(&mut config);
    Server::new(config, store).await.expect("a server")
}

impl Cluster {
    async fn new() -> Cluster {
        Cluster::with_seats(SEATS).await
    }

    async fn with_seats(seats: u32) -> Cluster {
        let dir = tempfile::tempdir().expect("a directory");
        let server = open_with_seats(dir.path(), seats).await;
        Cluster { server, dir }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Body> {
        let mut admin = self.server.client_service(authn::server());
        tokio::time::timeout(DEADLINE, admin.call(request))
            .await
            .expect("an answer in time")
            .expect("infallible")
    }

    /// A request with a JSON body (`Null`: none) of a content type.
    async fn typed(&self, method: Method, uri: &str, content_type: &str, body: Value) -> Reply {
        let bytes = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("content-type", content_type)
            .body(Full::new(bytes))
            .expect("a request");
        reply(self.send(request).await).await
    }

    async fn call(&self, method: Method, uri: &str, body: Value) -> Reply {
        self.typed(method, uri, "application/json", body).await
    }

    async fn get(&self, uri: &str) -> Reply {
        self.call(Method::GET, uri, Value::Null).await
    }

    async fn get_as(&self, uri: &str, accept: &str) -> Reply {
        let request = Request::get(uri)
            .header("accept", accept)
            .body(Full::default())
            .expect("a request");
        reply(self.send(request).await).await
    }

    async fn create(&self, uri: &str, body: Value) -> Value {
        let reply = self.call(Method::POST, uri, body).await;
        assert_eq!(reply.code, 201, "{}", reply.body);
        reply.body
    }

    async fn merge(&self, uri: &str, patch: Value) -> Reply {
        self.typed(Method::PATCH, uri, "application/merge-patch+json", patch)
            .await
    }

    async fn watch(&self, uri: &str) -> Events {
        let response = self
            .send(Request::get(uri).body(Full::default()).expect("a request"))
            .await;
        assert_eq!(response.status(), 200);
        Events {
            body: response.into_body(),
            buffer: Vec::new(),
        }
    }
}

async fn reply(response: http::Response<Body>) -> Reply {
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.expect("a body").to_bytes();
    let body = serde_json::from_slice(&bytes)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Reply {
        code: parts.status.as_u16(),
        headers: parts.headers,
        body,
    }
}

/// Lines of a watch response.
struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).expect("JSON"));
            }
            let frame = tokio::time::timeout(DEADLINE, self.body.frame())
                .await
                .expect("an event in time")?;
            let data = frame.expect("a frame").into_data().expect("data");
            self.buffer.extend_from_slice(&data);
        }
    }

    /// The next event in short: type, name and resourceVersion.
    async fn short(&mut self) -> String {
        let event = self.next().await.expect("an event");
        let meta = &event["object"]["metadata"];
        let text = |v: &Value| v.as_str().unwrap_or("").to_owned();
        format!(
            "{} {} {}",
            text(&event["type"]),
            text(&meta["name"]),
            text(&meta["resourceVersion"])
        )
    }
}

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";

fn configmap(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"]
        .as_str()
        .and_then(|v| v.parse().ok())
        .expect("a resourceVersion")
}
