use serde_json::json;

use super::*;

fn pod(uid: &str, namespace: &str, app: &str, ending: bool) -> Arc<PodInfo> {
    let deleted = ending.then_some("2026-01-01T00:00:00Z");
    let value = json!({"metadata": {"uid": uid, "name": uid, "namespace": namespace, "labels": {"app": app},
        "deletionTimestamp": deleted}, "spec": {"containers": []}});
    Arc::new(PodInfo::new(&Arc::new(
        serde_json::from_value(value).expect("a pod"),
    )))
}

fn scope(namespace: &str, selector: &str) -> Scope {
    Scope::within(namespace, Selector::parse(selector).expect("a selector"))
}

#[test]
fn what_is_kept_is_what_would_be_counted() {
    let mut tallies = Tallies::default();
    let mut pods: Vec<(usize, Arc<PodInfo>)> = Vec::new();
    let scopes = [scope("x", "app=a"), scope("y", "app"), scope("x", "app!=a")];
    let mut random = fastrand::Rng::with_seed(7);
    for step in 0..400 {
        if random.bool() || pods.is_empty() {
            let namespace = if random.bool() { "x" } else { "y" };
            let app = if random.bool() { "a" } else { "b" };
            let pod = pod(&step.to_string(), namespace, app, random.u8(..4) == 0);
            let slot = random.usize(..3);
            tallies.add(slot, &pod);
            pods.push((slot, pod));
        } else {
            let (slot, pod) = pods.swap_remove(random.usize(..pods.len()));
            tallies.remove(slot, &pod);
        }
        for scope in &scopes {
            let all = || pods.iter().map(|(slot, pod)| (*slot, pod));
            let kept = tallies.get(scope, all);
            let fresh = Tallies::default().get(scope, all);
            for slot in 0..3 {
                assert_eq!(kept.on(slot), fresh.on(slot), "step {step}, {scope:?}");
            }
        }
    }
    assert_eq!(tallies.kept.len(), scopes.len());
}

#[test]
fn pods_on_their_way_out_are_told_apart() {
    let mut tallies = Tallies::default();
    let pods = [pod("1", "x", "a", false), pod("2", "x", "a", true)];
    let tally = tallies.get(&scope("x", "app=a"), || pods.iter().map(|pod| (5, pod)));
    let count = tally.on(5);
    assert_eq!((count.all, count.staying()), (2, 1));
    assert_eq!(tally.on(4), Count::default());
}

#[test]
fn the_tally_asked_for_least_recently_goes() {
    let mut tallies = Tallies::default();
    let none: [Arc<PodInfo>; 0] = [];
    let mut ask = |name: &str| {
        tallies.get(&scope(name, "app"), || none.iter().map(|pod| (0, pod)));
        tallies
            .kept
            .iter()
            .any(|kept| kept.scope == scope("n1", "app"))
    };
    for n in 0..TALLIES_MAX {
        ask(&format!("n{n}"));
    }
    assert!(ask("n0"));
    assert!(!ask("more"), "n1 was asked for least recently");
    assert_eq!(tallies.kept.len(), TALLIES_MAX);
}
