use super::*;
use crate::fake;

fn pod() -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".to_owned()),
        namespace: Some("x".to_owned()),
        name: Some("web".to_owned()),
        uid: Some("u1".to_owned()),
        ..ObjectReference::default()
    }
}

#[tokio::test(start_paused = true)]
async fn repeats_raise_the_count_of_one_event() {
    let (client, mut server) = fake::client();
    let recorder = Recorder::new(client, "kubelet", "n1");
    recorder.event(&pod(), NORMAL, "Started", "Started container");
    let created = server.next().await;
    assert_eq!(
        (created.method.as_str(), created.uri.as_str()),
        ("POST", "/api/v1/namespaces/x/events?")
    );
    let body = created.body.clone();
    let name = body["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    assert!(name.starts_with("web."), "{name}");
    assert_eq!(body["count"], 1);
    assert_eq!(
        body["source"],
        serde_json::json!({"component": "kubelet", "host": "n1"})
    );
    assert_eq!(
        (&body["reportingComponent"], &body["reportingInstance"]),
        (&"kubelet".into(), &"n1".into())
    );
    assert_eq!(
        (&body["type"], &body["reason"], &body["message"]),
        (
            &"Normal".into(),
            &"Started".into(),
            &"Started container".into()
        )
    );
    assert_eq!(body["involvedObject"]["uid"], "u1");
    assert!(body.get("action").is_none(), "the first API has no action");
    created.answer(201, &body);
    recorder.event(&pod(), NORMAL, "Started", "Started container");
    let patched = server.next().await;
    assert_eq!(patched.method, "PATCH");
    assert!(patched.uri.contains(&name), "{}", patched.uri);
    assert_eq!(patched.body["count"], 2);
    // Its time was over: it is made again, and goes on counting.
    patched.answer(404, &serde_json::json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "gone"}));
    let again = server.next().await;
    assert_eq!(again.body["metadata"]["name"], name.as_str());
    assert_eq!(
        (again.method.as_str(), &again.body["count"]),
        ("POST", &2.into())
    );
}

#[test]
fn long_notes_are_cut_between_characters() {
    assert_eq!(truncate("short".to_owned()), "short");
    let cut = truncate("é".repeat(NOTE_BYTES));
    assert!(
        cut.len() <= NOTE_BYTES && cut.ends_with("é..."),
        "{} bytes",
        cut.len()
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_combined_does_not_say_who_reports_it() {
    let (client, mut server) = fake::client();
    let recorder = Recorder::new(client, "replicaset-controller", "");
    for attempt in 1..=10 {
        let note = format!("attempt {attempt}");
        recorder.event(&pod(), WARNING, "FailedCreate", note);
        let created = server.next().await;
        let body = created.body.clone();
        created.answer(201, &body);
        let (reporting, component) = (&body["reportingComponent"], &body["source"]["component"]);
        let expected = if attempt == 10 {
            ""
        } else {
            "replicaset-controller"
        };
        assert_eq!(
            (reporting, component),
            (&expected.into(), &"replicaset-controller".into())
        );
    }
}
