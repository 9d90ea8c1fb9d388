//! Sends a request to a server, and makes its answer comparable with that of another.

use std::{path::Path, sync::LazyLock, time::Duration};

use anyhow::{Result, ensure};
use http_body_util::BodyExt;
use knarr_testkit::{Identity, client_within, eventually_async};
use kube::client::Body;
use regex::Regex;
use serde_json::Value;

use super::objects::Example;

const DEADLINE: Duration = Duration::from_secs(60);
/// In bodies: the uid and the revision of the object that the request is about, which each server has its own of.
pub const UID: &str = "{UID}";
pub const REVISION: &str = "{REVISION}";
pub const JSON: &str = "application/json";
pub const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// What every body in protobuf starts with.
pub const MAGIC: &[u8] = b"k8s\0";

/// A request that both servers get.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What it tries, for the report.
    pub label: String,
    /// What differences are grouped by: `create`, `update`, `patch`.
    pub verb: &'static str,
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn new(verb: &'static str, method: &'static str, path: String) -> Self {
        Self {
            label: verb.to_owned(),
            verb,
            method,
            path,
            ..Self::default()
        }
    }

    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    pub fn accept(mut self, format: &str) -> Self {
        self.headers.push(("Accept", format.to_owned()));
        self
    }

    pub fn body(mut self, format: &str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.push(("Content-Type", format.to_owned()));
        self.body = body.into();
        self
    }

    pub fn json(self, body: &Value) -> Self {
        self.body(JSON, body.to_string())
    }
}

/// What a server said.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub code: u16,
    pub format: String,
    /// The texts of `Warning` headers, in order.
    pub warnings: Vec<String>,
    pub bytes: Vec<u8>,
    /// The body, where it is JSON; without what is of one server only.
    pub body: Value,
}

impl Answer {
    pub fn is_protobuf(&self) -> bool {
        self.bytes.starts_with(MAGIC)
    }
}

/// A server, as its administrator reaches it.
#[derive(Clone)]
pub struct Server {
    client: kube::Client,
}

impl Server {
    pub async fn new(namespace: &Path, kubeconfig: &Path) -> Result<Self> {
        let client = client_within(namespace.to_owned(), kubeconfig, &Identity::Admin).await?;
        Ok(Self { client })
    }

    /// The answer to a request about an example's object.
    pub async fn send(&self, request: &Request, example: &Example) -> Result<Answer> {
        let body = match std::str::from_utf8(&request.body) {
            Ok(text) if text.contains(UID) || text.contains(REVISION) => {
                self.filled_in(text, example).await?.into_bytes()
            }
            _ => request.body.clone(),
        };
        self.exchange(request, body).await
    }

    /// The answer to a request as it is.
    pub async fn ask(&self, request: &Request) -> Result<Answer> {
        self.exchange(request, request.body.clone()).await
    }

    /// The object of an example as the server has it, as a template that both servers understand.
    pub async fn stored(&self, example: &Example) -> Result<Option<Value>> {
        let Some(object) = self.get(example).await? else {
            return Ok(None);
        };
        let mut object = comparable(&object);
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
            metadata.insert("resourceVersion".to_owned(), Value::from(REVISION));
        }
        // Each server has taken it from its clock, and tells its own from another.
        if let Some(status) = object["status"].as_object_mut() {
            status.remove("lastPhaseTransitionTime");
        }
        Ok(Some(object))
    }

    /// Waits until a path can be read.
    pub async fn wait_for(&self, path: &str, deadline: Duration) -> Result<()> {
        eventually_async(deadline, path, async || {
            let request = Request::new("get", "GET", path.to_owned());
            let answer = self.exchange(&request, Vec::new()).await?;
            ensure!(answer.code == 200, "{}: {}", answer.code, answer.body);
            Ok(())
        })
        .await
    }

    /// Makes an object unless it is there.
    pub async fn ensure(&self, path: &str, body: &str) -> Result<()> {
        let request = Request::new("create", "POST", path.to_owned()).body(JSON, body);
        let answer = self.exchange(&request, request.body.clone()).await?;
        let made = matches!(answer.code, 201 | 409);
        ensure!(made, "POST {path}: {} {}", answer.code, answer.body);
        Ok(())
    }

    async fn get(&self, example: &Example) -> Result<Option<Value>> {
        let Some(path) = &example.path else {
            return Ok(None);
        };
        let request = Request::new("get", "GET", path.clone());
        let answer = self.exchange(&request, Vec::new()).await?;
        let object = serde_json::from_slice(&answer.bytes).ok();
        Ok(object.filter(|_| answer.code == 200))
    }

    async fn filled_in(&self, text: &str, example: &Example) -> Result<String> {
        let object = self.get(example).await?.unwrap_or_default();
        let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default();
        let text = text.replace(UID, field("uid"));
        Ok(text.replace(REVISION, field("resourceVersion")))
    }

    async fn exchange(&self, request: &Request, body: Vec<u8>) -> Result<Answer> {
        let mut builder = http::Request::builder()
            .method(request.method)
            .uri(&request.path)
            .header("User-Agent", "validation/1");
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let to_send = builder.body(Body::from(body))?;
        let answer = async {
            let response = self.client.send(to_send).await?;
            let (head, body) = response.into_parts();
            let bytes = body.collect().await?.to_bytes().to_vec();
            let text =
                |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
            let raw = serde_json::from_slice(&bytes).unwrap_or_else(|_| frames(&bytes));
            anyhow::Ok(Answer {
                code: head.status.as_u16(),
                format: head
                    .headers
                    .get("content-type")
                    .map(text)
                    .unwrap_or_default(),
                warnings: head.headers.get_all("warning").iter().map(text).collect(),
                body: comparable(&raw),
                bytes,
            })
        };
        // A connection that a server closes is an answer, too.
        let answer = tokio::time::timeout(DEADLINE, answer)
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time")));
        Ok(answer.unwrap_or_else(|error| Answer {
            bytes: format!("{error:#}")
                .lines()
                .take(3)
                .collect::<String>()
                .into_bytes(),
            ..Answer::default()
        }))
    }
}

