use std::sync::Arc;

use knarr_api::apiregistration::priorities::CUSTOM;
use knarr_webhook::{Target, Trust};
use serde_json::json;

use super::*;
use crate::aggregation::routes::Way;

fn route() -> Route {
    Route {
        name: "v1.example.com".to_owned(),
        group: "example.com".to_owned(),
        version: "v1".to_owned(),
        priority: CUSTOM,
        way: Way {
            target: Target::Url(String::new()),
            trust: Trust::Unverified,
        },
        available: true,
        backend: Err("none".to_owned()).map(Arc::new),
    }
}

#[test]
fn a_server_speaks_of_its_own_group_version_only() {
    let list = json!({"kind": "APIGroupDiscoveryList", "items": [
        {"metadata": {"name": "apps"}, "versions": [{"version": "v1", "resources": [{"resource": "deployments"}]}]},
        {"metadata": {"name": "example.com"}, "versions": [
            {"version": "v2", "resources": [{"resource": "others"}]},
            {"version": "v1", "resources": [{"resource": "things", "scope": "Cluster", "verbs": null, "more": [1],
                "subresources": [{"subresource": "status", "verbs": ["get"]}]}]},
        ]},
    ]});
    let list = serde_json::from_value(list).expect("a list");
    let empty = json!({"group": "", "version": "", "kind": ""});
    let wanted = json!({
        "resource": "things", "scope": "Cluster", "verbs": [], "responseKind": empty,
        "subresources": [{"subresource": "status", "responseKind": empty, "verbs": ["get"]}],
    });
    assert_eq!(of_aggregated(list, &route()).expect("resources"), [wanted]);
    let none = serde_json::from_value(json!({"items": null})).expect("a list");
    assert!(of_aggregated(none, &route()).expect("none").is_empty());
}

#[test]
fn reads_the_older_form() {
    let list = json!({"kind": "APIResourceList", "groupVersion": "example.com/v1", "resources": [
        {"name": "things/scale", "namespaced": true, "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"]},
        {"name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing", "verbs": ["list"], "shortNames": ["th"]},
    ]});
    let list = serde_json::from_value(list).expect("a list");
    let wanted = json!({
        "resource": "things", "singularResource": "thing", "scope": "Namespaced", "verbs": ["list"], "shortNames": ["th"],
        "responseKind": {"group": "example.com", "version": "v1", "kind": "Thing"},
        "subresources": [{"subresource": "scale", "verbs": ["get"],
            "responseKind": {"group": "autoscaling", "version": "v1", "kind": "Scale"}}],
    });
    assert_eq!(of_list(list, &route()).expect("resources"), [wanted]);
}

/// Whatever a server lists, everybody's discovery carries.
#[test]
fn more_resources_than_a_group_version_may_have_are_refused() {
    let most = vec![json!({"resource": "a", "subresources": [{}]}); MAX_RESOURCES / 2];
    let list = |resources: &[Value]| {
        let versions = json!([{"version": "v1", "resources": resources}]);
        let list = json!({"items": [{"metadata": {"name": "example.com"}, "versions": versions}]});
        of_aggregated(serde_json::from_value(list).expect("a list"), &route())
    };
    assert!(list(&most).is_ok());
    let more = [most, vec![json!({"resource": "b"})]].concat();
    assert!(list(&more).is_err());
    let older = json!({"resources": vec![json!({"name": "a", "kind": "A"}); MAX_RESOURCES + 1]});
    let older = serde_json::from_value(older).expect("a list");
    assert!(of_list(older, &route()).is_err());
}
