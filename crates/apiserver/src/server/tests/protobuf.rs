//! Answers in protobuf: the same as those in JSON.

use super::*;
use crate::protobuf::{CONTENT_TYPE, decode};

/// An answer whose body is bytes.
struct Raw {
    code: u16,
    content_type: String,
    body: Bytes,
}

impl Raw {
    fn decode(&self) -> Value {
        assert_eq!(self.content_type, CONTENT_TYPE, "{:?}", self.body);
        decode(&self.body, ("", "")).expect("an object in protobuf")
    }
}

impl Cluster {
    async fn raw(&self, uri: &str, accept: &str) -> Raw {
        self.raw_call(Method::GET, uri, accept, Value::Null).await
    }

    async fn raw_call(&self, method: Method, uri: &str, accept: &str, body: Value) -> Raw {
        let bytes = match body {
            Value::Null => Bytes::new(),
            body => Bytes::from(body.to_string()),
        };
        let content_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header("accept", accept)
            .header("content-type", content_type);
        let request = request.body(Full::new(bytes)).expect("a request");
        let (parts, body) = self.send(request).await.into_parts();
        Raw {
            code: parts.status.as_u16(),
            content_type: parts.headers["content-type"]
                .to_str()
                .expect("a text")
                .to_owned(),
            body: body.collect().await.expect("a body").to_bytes(),
        }
    }
}

/// The fields of a message whose values are bytes.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let number = |bytes: &mut &[u8]| {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let (byte, rest) = bytes.split_first().expect("a whole number");
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return value;
            }
        }
    };
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes);
        // A length, or a value.
        let length = number(&mut bytes);
        if tag & 7 == 2 {
            let (field, rest) = bytes.split_at(length as usize);
            found.push((tag >> 3, field));
            bytes = rest;
        }
    }
    found
}

/// The items of a list's body, and its metadata, with the type that the body says.
fn list<'b>(body: &'b [u8], item: (&str, &str)) -> (String, &'b [u8], Vec<Value>) {
    let unknown = fields(body.strip_prefix(b"k8s\0").expect("the magic bytes"));
    let types = fields(unknown[0].1);
    let types = types.iter().map(|(_, text)| String::from_utf8_lossy(text));
    let types: Vec<_> = types.collect();
    let content = fields(unknown[1].1);
    let items = content.iter().filter(|(number, _)| *number == 2);
    let items = items.map(|(_, bytes)| decode(&wrapped(item, bytes), ("", "")).expect("an item"));
    (types.join(" "), content[0].1, items.collect())
}

fn wrapped((api_version, kind): (&str, &str), content: &[u8]) -> Vec<u8> {
    let envelope = crate::protobuf::Envelope::new(api_version, kind);
    let mut out = bytes::BytesMut::new();
    envelope.open(&mut out, content.len());
    out.extend_from_slice(content);
    envelope.close(&mut out);
    out.to_vec()
}

/// Events of a stream in protobuf: types, and objects with their types.
async fn events(body: &mut Body, count: usize) -> Vec<(String, Value)> {
    let (mut buffer, mut found) = (Vec::new(), Vec::new());
    loop {
        while let Some((length, rest)) = buffer.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some((event, rest)) = rest.split_at_checked(length) else {
                break;
            };
            let event = fields(event);
            let object = fields(event[1].1)[0].1;
            let kind = String::from_utf8_lossy(event[0].1).into_owned();
            found.push((kind, decode(object, ("", "")).expect("an object")));
            buffer = rest.to_vec();
        }
        if found.len() >= count {
            return found;
        }
        let frame = tokio::time::timeout(DEADLINE, body.frame())
            .await
            .expect("an event in time")
            .expect("more events");
        let data = frame.expect("a frame").into_data().expect("data");
        buffer.extend_from_slice(&data);
    }
}

const CLIENT_GO: &str = "application/vnd.kubernetes.protobuf,application/json";

