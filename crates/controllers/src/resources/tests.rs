use knarr_client::fake;
use serde_json::{Value, json};

use super::*;

fn resource(plural: &str, kind: &str, version: &str) -> Value {
    json!({"resource": plural, "responseKind": {"group": "example.com", "version": version, "kind": kind},
        "scope": "Namespaced", "singularResource": kind.to_lowercase(), "verbs": ["delete", "list", "watch"]})
}

#[tokio::test]
async fn a_resource_is_found_in_whatever_version_serves_it() {
    let (client, mut server) = fake::client();
    let list = |items: Value| {
        json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {}, "items": items})
    };
    let serving = async {
        for _ in 0..2 {
            let request = server.next().await;
            let items = match request.uri.starts_with("/apis") {
                true => json!([{"metadata": {"name": "example.com"}, "versions": [
                    {"version": "v1", "resources": [resource("tables", "Table", "v1")]},
                    {"version": "v1beta1", "resources": [
                        resource("tables", "Table", "v1beta1"), resource("chairs", "Chair", "v1beta1")]},
                    {"version": "v1alpha1", "resources": [resource("lamps", "Lamp", "v1alpha1")]},
                ]}, {"metadata": {"name": "gone.example.com"}, "versions": [
                    {"version": "v1", "freshness": "Stale", "resources": []},
                ]}]),
                false => json!([]),
            };
            request.answer(200, &list(items));
        }
    };
    let (found, ()) = tokio::join!(discover(&client), serving);
    let found = found.expect("discovery");
    let wanted = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server APIs: \
        gone.example.com/v1: stale GroupVersion discovery: gone.example.com/v1";
    assert_eq!(found.failure().as_deref(), Some(wanted));
    let mut paths: Vec<String> = found.resources.iter().map(ServedResource::path).collect();
    paths.sort();
    let expected = [
        "/apis/example.com/v1/tables",
        "/apis/example.com/v1alpha1/lamps",
        "/apis/example.com/v1beta1/chairs",
    ];
    assert_eq!(paths, expected);
}
