use serde_json::{Value, json};

use super::*;
use crate::events::{NORMAL, WARNING};
use crate::fake::{self, Server};

fn pod(version: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some("x".to_owned()),
        name: Some("web".to_owned()),
        resource_version: Some(version.to_owned()),
        ..ObjectReference::default()
    }
}

fn recorder() -> (Recorder, Server) {
    let (client, server) = fake::client();
    (Recorder::of_host(client, "default-scheduler", "n1"), server)
}

fn unschedulable(recorder: &Recorder, version: &str, note: &str) {
    recorder.event(
        &pod(version),
        WARNING,
        "FailedScheduling",
        "Scheduling",
        note,
    );
}

#[tokio::test(start_paused = true)]
async fn an_event_has_a_time_and_an_action_and_no_source() {
    let (recorder, mut server) = recorder();
    recorder.event(
        &pod("1"),
        NORMAL,
        "Scheduled",
        "Binding",
        "Successfully assigned x/web to n1",
    );
    let created = server.next().await;
    assert_eq!(
        (created.method.as_str(), created.uri.as_str()),
        ("POST", "/apis/events.k8s.io/v1/namespaces/x/events?")
    );
    let mut body = created.body.clone();
    let name = body["metadata"]["name"].take();
    assert!(name.as_str().is_some_and(|name| name.starts_with("web.")));
    assert!(body["eventTime"].take().is_string());
    assert_eq!(
        body,
        json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event",
            "metadata": {"name": null, "namespace": "x"},
            "eventTime": null, "type": "Normal", "reason": "Scheduled", "action": "Binding",
            "note": "Successfully assigned x/web to n1",
            "reportingController": "default-scheduler", "reportingInstance": "default-scheduler-n1",
            "regarding": {"apiVersion": "v1", "kind": "Pod", "namespace": "x", "name": "web", "resourceVersion": "1"},
        })
    );
}

#[tokio::test(start_paused = true)]
async fn the_first_repeat_makes_a_series() {
    let (recorder, mut server) = recorder();
    unschedulable(&recorder, "1", "no node");
    let created = server.next().await;
    let (name, body) = (
        created.body["metadata"]["name"].clone(),
        created.body.clone(),
    );
    created.answer(201, &body);
    unschedulable(&recorder, "1", "still no node");
    let patched = server.next().await;
    assert_eq!(patched.method, "PATCH");
    assert!(patched.uri.contains(name.as_str().expect("a name")));
    assert_eq!(patched.body["series"]["count"], 2);
    assert!(patched.body["series"]["lastObservedTime"].is_string());
    patched.answer(200, &body);
    // More repeats wait for their time; another state of the pod is another event.
    unschedulable(&recorder, "1", "no node");
    unschedulable(&recorder, "2", "no node");
    let other = server.next().await;
    assert_eq!(
        (other.method.as_str(), &other.body["series"]),
        ("POST", &Value::Null)
    );
    let body = other.body.clone();
    other.answer(201, &body);
    // The series has ended.
    let last = server.next().await;
    assert_eq!(
        (last.method.as_str(), &last.body["series"]["count"]),
        ("PATCH", &json!(3))
    );
    assert!(last.uri.contains(name.as_str().expect("a name")));
    last.answer(
        404,
        &json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "gone"}),
    );
    let again = server.next().await;
    assert_eq!(
        (again.method.as_str(), &again.body["series"]["count"]),
        ("POST", &json!(3))
    );
    assert_eq!(again.body["metadata"]["name"], name);
}
