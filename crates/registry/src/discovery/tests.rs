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
    let attach = find(&core, "pods/attach").expect("the subresource");
    assert_eq!(
        attach,
        json!({
            "name": "pods/attach", "singularName": "", "namespaced": true, "kind": "PodAttachOptions", "verbs": ["create", "get"],
        }),
        "the group-version is the pod's"
    );
    assert!(core.get("apiVersion").is_none(), "the core has none");
    let events = resource_list(&groups, "events.k8s.io", "v1").expect("an alias's group");
    assert!(find(&events, "events").is_some());
    assert!(resource_list(&groups, "nope", "v1").is_none());
    assert!(groups.first().is_some_and(|g| g.name.is_empty()));
}

#[test]
fn kinds_are_told_as_upstream_tells_them() {
    let groups = groups(&Kinds::built_in());
    let aggregated = Aggregated::default();
    let document = aggregated.document(&groups, true, Version::V2);
    let document: Value = serde_json::from_slice(&document.bytes).expect("JSON");
    let resources = document["items"][0]["versions"][0]["resources"].as_array();
    let pods = resources.and_then(|all| all.iter().find(|of| of["resource"] == "pods"));
    let pods = pods.expect("pods");
    assert_eq!(
        pods["responseKind"],
        json!({"group": "", "version": "", "kind": "Pod"})
    );
    let subresource = |name: &str| {
        let all = pods["subresources"].as_array().into_iter().flatten();
        let mut named = all.filter(|of| of["subresource"] == name);
        named.next().expect("the subresource")["responseKind"].clone()
    };
    assert_eq!(
        subresource("eviction"),
        json!({"group": "policy", "version": "v1", "kind": "Eviction"})
    );
    assert_eq!(
        subresource("binding"),
        json!({"group": "", "version": "", "kind": "Binding"})
    );
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
fn orders_groups_by_priority() {
    let groups = groups(&Kinds::built_in());
    let names: Vec<&str> = groups.iter().map(|group| &*group.name).collect();
    let wanted = [
        "",
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
    ];
    assert_eq!(names[..5], wanted);
    let scaling = groups.iter().find(|group| group.name == "autoscaling");
    let versions = &scaling.expect("autoscaling").versions;
    assert_eq!((&*versions[0].name, &*versions[1].name), ("v2", "v1"));
}

fn remote(group: &str, version: &str, priority: (i32, i32), stale: bool) -> Arc<Remote> {
    Arc::new(Remote {
        group: group.to_owned(),
        version: version.to_owned(),
        priority: Priority {
            group: priority.0,
            version: priority.1,
        },
        resources: vec![json!({"resource": "flunders"})],
        stale,
    })
}

#[test]
fn groups_of_other_servers_stand_among_ours() {
    let ours = groups(&Kinds::built_in());
    let remote = [
        remote("wardle.example.com", "v1alpha1", (2000, 200), false),
        remote("wardle.example.com", "v1", (2000, 200), true),
        remote("first.example.com", "v1", (17_900, 1), false),
        remote("batch", "v1", (17_400, 15), false),
    ];
    let merged = merged(&ours, &remote);
    let names: Vec<&str> = merged.iter().map(|group| &*group.name).collect();
    assert_eq!(
        names[..4],
        ["", "apiregistration.k8s.io", "first.example.com", "apps"]
    );
    assert_eq!(names.last(), Some(&"wardle.example.com"));
    assert!(
        resource_list(&merged, "batch", "v1").is_none(),
        "the other server is asked"
    );
    assert!(paths(&merged).contains(&"/apis/wardle.example.com/v1alpha1".to_owned()));
    let aggregated = Aggregated::default();
    let document = aggregated.document(&merged, false, Version::V2);
    let document: Value = serde_json::from_slice(&document.bytes).expect("JSON");
    let last = document["items"].as_array().and_then(|items| items.last());
    let wanted = json!({
        "metadata": {"name": "wardle.example.com"},
        "versions": [
            {"version": "v1", "freshness": "Stale", "resources": [{"resource": "flunders"}]},
            {"version": "v1alpha1", "freshness": "Current", "resources": [{"resource": "flunders"}]},
        ],
    });
    assert_eq!(last, Some(&wanted));
}
