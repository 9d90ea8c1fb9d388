use serde_json::{Value, json};

use super::*;
use crate::fixtures::object;

fn claim(tolerations: Value) -> Arc<ResourceClaim> {
    let result = json!({"request": "r", "driver": "d", "pool": "p", "device": "x", "tolerations": tolerations});
    Arc::new(object(json!({
        "metadata": {"namespace": "ns", "name": "c", "uid": "c"}, "spec": {},
        "status": {
            "allocation": {"devices": {"results": [result]}},
            "reservedFor": [{"resource": "pods", "name": "p", "uid": "p"}],
        },
    })))
}

fn pod(uid: &str, node: &str) -> Pod {
    object(json!({
        "metadata": {"namespace": "ns", "name": "p", "uid": uid},
        "spec": {"containers": [], "nodeName": node, "resourceClaims": [{"name": "c", "resourceClaimName": "c"}]},
    }))
}

fn taint(effect: &str) -> Value {
    json!({"key": "k", "effect": effect, "timeAdded": "2030-01-01T12:00:00Z"})
}

fn rule(selector: Value, effect: &str) -> Arc<DeviceTaintRule> {
    let spec = json!({"deviceSelector": selector, "taint": taint(effect)});
    Arc::new(object(
        json!({"metadata": {"name": "rule", "uid": "rule"}, "spec": spec}),
    ))
}

fn slice(generation: i64, taints: Value) -> Arc<ResourceSlice> {
    Arc::new(object(json!({
        "metadata": {"name": format!("s{generation}")},
        "spec": {
            "driver": "d", "pool": {"name": "p", "generation": generation, "resourceSliceCount": 1},
            "devices": [{"name": "x", "taints": taints}],
        },
    })))
}

/// When the pod goes and whether a rule is to blame.
fn told(
    pod: &Pod,
    claim: Arc<ResourceClaim>,
    rules: Vec<Arc<DeviceTaintRule>>,
    slices: Vec<Arc<ResourceSlice>>,
) -> String {
    let view = View {
        rules,
        claim: Box::new(move |_, name| (name == "c").then(|| claim.clone())),
        slices: Box::new(move |_| slices.clone()),
    };
    match eviction(&view, pod) {
        None => "stays".to_owned(),
        Some(eviction) => format!("{} {}", eviction.at, eviction.rules.len()),
    }
}

#[test]
fn pods_go_when_their_devices_taints_say_so() {
    let all = || json!({});
    let tolerate = |seconds: Value| json!([{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]);
    let cases = [
        (
            "a rule",
            json!([]),
            vec![rule(all(), "NoExecute")],
            "2030-01-01T12:00:00Z 1",
        ),
        (
            "another effect",
            json!([]),
            vec![rule(all(), "NoSchedule")],
            "stays",
        ),
        (
            "another device",
            json!([]),
            vec![rule(json!({"device": "y"}), "NoExecute")],
            "stays",
        ),
        ("no rule", json!([]), vec![], "stays"),
        (
            "tolerated",
            tolerate(Value::Null),
            vec![rule(all(), "NoExecute")],
            "stays",
        ),
        (
            "for a time",
            tolerate(json!(90)),
            vec![rule(all(), "NoExecute")],
            "2030-01-01T12:01:30Z 1",
        ),
        (
            "of every effect",
            json!([{"operator": "Exists"}]),
            vec![rule(all(), "NoExecute")],
            "2030-01-01T12:00:00Z 1",
        ),
    ];
    for (what, tolerations, rules, wanted) in cases {
        let found = told(&pod("p", "n"), claim(tolerations), rules, Vec::new());
        assert_eq!(found, wanted, "{what}");
    }
}

#[test]
fn slices_taint_too() {
    let tainted = || json!([taint("NoExecute")]);
    let found = |slices| told(&pod("p", "n"), claim(json!([])), Vec::new(), slices);
    assert_eq!(found(vec![slice(1, tainted())]), "2030-01-01T12:00:00Z 0");
    assert_eq!(
        found(vec![slice(1, tainted()), slice(2, json!([]))]),
        "stays"
    );
    assert_eq!(found(vec![slice(1, json!([taint("NoSchedule")]))]), "stays");
}

#[test]
fn others_stay() {
    let rules = || vec![rule(json!({}), "NoExecute")];
    let of = |uid: &str, node: &str| told(&pod(uid, node), claim(json!([])), rules(), Vec::new());
    assert_eq!(of("p", ""), "stays", "it has no node");
    assert_eq!(of("q", "n"), "stays", "the claim is not reserved for it");
}

#[test]
fn rules_count_what_they_select() {
    let slices = [slice(1, json!([])), slice(2, json!([]))];
    assert_eq!(published(&rule(json!({}), "None"), &slices), 1);
    assert_eq!(published(&rule(json!({"pool": "q"}), "None"), &slices), 0);
    assert_eq!(
        selected(&rule(json!({"device": "x"}), "None"), &claim(json!([]))),
        1
    );
}
