use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::cache::entry::encode;

fn pods() -> &'static Arc<Kind> {
    knarr_api::built_in("", "v1", "pods").expect("a core kind")
}

fn pod(namespace: &str, name: &str, node: &str) -> Entry {
    let tree = json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "web"}},
        "spec": {"nodeName": node},
        "status": {"phase": "Running"},
    });
    let key: Arc<str> = format!("{namespace}/{name}").into();
    Entry::new(pods(), key, 1, encode(&tree)).expect("an object")
}

fn filter(kind: &Kind, namespace: &str, labels: &str, fields: &str) -> Result<Filter, Status> {
    Filter::new(kind, namespace, &Selectors::parse(labels, fields)?)
}

#[test]
fn selects_by_namespace_labels_and_fields() {
    let entry = pod("n", "a", "node1");
    for (namespace, labels, fields, wanted) in [
        ("", "", "", true),
        ("n", "", "", true),
        ("m", "", "", false),
        ("", "app=web", "", true),
        ("", "app in (db)", "", false),
        ("", "", "metadata.name=a", true),
        ("", "", "metadata.name!=a", false),
        ("", "", "metadata.namespace=n,spec.nodeName=node1", true),
        ("", "", "spec.nodeName=", false),
        ("", "", "status.phase=Running,status.phase!=Failed", true),
    ] {
        let filter = filter(pods(), namespace, labels, fields).expect("a filter");
        assert_eq!(
            filter.matches(&entry),
            wanted,
            "{namespace} {labels} {fields}"
        );
    }
}

#[test]
fn names_unknown_fields() {
    let status = filter(pods(), "", "", "spec.foo=1").unwrap_err();
    assert_eq!(
        (status.code, status.message.as_str()),
        (400, "field label not supported: spec.foo")
    );
    let no_other =
        "\"data\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    for (group, resource, message) in [
        ("", "configmaps", no_other),
        ("", "persistentvolumes", no_other),
        ("", "persistentvolumeclaims", no_other),
        ("apps", "replicasets", no_other),
        (
            "batch",
            "jobs",
            "field label \"data\" not supported for Job",
        ),
        (
            "resource.k8s.io",
            "resourceslices",
            "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: data",
        ),
    ] {
        let kind = knarr_api::built_in(group, "v1", resource).expect("a kind");
        let status = filter(kind, "", "", "data=1").unwrap_err();
        assert_eq!(status.message, message);
    }
}

#[test]
fn routes_as_narrowly_as_it_can() {
    let route = |namespace, fields| {
        filter(pods(), namespace, "", fields)
            .expect("a filter")
            .route(pods())
    };
    assert_eq!(route("", ""), Route::All);
    assert_eq!(route("n", ""), Route::Namespace("n".into()));
    assert_eq!(route("n", "metadata.name=a"), Route::Object("n/a".into()));
    assert_eq!(route("", "metadata.name=a"), Route::All);
    assert_eq!(
        route("", "spec.nodeName=node1"),
        Route::Node("node1".into())
    );
    assert_eq!(route("", "spec.nodeName!=node1"), Route::All);
    assert_eq!(route("", "spec.nodeName="), Route::All);
}
