use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::json;

use super::*;
use crate::fixtures::object;

fn at(revision: &str) -> ConfigMap {
    object(json!({"metadata": {"name": "a", "resourceVersion": revision}}))
}

#[tokio::test(start_paused = true)]
async fn unseen_until_the_revision_or_a_later_one_is_there() {
    let (written, key) = (Written::default(), Key::new("x", "k"));
    assert_eq!(written.unseen(&key, |_| None), None);
    written.note(&key, "a", &at("7"));
    written.note(&key, "b", &at("9"));
    assert!(written.unseen(&key, |_| None).is_some());
    assert!(
        written
            .unseen(&key, |name| Some(if name == "a" { 7 } else { 8 }))
            .is_some()
    );
    assert_eq!(written.unseen(&key, |_| Some(12)), None);
    assert_eq!(written.unseen(&key, |_| None), None, "seen once is enough");
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_or_old_is_not_waited_for() {
    let (written, key) = (Written::default(), Key::new("x", "k"));
    written.note(&key, "a", &at("7"));
    written.forget_object(&key, "a");
    assert_eq!(written.unseen(&key, |_| None), None);
    written.note(&key, "a", &at("7"));
    tokio::time::advance(EXPIRY / 2).await;
    assert_eq!(written.unseen(&key, |_| None), Some(EXPIRY / 2));
    tokio::time::advance(EXPIRY / 2).await;
    assert_eq!(written.unseen(&key, |_| None), None);
    written.note(&key, "a", &at("not a number"));
    assert_eq!(written.unseen(&key, |_| None), None);
    written.note(&key, "a", &at("7"));
    written.forget(&key);
    assert_eq!(written.unseen(&key, |_| None), None);
}
