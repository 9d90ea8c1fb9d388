use knarr_auth::request::Selectors;
use serde_json::json;

use super::*;
use crate::cache::entry::encode;

fn state(app: Option<&str>, revision: u64) -> Option<Arc<Entry>> {
    let app = app?;
    let kind = knarr_api::built_in("", "v1", "pods").expect("a core kind");
    let tree = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "namespace": "n", "labels": {"app": app}}});
    Some(Arc::new(
        Entry::new(kind, "n/a".into(), revision, encode(&tree)).expect("an object"),
    ))
}

fn event(revision: u64, old: Option<&str>, new: Option<&str>) -> RingEvent {
    RingEvent::new(revision, state(new, revision), state(old, revision - 1))
}

#[test]
fn forgets_what_is_no_history_any_more() {
    let mut ring = Ring::new(1, 10);
    for revision in 2..=6 {
        ring.push(Arc::new(event(revision, None, Some("a"))));
    }
    ring.forget(4);
    assert_eq!(
        (ring.floor(), ring.after(3), ring.after(4)),
        (4, None, Some(3))
    );
    ring.forget(4);
    ring.forget(9);
    assert_eq!((ring.floor(), ring.bytes), (6, 0));
    assert_eq!((ring.after(6), ring.end()), (Some(5), 5));
    assert_eq!(ring.push(Arc::new(event(7, None, Some("a")))), 5);
    assert_eq!(ring.after(6), Some(5));
}

#[test]
fn selector_transitions_become_added_and_deleted() {
    let kind = knarr_api::built_in("", "v1", "pods").expect("a core kind");
    let filter = Filter::new(
        kind,
        "n",
        &Selectors::parse("app=x", "").expect("selectors"),
    )
    .expect("a filter");
    for (old, new, seen) in [
        (None, Some("x"), Some(Kind::Added)),
        (None, Some("y"), None),
        (Some("x"), Some("x"), Some(Kind::Modified)),
        (Some("y"), Some("x"), Some(Kind::Added)),
        (Some("x"), Some("y"), Some(Kind::Deleted)),
        (Some("y"), Some("y"), None),
        (Some("x"), None, Some(Kind::Deleted)),
        (Some("y"), None, None),
    ] {
        let event = event(9, old, new);
        let got = event.seen_by(&filter);
        assert_eq!(got.map(|(kind, _)| kind), seen, "{old:?} -> {new:?}");
        if let Some((Kind::Deleted, state)) = got {
            assert_eq!(state.label("app"), Some("x"), "the last matching state");
        }
    }
}

#[test]
fn deleted_frames_carry_the_deletions_revision() {
    let event = event(9, Some("x"), None);
    let frame = event.frame(Kind::Deleted).expect("a frame");
    assert!(frame.ends_with(b"}\n"));
    let frame: serde_json::Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(frame["type"], "DELETED");
    assert_eq!(frame["object"]["metadata"]["resourceVersion"], "9");
    assert!(event.frame(Kind::Added).is_none());
}

#[test]
fn forgets_the_oldest_and_knows_it() {
    let mut ring = Ring::new(10, 3);
    assert_eq!(
        (ring.after(9), ring.after(10), ring.after(11)),
        (None, Some(0), Some(0))
    );
    for revision in [11, 13, 15, 17, 19] {
        ring.push(Arc::new(event(revision, None, Some("x"))));
    }
    assert_eq!(ring.floor(), 13);
    assert_eq!(ring.end(), 5);
    for (revision, position) in [
        (12, None),
        (13, Some(2)),
        (14, Some(2)),
        (15, Some(3)),
        (18, Some(4)),
        (19, Some(5)),
        (99, Some(5)),
    ] {
        assert_eq!(ring.after(revision), position, "after {revision}");
    }
    assert!(ring.from(1).is_none());
    let revisions = |from| -> Vec<u64> {
        ring.from(from)
            .expect("in the ring")
            .map(|e| e.revision)
            .collect()
    };
    assert_eq!(
        (revisions(2), revisions(4), revisions(9)),
        (vec![15, 17, 19], vec![19], vec![])
    );
    let newest: Vec<u64> = ring
        .newest_down_to(15)
        .expect("in the ring")
        .map(|e| e.revision)
        .collect();
    assert_eq!(newest, [19, 17]);
}

#[test]
fn keeps_within_its_bytes() {
    let kind = knarr_api::built_in("", "v1", "configmaps").expect("a core kind");
    let big = "x".repeat(RING_BYTES / 4);
    let mut ring = Ring::new(1, RING_EVENTS);
    for revision in 2..10 {
        let tree = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}, "data": {"a": big}});
        let entry = Entry::new(kind, "n/a".into(), revision, encode(&tree)).expect("an object");
        ring.push(Arc::new(RingEvent::new(
            revision,
            Some(Arc::new(entry)),
            None,
        )));
    }
    assert_eq!(ring.end(), 8);
    assert_eq!(ring.floor(), 6, "three of four megabytes each fit");
}
