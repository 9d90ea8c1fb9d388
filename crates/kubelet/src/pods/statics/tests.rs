use serde_json::json;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::*;
use crate::testing::{self, fake::Fake, object};

/// An API that never answers.
fn away() -> kube::Client {
    let service = tower::service_fn(|_: http::Request<kube::client::Body>| async {
        std::future::pending::<Result<http::Response<kube::client::Body>, std::convert::Infallible>>()
            .await
    });
    kube::Client::new(service, "default")
}

fn pod(uid: &str, container: &str) -> Pod {
    object(json!({
        "metadata": {
            "name": "web-n1", "namespace": "default", "uid": uid,
            "annotations": { HASH: uid, SOURCE: "file" },
        },
        "spec": { "terminationGracePeriodSeconds": 7, "containers": [{ "name": container, "image": "img:1" }] },
    }))
}

#[tokio::test]
async fn they_need_no_api() {
    let fake = Fake::default();
    let dir = tempfile::tempdir().unwrap();
    fake.serve(&dir.path().join("cri.sock"));
    let ctx = testing::context(away(), crate::Config::default(), dir.path()).await;
    let token = CancellationToken::new();
    let stream = ctx.runtime.events().await.unwrap();
    ctx.observed.relist().await.unwrap();
    tokio::spawn(ctx.observed.clone().follow(Some(stream), token.clone()));
    let pods = Pods::new(ctx.clone(), TaskTracker::new(), token.clone());
    pods.set(Source::File, vec![pod("1", "a")]);
    fake.until_asked("start a-0").await;
    assert!(super::super::find(&ctx, "default", "web-n1").is_some());
    // The next one starts when nothing of the first is left.
    pods.set(Source::File, vec![pod("2", "b")]);
    fake.until_asked("start b-0").await;
    let log = fake.state(|state| state.log.clone());
    let at = |what: &str| log.iter().position(|asked| asked == what);
    assert!(at("stop a-0 7") < at("remove a-0"), "{log:?}");
    assert!(
        at("remove a-0").is_some() && at("remove a-0") < at("create b-0"),
        "{log:?}"
    );
    pods.set(Source::File, Vec::new());
    fake.until_asked("remove b-0").await;
    token.cancel();
}