#[tokio::test(flavor = "multi_thread")]
async fn objects_and_lists_are_those_of_json() {
    let cluster = Cluster::new().await;
    let made = json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "data": {"k": "v"}, "binaryData": {"b": "AAE="}});
    let created = cluster
        .raw_call(Method::POST, CONFIGMAPS, CLIENT_GO, made)
        .await;
    assert_eq!(created.code, 201);
    let one = format!("{CONFIGMAPS}/a");
    let json = cluster.get(&one).await.body;
    assert_eq!(created.decode(), json);
    // What is kept is written with its revision, twice alike.
    for _ in 0..2 {
        assert_eq!(cluster.raw(&one, CLIENT_GO).await.decode(), json);
    }
    let patch = json!({"data": {"k": "w"}});
    let patched = cluster
        .raw_call(Method::PATCH, &one, CLIENT_GO, patch)
        .await;
    assert_eq!(patched.decode(), cluster.get(&one).await.body);
    cluster.create(CONFIGMAPS, configmap("b")).await;
    let listed = cluster.get(CONFIGMAPS).await.body;
    let raw = cluster.raw(CONFIGMAPS, CLIENT_GO).await;
    let (kind, meta, mut items) = list(&raw.body, ("v1", "ConfigMap"));
    assert_eq!(kind, "v1 ConfigMapList");
    let revision = listed["metadata"]["resourceVersion"].as_str();
    let field = (2, revision.expect("a revision").as_bytes());
    assert_eq!(fields(meta)[1], field);
    for item in &mut items {
        let item = item.as_object_mut().expect("an object");
        item.remove("kind");
        item.remove("apiVersion");
    }
    assert_eq!(Value::Array(items), listed["items"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_discovery_and_other_versions_too() {
    let cluster = Cluster::new().await;
    let missing = cluster.raw(&format!("{CONFIGMAPS}/none"), CLIENT_GO).await;
    assert_eq!(missing.code, 404);
    let json = cluster.get(&format!("{CONFIGMAPS}/none")).await.body;
    assert_eq!(missing.decode(), json);
    let found = cluster.raw("/apis/apps/v1", CLIENT_GO).await.decode();
    assert_eq!(found["groupVersion"], "apps/v1");
    let version = cluster.raw("/version", CLIENT_GO).await;
    assert_eq!(version.content_type, "application/json");
    let event = json!({
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"},
        "reason": "Started", "message": "text", "type": "Normal",
    });
    cluster
        .create("/api/v1/namespaces/default/events", event)
        .await;
    let uri = "/apis/events.k8s.io/v1/namespaces/default/events";
    let event = cluster.raw(&format!("{uri}/e"), CLIENT_GO).await.decode();
    assert_eq!(event["apiVersion"], "events.k8s.io/v1");
    assert_eq!(event["note"], "text");
    let raw = cluster.raw(uri, CLIENT_GO).await;
    let (kind, _, items) = list(&raw.body, ("events.k8s.io/v1", "Event"));
    assert_eq!(
        (kind.as_str(), &items[0]["note"]),
        ("events.k8s.io/v1 EventList", &json!("text"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_sends_frames_with_bookmarks() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let uri = format!(
        "{CONFIGMAPS}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
    );
    let accept = "application/vnd.kubernetes.protobuf;stream=watch";
    let request = Request::get(uri).header("accept", accept);
    let request = request.body(Full::default()).expect("a request");
    let response = cluster.send(request).await;
    assert_eq!(response.headers()["content-type"], accept);
    let mut body = response.into_body();
    let initial = events(&mut body, 2).await;
    let a = cluster.get(&format!("{CONFIGMAPS}/a")).await.body;
    assert_eq!(initial[0], ("ADDED".to_owned(), a.clone()));
    let (kind, bookmark) = &initial[1];
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(bookmark["kind"], "ConfigMap");
    let ended = &bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"];
    assert_eq!(ended, "true");
    let gone = cluster
        .call(Method::DELETE, &format!("{CONFIGMAPS}/a"), Value::Null)
        .await;
    assert_eq!(gone.code, 200);
    let (kind, deleted) = events(&mut body, 1).await.remove(0);
    assert_eq!(kind, "DELETED");
    assert!(version(&deleted) > version(&a));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_of_a_watch_is_an_event() {
    let cluster = Cluster::new().await;
    let uri = format!("{CONFIGMAPS}?watch=1&resourceVersion=999999&timeoutSeconds=1");
    // The future never comes: the answer is empty, or an error; it must not be JSON.
    let raw = cluster.raw(&uri, CLIENT_GO).await;
    assert!(!raw.body.starts_with(b"{"), "{:?}", raw.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_alone_is_there_for_every_kind() {
    let cluster = Cluster::new().await;
    cluster.create(CONFIGMAPS, configmap("a")).await;
    let accept = |kind: &str| format!("{CONTENT_TYPE};as={kind};g=meta.k8s.io;v=v1");
    let uri = format!("{CONFIGMAPS}/a");
    let partial = cluster
        .raw(&uri, &accept("PartialObjectMetadata"))
        .await
        .decode();
    let json = cluster.get(&uri).await.body;
    assert_eq!(partial["kind"], "PartialObjectMetadata");
    assert_eq!(partial["metadata"], json["metadata"]);
    let raw = cluster
        .raw(CONFIGMAPS, &accept("PartialObjectMetadataList"))
        .await;
    let item = ("meta.k8s.io/v1", "PartialObjectMetadata");
    let (kind, _, items) = list(&raw.body, item);
    assert_eq!(kind, "meta.k8s.io/v1 PartialObjectMetadataList");
    assert_eq!(items, [partial]);
}
