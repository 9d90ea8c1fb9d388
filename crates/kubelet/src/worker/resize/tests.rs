use serde_json::json;

use super::*;
use crate::testing::pod;

#[test]
fn events_say_what_is_changed() {
    let resources = json!({ "limits": { "cpu": "200m" }, "requests": { "cpu": "100m" } });
    let pod = pod(json!({
        "initContainers": [{ "name": "i", "resources": resources }],
        "containers": [{ "name": "a" }],
    }));
    assert_eq!(
        summary(&pod, Some(2), ""),
        r#"{"initContainers":[{"name":"i","resources":{"limits":{"cpu":"200m"},"requests":{"cpu":"100m"}}}],"containers":[{"name":"a","resources":{}}],"generation":2}"#
    );
    assert!(summary(&pod, Some(2), "no").ends_with(r#""generation":2,"error":"no"}"#));
}

#[test]
fn what_was_told_is_taken_over() {
    let mut pod = pod(json!({ "containers": [{ "name": "a" }] }));
    assert_eq!(adopt(&pod), Resize::default());
    pod.status = Some(crate::testing::object(json!({ "conditions": [
        { "type": "Ready", "status": "True" },
        { "type": PENDING, "status": "True", "reason": DEFERRED, "message": "later", "observedGeneration": 3,
          "lastTransitionTime": "1970-01-01T00:00:09Z" },
    ] })));
    let pending = adopt(&pod).pending.unwrap();
    assert_eq!(
        (pending.generation, pending.since.as_second()),
        (Some(3), 9)
    );
    assert_eq!(
        (pending.reason, pending.message),
        (DEFERRED.to_owned(), "later".to_owned())
    );
}
