use super::*;

#[test]
fn lists_every_kind_where_it_is_served() {
    let groups = groups(&Kinds::built_in());
    let core = resource_list(&groups, "", "v1").expect("the core group");
    let find = |list: &Value, name: &str| {
        let resources = list["resources"].as_array().expect("a list").clone();
        resources.into_iter().find(|r| r["name"] == name)
    };
    let pods = find(&core, "pods").expect("pods");
    assert_eq!(pods["shortNames"], json!(["po"]));
    assert_eq!(pods["verbs"].as_array().map(Vec::len), Some(8));
    // Upstream's own hash of "/v1/Pod".
    assert_eq!(pods["storageVersionHash"], "xPOwRZ+Yhw8=");
    let eviction = find(&core, "pods/eviction").expect("the subresource");
    assert_eq!(
        (&eviction["group"], &eviction["kind"]),
        (&json!("policy"), &json!("Eviction"))
    );
    let events = resource_list(&groups, "events.k8s.io", "v1").expect("an alias's group");
    assert!(find(&events, "events").is_some());
    assert!(resource_list(&groups, "nope", "v1").is_none());
    assert!(groups.first().is_some_and(|g| g.name.is_empty()));
}

#[test]
fn orders_versions_by_stability() {
    let mut versions = ["v1beta1", "v2", "v1", "v1alpha1", "v1beta2", "v10"];
    versions.sort_by_key(|version| Reverse(version_rank(version)));
    assert_eq!(
        versions,
        ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1"]
    );
}

#[test]
fn prefers_aggregated_discovery_only_when_asked_first() {
    use aggregated::Version::{V2, V2beta1};
    let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
    assert_eq!(
        aggregated::wanted(&format!("{v2},{beta},application/json")),
        Some(V2)
    );
    assert_eq!(
        aggregated::wanted(&format!("{beta},application/json")),
        Some(V2beta1)
    );
    assert_eq!(aggregated::wanted("application/json"), None);
    assert_eq!(aggregated::wanted(&format!("application/json,{v2}")), None);
}
