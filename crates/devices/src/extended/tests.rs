use serde_json::{Value, json};

use super::*;

fn class(name: &str, resource: Option<&str>, created: &str) -> Arc<DeviceClass> {
    let class = json!({
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {"extendedResourceName": resource},
    });
    Arc::new(serde_json::from_value(class).unwrap())
}

#[test]
fn the_newest_class_has_the_name() {
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let names = ClassNames::new([
        class("b", Some("example.com/gpu"), new),
        class("a", Some("example.com/gpu"), old),
        class("c", Some("example.com/gpu"), new),
        class("d", None, old),
    ]);
    let of = |resource: &str| {
        names
            .class(resource)
            .and_then(|class| class.metadata.name.clone())
    };
    assert_eq!(of("example.com/gpu").as_deref(), Some("b"));
    assert_eq!(
        of("deviceclass.resource.kubernetes.io/d").as_deref(),
        Some("d")
    );
    assert_eq!(of("example.com/nic"), None);
}

#[test]
fn containers_get_requests() {
    let container = |name: &str, count: i64| {
        let mut requests = json!({"cpu": "1"});
        if count > 0 {
            requests["example.com/gpu"] = json!(count.to_string());
        }
        json!({"name": name, "resources": {"requests": requests}})
    };
    let sidecar = |name: &str, count: i64| {
        let mut container = container(name, count);
        container["restartPolicy"] = json!("Always");
        container
    };
    let cases: Vec<(Value, Value, Vec<&str>, Vec<&str>)> = vec![
        (
            json!([]),
            json!([container("a", 1), container("b", 2), container("c", 0)]),
            vec!["container-0-request-1 1", "container-1-request-1 2"],
            vec!["a container-0-request-1", "b container-1-request-1"],
        ),
        (
            json!([container("i", 3), container("j", 4), sidecar("s", 1)]),
            json!([container("a", 1)]),
            vec![
                "container-1-request-1 2",
                "container-2-request-1 1",
                "container-3-request-1 1",
            ],
            vec![
                "s container-2-request-1",
                "a container-3-request-1",
                "i container-2-request-1",
                "i container-3-request-1",
                "i container-1-request-1",
                "j container-2-request-1",
                "j container-3-request-1",
                "j container-1-request-1",
            ],
        ),
        (
            json!([container("i", 1)]),
            json!([container("a", 2)]),
            vec!["container-1-request-1 2"],
            vec!["a container-1-request-1", "i container-1-request-1"],
        ),
    ];
    let names = ClassNames::new([class(
        "gpu",
        Some("example.com/gpu"),
        "2026-01-01T00:00:00Z",
    )]);
    let resources = BTreeSet::from(["example.com/gpu".to_owned()]);
    for (init, main, wanted, mappings) in cases {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"initContainers": init, "containers": main}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let found = requests(&pod, &resources, &names);
        let told: Vec<String> = found
            .requests
            .iter()
            .map(|one| format!("{} {}", one.name, exact_count(one)))
            .collect();
        assert_eq!(told, wanted, "{pod:?}");
        let told: Vec<String> = found
            .mappings
            .iter()
            .map(|one| format!("{} {}", one.container_name, one.request_name))
            .collect();
        assert_eq!(told, mappings, "{pod:?}");
    }
}
