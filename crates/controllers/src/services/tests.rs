use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, not_ready, object, pod};

fn service(name: &str, selector: Value) -> Service {
    object(
        json!({"metadata": {"namespace": "x", "name": name, "creationTimestamp": "2030-01-01T10:00:00Z"},
        "spec": {"selector": selector}}),
    )
}

fn members() -> Membership {
    let members = Membership::new(Informer::new(), Informer::new());
    members
        .services
        .apply(service("web", json!({"app": "web"})));
    members
        .services
        .apply(service("front", json!({"app": "web", "tier": "front"})));
    members.services.apply(service("db", json!({"app": "db"})));
    members.services.apply(service("manual", Value::Null));
    members
}

fn names(keys: BTreeSet<Key>) -> Vec<String> {
    keys.into_iter().map(|key| key.name).collect()
}

#[test]
fn services_affected_by_a_pod() {
    let members = members();
    let plain = pod("p", "n1", json!({}));
    let front = pod(
        "p",
        "n1",
        json!({"metadata": {"labels": {"tier": "front"}}}),
    );
    let update = |old: &Arc<Pod>, new: &Arc<Pod>| {
        names(members.affected(&Event::Updated {
            old: old.clone(),
            new: new.clone(),
        }))
    };
    assert_eq!(
        names(members.affected(&Event::Added(plain.clone()))),
        ["web"]
    );
    assert_eq!(
        names(members.affected(&Event::Deleted(front.clone()))),
        ["front", "web"]
    );
    assert_eq!(
        update(&plain, &plain),
        Vec::<String>::new(),
        "nothing that endpoints show has changed"
    );
    assert_eq!(
        update(&plain, &front),
        ["front"],
        "web has it before and after"
    );
    assert_eq!(update(&plain, &pod("p", "n1", not_ready())), ["web"]);
    let mut both = not_ready();
    merge(
        &mut both,
        json!({"metadata": {"labels": {"tier": "front"}}}),
    );
    assert_eq!(update(&plain, &pod("p", "n1", both)), ["front", "web"]);
    let moved = pod("p", "n1", json!({"metadata": {"labels": {"app": "db"}}}));
    assert_eq!(update(&plain, &moved), ["db", "web"]);
}

#[test]
fn pods_of_a_service() {
    let members = members();
    for (name, more) in [
        ("a", json!({})),
        ("b", json!({"metadata": {"labels": {"tier": "front"}}})),
        ("c", json!({"metadata": {"labels": {"app": "db"}}})),
        ("d", json!({"metadata": {"namespace": "y"}})),
    ] {
        members.pods.apply(Pod::clone(&pod(name, "n1", more)));
    }
    let of = |selector: Value| {
        let pods = members.pods_of(&service("s", selector));
        pods.iter()
            .map(|p| p.metadata.name.clone().unwrap_or_default())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(of(json!({"app": "web"})), "a b");
    assert_eq!(of(json!({"app": "web", "tier": "front"})), "b");
    assert_eq!(of(json!({"app": "none"})), "");
    assert_eq!(of(json!({})), "", "an empty selector selects nothing here");
}

#[test]
fn the_earliest_new_change_triggers() {
    let times = TriggerTimes::default();
    let key = Key::new("x", "web");
    let service = service("web", json!({"app": "web"}));
    let ready_at = |name: &str, time: &str| {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": time}]);
        pod(name, "n1", json!({"status": {"conditions": ready}}))
    };
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let (a, b) = (
        ready_at("a", "2030-01-01T11:00:00Z"),
        ready_at("b", "2030-01-01T11:30:00Z"),
    );
    let first = times.latest_change(&key, &service, std::slice::from_ref(&a));
    assert_eq!(
        text(first).as_deref(),
        Some("2030-01-01T10:00:00Z"),
        "the service itself is new"
    );
    let second = times.latest_change(&key, &service, &[a.clone(), b.clone()]);
    assert_eq!(text(second).as_deref(), Some("2030-01-01T11:30:00Z"));
    assert_eq!(times.latest_change(&key, &service, &[a, b.clone()]), None);
    assert_eq!(
        times.latest_change(&key, &service, &[b]),
        None,
        "a pod that is gone has no time"
    );
}
