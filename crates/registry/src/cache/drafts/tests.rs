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
    let draft = Entry::of_tree(kind, "a".into(), json.clone(), &tree);
    (json, draft.expect("an object of the kind"))
}

/// A draft says what its bytes say.
#[test]
fn is_the_state_that_is_read() {
    let kind = kind();
    let (json, draft) = draft(&kind, "");
    let read = Entry::new(&kind, "a".into(), 0, json).expect("an object");
    assert_eq!(format!("{draft:?}"), format!("{read:?}"));
}

/// Reading a custom resource prunes it and gives it what its schema says: a draft, which is not read, has to be through with that.
#[test]
fn is_the_custom_resource_that_is_read() {
    let definition = json!({
        "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1", "metadata": {"name": "as.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"},
            "versions": [{"name": "v1", "served": true, "storage": true, "selectableFields": [{"jsonPath": ".spec.color"}], "schema": {
                "openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object", "properties": {
                    "color": {"type": "string", "default": "red"},
                    "size": {"type": "integer", "nullable": true, "default": 3},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                }}}},
            }}],
        },
        "status": {"acceptedNames": {"plural": "as", "singular": "a", "kind": "A", "listKind": "AList"}, "storedVersions": ["v1"]},
    });
    let source = definition.to_string().into();
    let made = knarr_api::apiextensions::custom_resource::kinds(&definition, &source);
    let kind = made.expect("a kind").stored;
    let mut tree = json!({
        "apiVersion": "example.com/v1", "kind": "A", "metadata": {"name": "a", "namespace": "n", "labels": {"b": "c"}},
        "spec": {"size": null, "free": {"x": {"y": null}}},
    });
    kind.strategy.default(&mut tree);
    assert_eq!(tree["spec"]["color"], "red");
    let json = encode(&tree);
    let draft = Entry::of_tree(&kind, "n/a".into(), json.clone(), &tree).expect("an object");
    let read = Entry::new(&kind, "n/a".into(), 0, json).expect("an object");
    assert_eq!(format!("{draft:?}"), format!("{read:?}"));
    assert!(!read.stale);
    let other =
        json!({"apiVersion": "example.com/v1", "kind": "AnotherOne", "metadata": {"name": "a"}});
    assert!(Entry::of_tree(&kind, "n/a".into(), encode(&other), &other).is_none());
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
