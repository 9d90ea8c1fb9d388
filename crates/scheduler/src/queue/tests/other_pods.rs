//! Pods whose rules are about other pods.

use super::*;

/// A pod of `app` with rules about others, or without.
fn kind(app: &str, rules: &Value) -> Value {
    json!({"labels": {"app": app}, "affinity": rules})
}

fn affinity(kind: &str, app: &str) -> Value {
    let term = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}});
    json!({kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}})
}

/// Sets a pod with such rules aside on a node of zone x with pods of some apps on it, lets something happen, and tells
/// whether it is tried.
fn tried(pod: &Value, on_node: &[Value], change: impl FnOnce(&mut Bench)) -> bool {
    let zone = |zone: &str| json!({"metadata": {"name": "a", "labels": {"zone": zone}}});
    let mut bench = Bench::new(&[zone("x")]);
    let info = |name: &str, of: &Value, node: Option<&str>| {
        let mut spec = json!({"containers": [], "nodeName": node, "affinity": of["affinity"]});
        spec["topologySpreadConstraints"] = of["spread"].clone();
        let pod = json!({"metadata": {"name": name, "uid": name, "namespace": "", "labels": of["labels"]}, "spec": spec});
        let pod = serde_json::from_value(pod).expect("a pod");
        Arc::new(PodInfo::new(&Arc::new(pod)))
    };
    for (n, other) in on_node.iter().enumerate() {
        let name = format!("old{n}");
        bench
            .state
            .set_pod(&bench.profiles, info(&name, other, Some("a")));
    }
    bench.state.queue.set(info("p", pod, None));
    assert_eq!(bench.step().as_deref(), Some(""), "it is set aside: {pod}");
    change(&mut bench);
    bench.step().is_some()
}

#[test]
fn rules_about_other_pods_wait_for_other_pods() {
    let none = json!(null);
    let (near, apart) = (
        kind("web", &affinity("podAffinity", "db")),
        kind("web", &affinity("podAntiAffinity", "db")),
    );
    let (plain, hermit) = (
        kind("web", &none),
        kind("db", &affinity("podAntiAffinity", "web")),
    );
    let comes = |app: &'static str| {
        move |bench: &mut Bench| {
            let pod = json!({"metadata": {"name": "new", "uid": "new", "namespace": "", "labels": {"app": app}},
                "spec": {"nodeName": "a", "containers": []}});
            let pod = Arc::new(PodInfo::new(&Arc::new(
                serde_json::from_value(pod).unwrap(),
            )));
            bench.state.set_pod(&bench.profiles, pod);
        }
    };
    assert!(tried(&near, &[], comes("db")), "a friend came");
    assert!(!tried(&near, &[], comes("cache")));
    let (db, cache) = (kind("db", &none), kind("cache", &none));
    let goes = |bench: &mut Bench| bench.end("old0");
    assert!(tried(&apart, &[db.clone(), cache.clone()], goes));
    let other_goes = |bench: &mut Bench| bench.end("old1");
    assert!(!tried(&apart, &[db, cache], other_goes));
    assert!(
        tried(&plain, &[hermit], goes),
        "who wanted nobody near went"
    );
}

#[test]
fn a_friend_by_its_new_labels_is_one() {
    let near = kind("web", &affinity("podAffinity", "db"));
    let relabelled = |app: &'static str| {
        move |bench: &mut Bench| {
            let pod = json!({"metadata": {"name": "old0", "uid": "old0", "namespace": "", "labels": {"app": app}},
                "spec": {"nodeName": "a", "containers": []}});
            let pod = Arc::new(PodInfo::new(&Arc::new(
                serde_json::from_value(pod).unwrap(),
            )));
            bench.state.set_pod(&bench.profiles, pod);
        }
    };
    let others = [kind("cache", &json!(null))];
    assert!(tried(&near, &others, relabelled("db")));
    assert!(!tried(&near, &others, relabelled("mail")));
}

#[test]
fn spreading_waits_for_pods_that_it_counts_and_for_parts() {
    let spread = json!({"labels": {"app": "web"}, "spread": [{"topologyKey": "zone", "maxSkew": 1, "minDomains": 2,
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "web"}}}]});
    let others = [kind("web", &json!(null)), kind("db", &json!(null))];
    assert!(tried(&spread, &others, |bench| bench.end("old0")));
    assert!(!tried(&spread, &others, |bench| bench.end("old1")));
    let second = |labels: Value| {
        move |bench: &mut Bench| {
            bench.set_node(&json!({"metadata": {"name": "b", "labels": labels}}));
        }
    };
    assert!(tried(&spread, &others, second(json!({"zone": "y"}))));
    assert!(!tried(&spread, &others, second(json!({}))));
}
