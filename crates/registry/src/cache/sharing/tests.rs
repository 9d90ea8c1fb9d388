use std::sync::Arc;

use knarr_api::Kind as ApiKind;
use serde_json::{Value, json};

use super::*;
use crate::cache::entry::encode;

fn kind() -> &'static Arc<ApiKind> {
    knarr_api::built_in("", "v1", "configmaps").expect("a core kind")
}

fn entry(metadata: Value) -> Arc<Entry> {
    let tree = json!({
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata,
        "data": {"k": "\"managedFields\":[1]"},
    });
    let entry = Entry::new(kind(), "default/a".into(), 7, encode(&tree));
    Arc::new(entry.expect("an object"))
}

fn written(entry: &Entry, form: Form) -> Value {
    let mut out = Vec::new();
    entry.write(form, &mut out);
    assert!(out.len() <= State::size(entry, form), "{} bytes", out.len());
    serde_json::from_slice(&out).expect("JSON")
}

#[test]
fn managed_fields_are_left_out_wherever_they_stand() {
    let managed = json!([{"manager": "a]\\\"[", "fieldsV1": {"f:x": {}, "f:y": [[1], "]"]}}]);
    let tricky = "\"managedFields\":[";
    for members in [
        json!({}),
        json!({"name": "a"}),
        json!({"annotations": {"managedFields": "x", "a": tricky}, "name": "a"}),
        json!({"zzz": "last"}),
        json!({"annotations": {"a": [tricky]}, "zzz": "last"}),
        json!({"nested": {"managedFields": [1]}, "name": "a"}),
    ] {
        let mut with = members.clone();
        with["managedFields"] = managed.clone();
        for stored in [&members, &with] {
            let entry = entry(stored.clone());
            let mut wanted = members.clone();
            wanted["resourceVersion"] = json!("7");
            let whole = written(&entry, Form::Whole);
            assert_eq!(whole["metadata"], wanted);
            assert_eq!(whole["data"], json!({"k": "\"managedFields\":[1]"}));
            assert_eq!(whole["kind"], "ConfigMap");
            let metadata = written(&entry, Form::Metadata);
            assert_eq!(
                metadata,
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": wanted})
            );
        }
    }
}

#[test]
fn a_piece_is_bounded_and_changes_keep_their_order() {
    let mut shared = Shared::default();
    assert!(shared.finish().is_none());
    let (one, event) = (entry(json!({"name": "a"})), |old: &Arc<Entry>| {
        RingEvent::new(9, None, Some(old.clone()))
    });
    shared.initial(&one);
    shared.event(&event(&one), Kind::Deleted, &one);
    shared.bookmark(11, false);
    let said: Vec<_> = shared.finish().into_iter().flatten().collect();
    let said: Vec<_> = said
        .iter()
        .map(|change| match change {
            Change::Applied(state) => ("+", state.revision()),
            Change::Deleted(_, at) => ("-", *at),
            Change::Bookmark(at) => ("=", *at),
            Change::Error(_) => ("!", 0),
        })
        .collect();
    assert_eq!(said, [("+", 7), ("-", 9), ("=", 11)]);
    for _ in 0..CHANGES {
        assert!(!shared.is_full());
        shared.initial(&one);
    }
    assert!(shared.is_full());
}
