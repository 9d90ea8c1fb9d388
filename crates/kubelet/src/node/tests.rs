use std::sync::Mutex;

use http::{Request, Response};
use http_body_util::BodyExt;
use serde_json::Value;

use super::*;
use crate::{
    config::Config,
    testing::{self, fake::Fake, object},
};

const ANNOTATION: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

/// What a kubelet writes to register, where the API has this node already or none.
async fn written(there: Option<Value>) -> Vec<(String, Value)> {
    let dir = tempfile::tempdir().unwrap();
    Fake::default().serve(&dir.path().join("cri.sock"));
    let asked: std::sync::Arc<Mutex<Vec<(String, Value)>>> = Default::default();
    let seen = asked.clone();
    let service = tower::service_fn(move |request: Request<kube::client::Body>| {
        let (seen, there) = (seen.clone(), there.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let conflict = json!({ "kind": "Status", "status": "Failure", "reason": "AlreadyExists", "code": 409, "message": "it is there" });
            let (code, answer) = match (parts.method.as_str(), there) {
                ("POST", Some(_)) => (409, conflict),
                ("GET", Some(there)) => (200, there),
                _ => (200, json!({ "metadata": { "name": "n1" } })),
            };
            seen.lock().unwrap().push((parts.method.to_string(), body));
            let answer = kube::client::Body::from(answer.to_string().into_bytes());
            let answer = Response::builder().status(code).body(answer).unwrap();
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let client = kube::Client::new(service, "default");
    let ctx = testing::context(client, Config::default(), dir.path()).await;
    try_register(&ctx, 10_250).await.unwrap();
    let asked = asked.lock().unwrap().clone();
    asked
        .into_iter()
        .filter(|(method, _)| method != "GET")
        .collect()
}

#[tokio::test]
async fn a_node_says_who_attaches_its_volumes() {
    let made = written(None).await;
    let (method, node) = &made[0];
    assert_eq!(method, "POST");
    let labels = node["metadata"]["labels"].clone();
    assert_eq!(
        node["metadata"]["annotations"],
        json!({ ANNOTATION: "true" })
    );
    // One that is there is put right, and no more is written of it than that.
    let there =
        json!({ "metadata": { "name": "n1", "labels": labels, "annotations": { "x/y": "z" } } });
    let changed = written(Some(there.clone())).await;
    let wanted = json!({ "metadata": { "labels": {}, "annotations": { ANNOTATION: "true" } } });
    assert_eq!(changed.last(), Some(&("PATCH".to_owned(), wanted)));
    let mut right = there;
    right["metadata"]["annotations"][ANNOTATION] = json!("true");
    let writes = written(Some(right)).await;
    assert!(
        writes.iter().all(|(method, _)| method != "PATCH"),
        "{writes:?}"
    );
}

/// Or a node's getting ready would be told twice: the informer hears of it after the answer to the write.
#[test]
fn what_was_written_counts_until_the_informer_has_it() {
    let node = |uid: &str, version: &str| -> Node {
        object(json!({ "metadata": { "name": "n1", "uid": uid, "resourceVersion": version } }))
    };
    for (written, seen, is_written) in [
        (node("u", "10"), node("u", "9"), true),
        (node("u", "10"), node("u", "10"), false),
        (node("u", "9"), node("u", "10"), false),
        // Another cluster's state, which an earlier revision was restored to.
        (node("u", "10"), node("v", "3"), false),
    ] {
        let wanted = if is_written { &written } else { &seen };
        assert_eq!(&newest(written.clone(), &seen), wanted);
    }
}