/// The frames of a watch; `Null` where it is none.
fn frames(bytes: &[u8]) -> Value {
    let frames = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    match frames.collect::<Result<Vec<_>, _>>() {
        Ok(frames) if !frames.is_empty() => frames.into_iter().filter_map(told).collect(),
        _ => Value::Null,
    }
}

/// A frame, but for bookmarks that come by the clock. Of one that ends what was there at first this is its type: upstream fills the
/// rest with what Go's types are at first.
fn told(mut frame: Value) -> Option<Value> {
    if frame["type"] != "BOOKMARK" {
        return Some(frame);
    }
    if !frame.to_string().contains(INITIAL_EVENTS_END) {
        return None;
    }
    if let Some(object) = frame["object"].as_object_mut() {
        object.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind"));
    }
    Some(frame)
}

/// The annotation of the bookmark after what was there at first.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Fields of metadata that no two servers have in common.
const OF_ONE_SERVER: [&str; 3] = ["creationTimestamp", "resourceVersion", "selfLink"];

/// An answer without what differs between any two servers: times, revisions, uids, suffixes of made names.
pub fn comparable(body: &Value) -> Value {
    match body {
        Value::Object(map) => {
            let mut copy = serde_json::Map::new();
            for (key, value) in map {
                let value = match key.as_str() {
                    "metadata" => metadata(value),
                    "time" if map.contains_key("fieldsV1") => Value::from("<time>"),
                    // Those of one second stand in the order of their names, and a second may end between any two writes; rules
                    // stand in that of a Go map.
                    "managedFields" | "resourceRules" | "nonResourceRules" => in_order(value),
                    "items" if map.get("kind") == Some(&Value::from("ComponentStatusList")) => {
                        in_order(value)
                    }
                    _ => comparable(value),
                };
                copy.insert(key.clone(), value);
            }
            Value::Object(copy)
        }
        Value::Array(list) => list.iter().map(comparable).collect(),
        Value::String(text) => Value::from(general(text)),
        other => other.clone(),
    }
}

/// A list whose order means nothing, in the order of what it holds.
fn in_order(value: &Value) -> Value {
    let mut copy = comparable(value);
    if let Some(list) = copy.as_array_mut() {
        list.sort_by_cached_key(Value::to_string);
    }
    copy
}

fn metadata(value: &Value) -> Value {
    let mut copy = comparable(value);
    if let Some(map) = copy.as_object_mut() {
        for field in OF_ONE_SERVER {
            map.remove(field);
        }
        if map.contains_key("deletionTimestamp") {
            map.insert("deletionTimestamp".to_owned(), Value::from("<time>"));
        }
    }
    copy
}

/// A text with a word for each uid, hash of a certificate and made name.
pub fn general(text: &str) -> String {
    static UIDS: LazyLock<Regex> = LazyLock::new(|| {
        let digits = "[0-9a-f]";
        let pattern = format!("{digits}{{8}}(-{digits}{{4}}){{3}}-{digits}{{12}}");
        Regex::new(&pattern).expect("it is a pattern")
    });
    static TOKENS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("kube-api-access-[a-z0-9]{5}").expect("it is a pattern"));
    static CREDENTIALS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("X509SHA256=[0-9a-f]{64}").expect("it is a pattern"));
    let text = UIDS.replace_all(text, UID);
    let text = CREDENTIALS.replace_all(&text, "X509SHA256=<hash>");
    TOKENS
        .replace_all(&text, "kube-api-access-<made>")
        .into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_of_one_server_is_not_compared() {
        let of = |uid: &str, time: &str, revision: &str| {
            json!({
                "metadata": {
                    "uid": uid, "creationTimestamp": time, "resourceVersion": revision, "name": "a",
                    "managedFields": [{"time": time, "fieldsV1": {"f:a": {}}}],
                    "labels": {"controller-uid": uid},
                },
                "spec": {"time": "12:00"},
            })
        };
        let a = of(
            "11111111-2222-3333-4444-555555555555",
            "2026-01-01T00:00:00Z",
            "1",
        );
        let b = of(
            "aaaaaaaa-2222-3333-4444-555555555555",
            "2027-01-01T00:00:00Z",
            "2",
        );
        assert_eq!(comparable(&a), comparable(&b));
        assert_eq!(comparable(&a)["metadata"]["labels"]["controller-uid"], UID);
        let other = of("11111111-2222-3333-4444-555555555555", "", "").to_string();
        let other = other.replace("\"a\"", "\"b\"");
        let other: Value = serde_json::from_str(&other).unwrap();
        assert_ne!(comparable(&a), comparable(&other));
    }
}
