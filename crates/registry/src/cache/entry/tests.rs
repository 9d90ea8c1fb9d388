use knarr_api::Kind;
use serde_json::json;

use super::*;

fn kind(resource: &str) -> &'static Arc<Kind> {
    knarr_api::built_in("", "v1", resource).expect("a core kind")
}

fn entry(tree: &Value) -> Entry {
    Entry::new(kind("configmaps"), "default/a".into(), 7, encode(tree)).expect("an object")
}

fn text(write: impl Fn(&mut BytesMut)) -> String {
    let mut out = BytesMut::new();
    write(&mut out);
    String::from_utf8(out.to_vec()).expect("UTF-8")
}

#[test]
fn splices_the_revision_into_stored_bytes() {
    let tree = json!({
        "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": {"name": "a", "namespace": "default", "resourceVersion": "3", "labels": {"b": "2", "a": "1"}},
        "data": {"k": "\"metadata\":{ \\ }"},
    });
    let entry = entry(&tree);
    assert_eq!(
        std::str::from_utf8(&entry.json).unwrap(),
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"labels":{"a":"1","b":"2"},"name":"a","namespace":"default"},"data":{"k":"\"metadata\":{ \\ }"}}"#
    );
    let object: Value = serde_json::from_slice(&entry.object()).unwrap();
    assert_eq!(object["metadata"]["resourceVersion"], "7");
    assert_eq!(object["data"], tree["data"]);
    assert_eq!(entry.tree(), object);
    let typed = text(|out| entry.write_item(out, true));
    assert_eq!(typed.len(), entry.item_size(true));
    assert_eq!(typed.as_bytes(), entry.object());
    let item = text(|out| entry.write_item(out, false));
    assert_eq!(item.len(), entry.item_size(false));
    let item: Value = serde_json::from_str(&item).unwrap();
    assert_eq!(
        (item.get("kind"), &item["metadata"]),
        (None, &object["metadata"])
    );
    let metadata: Value = serde_json::from_str(&text(|out| entry.write_metadata(out, 9))).unwrap();
    assert_eq!(
        (&metadata["resourceVersion"], &metadata["name"]),
        (&json!("9"), &json!("a"))
    );
    assert_eq!((entry.label("a"), entry.label("c")), (Some("1"), None));
    let api_version = "meta.k8s.io/v1beta1";
    let partial = text(|out| entry.write_partial(out, u64::MAX, api_version));
    assert_eq!(partial.len(), entry.partial_size());
    assert_eq!(
        serde_json::from_str::<Value>(&partial).unwrap(),
        json!({
            "kind": "PartialObjectMetadata", "apiVersion": api_version,
            "metadata": {
                "resourceVersion": u64::MAX.to_string(), "labels": {"a": "1", "b": "2"},
                "name": "a", "namespace": "default",
            },
        })
    );
}

#[test]
fn what_was_never_stored_has_no_revision() {
    let tree = json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "a"}});
    let entry = Entry::bare(kind("configmaps"), "n/a".into(), 0, encode(&tree));
    assert_eq!(
        serde_json::from_slice::<Value>(&entry.object()).unwrap(),
        tree
    );
    assert_eq!(entry.tree(), tree);
    for typed in [true, false] {
        let item = text(|out| entry.write_item(out, typed));
        assert_eq!(item.len(), entry.item_size(typed));
    }
}

#[test]
fn serves_objects_without_metadata_fields() {
    let entry = entry(&json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {}}));
    assert_eq!(
        std::str::from_utf8(&entry.object()).unwrap(),
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"7"}}"#
    );
    for typed in [true, false] {
        let item = text(|out| entry.write_item(out, typed));
        assert_eq!(item.len(), entry.item_size(typed));
    }
}

#[test]
fn encodes_foreign_layouts_anew() {
    for stored in [
        r#"{"apiVersion":"v1","data":{"a":"b"},"kind":"ConfigMap","metadata":{"name":"a"}}"#,
        r#"{"kind":"ConfigMap","apiVersion":"v1","data":{"a":"\"metadata\":{"},"metadata":{"name":"a"}}"#,
    ] {
        let entry = Entry::new(
            kind("configmaps"),
            "default/a".into(),
            7,
            Bytes::from_static(stored.as_bytes()),
        );
        let mut wanted: Value = serde_json::from_str(stored).unwrap();
        wanted["metadata"]["resourceVersion"] = json!("7");
        let entry = entry.unwrap();
        assert_eq!(entry.tree(), wanted);
        assert!(entry.stale);
    }
    for damaged in ["", "{", "[]", "null"] {
        let made = Entry::new(
            kind("configmaps"),
            "default/a".into(),
            7,
            Bytes::from_static(damaged.as_bytes()),
        );
        assert!(made.is_err(), "{damaged}");
    }
}

#[test]
fn decimal_lengths_are_exact() {
    for number in [0, 9, 10, 99, 100, u64::MAX] {
        let written = text(|out| put_decimal(out, number));
        assert_eq!(written, number.to_string());
        assert_eq!(decimal_digits(number), written.len());
    }
}
