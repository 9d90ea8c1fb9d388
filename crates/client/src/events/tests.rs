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
    recorder.event(&pod(), NORMAL, "Started", "", "Started container");
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
    assert!(body.get("action").is_none(), "an empty action is none");
    created.answer(201, &body);
    recorder.event(&pod(), NORMAL, "Started", "", "Started container");
    let patched = server.next().await;
    assert_eq!(patched.method, "PATCH");
    assert!(patched.uri.contains(&name), "{}", patched.uri);
    assert_eq!(patched.body["count"], 2);
    // Its time was over: the next one begins anew.
    patched.answer(404, &serde_json::json!({"kind": "Status", "code": 404, "reason": "NotFound", "message": "gone"}));
    let again = server.next().await;
    assert_eq!(
        (again.method.as_str(), &again.body["count"]),
        ("POST", &1.into())
    );
}

fn writer() -> Writer {
    let (client, _) = fake::client();
    Writer {
        client,
        component: "c".into(),
        instance: "".into(),
        similar: HashMap::new(),
        written: HashMap::new(),
        tokens: HashMap::new(),
    }
}

fn message(note: &str) -> Message {
    Message {
        regarding: pod(),
        type_: WARNING,
        reason: "Failed".to_owned(),
        action: String::new(),
        note: note.to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

#[tokio::test]
async fn many_similar_events_are_combined_and_then_dropped() {
    let mut writer = writer();
    let now = Instant::now();
    let notes: Vec<Option<String>> = (0..30)
        .map(|i| {
            writer
                .correlate(&message(&format!("attempt {i}")), now)
                .map(|(_, note)| note)
        })
        .collect();
    assert_eq!(notes[9].as_deref(), Some("attempt 9"));
    assert_eq!(
        notes[10].as_deref(),
        Some("(combined from similar events): attempt 10")
    );
    assert_eq!(
        (notes[24].is_some(), notes[25].is_some()),
        (true, false),
        "the burst of 25 is used up"
    );
    let later = now + REFILL;
    assert!(writer.correlate(&message("again"), later).is_some());
    assert!(
        writer.correlate(&message("again"), later).is_none(),
        "one more each five minutes"
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
