use serde_json::json;

use super::{super::entry::encode, *};

fn kind() -> Arc<Kind> {
    let kind = knarr_api::built_in("", "v1", "pods").expect("a core kind");
    Arc::new(Kind::clone(kind))
}

fn draft(kind: &Kind, text: &str) -> (Bytes, Entry) {
    let tree = json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": {"name": "a", "labels": {"b": "c", "a": "x"}},
        "spec": {"nodeName": "n"}, "status": {"phase": "Running", "message": text},
    });
    let json = encode(&tree);
    (json.clone(), Entry::of_tree(kind, "a".into(), json, &tree))
}

/// A draft says what its bytes say.
#[test]
fn is_the_state_that_is_read() {
    let kind = kind();
    let (json, draft) = draft(&kind, "");
    let read = Entry::new(&kind, "a".into(), 0, json).expect("an object");
    assert_eq!(format!("{draft:?}"), format!("{read:?}"));
}

#[test]
fn is_there_once_for_its_own_bytes_and_kind() {
    let drafts = Drafts::default();
    let (kind, other) = (kind(), kind());
    let (json, entry) = draft(&kind, "");
    drafts.put(kind.clone(), entry);
    let copy = Bytes::copy_from_slice(&json);
    assert!(drafts.take(&kind, &copy).is_none());
    assert!(drafts.take(&kind, &json).is_some());
    assert!(drafts.take(&kind, &json).is_none());
    let (json, entry) = draft(&kind, "");
    drafts.put(kind.clone(), entry);
    assert!(drafts.take(&other, &json).is_none());
    let (json, entry) = draft(&kind, "");
    drafts.put(kind.clone(), entry);
    drafts.forget(&json);
    assert!(drafts.take(&kind, &json).is_none());
    assert_eq!(drafts.waiting.lock().bytes, 0);
}

#[test]
fn those_that_nobody_takes_are_bounded() {
    let drafts = Drafts::default();
    let kind = kind();
    let small: Vec<Bytes> = (0..MAX_DRAFTS * 2)
        .map(|_| {
            let (json, entry) = draft(&kind, "");
            drafts.put(kind.clone(), entry);
            json
        })
        .collect();
    assert_eq!(drafts.waiting.lock().drafts.len(), MAX_DRAFTS);
    assert!(drafts.take(&kind, &small[0]).is_none());
    assert!(drafts.take(&kind, &small[MAX_DRAFTS * 2 - 1]).is_some());
    let text = "x".repeat(1 << 20);
    for _ in 0..40 {
        let (_, entry) = draft(&kind, &text);
        drafts.put(kind.clone(), entry);
    }
    let waiting = drafts.waiting.lock();
    assert!(waiting.bytes <= MAX_BYTES);
    let held: usize = waiting
        .drafts
        .values()
        .map(|(_, entry)| entry.json.len())
        .sum();
    assert_eq!(waiting.bytes, held);
}
