use k8s_openapi::api::core::v1::ObjectReference;

use super::super::WARNING;
use super::*;

fn message(object: &str, note: &str) -> Message {
    Message {
        regarding: ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: Some("x".to_owned()),
            name: Some(object.to_owned()),
            uid: Some(format!("uid-{object}")),
            ..ObjectReference::default()
        },
        type_: WARNING,
        reason: "Failed".to_owned(),
        action: String::new(),
        note: note.to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn short(write: Option<Write>) -> String {
    match write {
        None => "dropped".to_owned(),
        Some(Write::Create(event)) => format!("create {:?}", event.note),
        Some(Write::Patch(event)) => format!("patch {:?} x{}", event.note, event.count),
    }
}

#[tokio::test]
async fn equal_events_raise_a_count_and_similar_ones_are_combined_into_one() {
    let mut correlator = Correlator::default();
    let now = Instant::now();
    let mut tell = |note: &str| short(correlator.correlate(&message("web", note), now));
    assert_eq!(tell("attempt 1"), r#"create "attempt 1""#);
    assert_eq!(tell("attempt 1"), r#"patch "attempt 1" x2"#);
    for n in 2..=9 {
        assert_eq!(
            tell(&format!("attempt {n}")),
            format!("create \"attempt {n}\"")
        );
    }
    assert_eq!(
        tell("attempt 10"),
        r#"create "(combined from similar events): attempt 10""#
    );
    for n in 11..=14 {
        let expected = format!(
            "patch \"(combined from similar events): attempt {n}\" x{}",
            n - 9
        );
        assert_eq!(tell(&format!("attempt {n}")), expected);
    }
}

#[tokio::test]
async fn combining_ends_when_there_was_peace_for_long() {
    let mut correlator = Correlator::default();
    let now = Instant::now();
    for n in 0..12 {
        correlator.correlate(&message("web", &format!("attempt {n}")), now);
    }
    let later = now + COMBINE_WINDOW + Duration::from_secs(1);
    let write = correlator.correlate(&message("web", "anew"), later);
    assert_eq!(short(write), r#"create "anew""#);
}

#[tokio::test]
async fn an_object_has_a_share_and_earns_more() {
    let mut correlator = Correlator::default();
    let now = Instant::now();
    for _ in 0..25 {
        assert!(
            correlator
                .correlate(&message("web", "again"), now)
                .is_some()
        );
    }
    for _ in 0..5 {
        assert!(
            correlator
                .correlate(&message("web", "again"), now)
                .is_none()
        );
    }
    assert!(
        correlator
            .correlate(&message("other", "again"), now)
            .is_some()
    );
    let later = now + REFILL;
    assert_eq!(
        short(correlator.correlate(&message("web", "again"), later)),
        r#"patch "again" x31"#,
        "what was dropped is counted"
    );
    assert!(
        correlator
            .correlate(&message("web", "again"), later)
            .is_none()
    );
}

/// More objects than are remembered: only the one that was quiet for the longest time is forgotten.
#[tokio::test]
async fn memory_is_bounded_and_forgets_the_oldest_only() {
    let mut correlator = Correlator::default();
    let now = Instant::now();
    for n in 0..OBJECTS.get() {
        correlator.correlate(&message(&format!("pod-{n}"), "started"), now);
    }
    correlator.correlate(&message("pod-0", "started"), now);
    correlator.correlate(&message("one-more", "started"), now);
    assert_eq!(correlator.objects.len(), OBJECTS.get());
    for (object, expected) in [
        ("pod-0", r#"patch "started" x3"#),
        ("pod-2", r#"patch "started" x2"#),
        ("pod-4095", r#"patch "started" x2"#),
        ("pod-1", r#"create "started""#),
    ] {
        let write = correlator.correlate(&message(object, "started"), now);
        assert_eq!(short(write), expected, "{object}");
    }
    let mut at = now;
    for n in 0..1000 {
        at += REFILL;
        let mut message = message("busy", &format!("note {n}"));
        message.reason = format!("Reason{n}");
        correlator.correlate(&message, at);
    }
    let busy = correlator.objects.get(&ObjectKey::of(&message("busy", "")));
    let busy = busy.expect("remembered");
    assert_eq!(
        (busy.counted.len(), busy.groups.len()),
        (EVENTS_PER_OBJECT, GROUPS_PER_OBJECT)
    );
}
