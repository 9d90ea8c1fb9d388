//! What pods cost that are as long as they may be: no list is compared with itself, or with another, element by element.

use std::time::{Duration, Instant};

use super::*;
use crate::{core::pod_spec::warnings, warnings::Warnings};

/// Elements of a list, for which comparing each with each takes much longer than the rest.
const LONG: usize = 12_000;
/// A hundredth of that, and many times what it takes.
const SOON: Duration = Duration::from_secs(4);

fn list(element: impl Fn(usize) -> Value) -> Value {
    (0..LONG).map(element).collect()
}

fn judged_soon(what: &str, judge: impl FnOnce()) {
    let start = Instant::now();
    judge();
    let took = start.elapsed();
    assert!(took < SOON, "{what}: {took:?}");
}

#[test]
fn long_lists_cost_what_they_are_long() {
    let numbered = |prefix: &str, n: usize| format!("{prefix}{n}");
    let spread = list(
        |n| json!({"maxSkew": 1, "topologyKey": numbered("t", n), "whenUnsatisfiable": "DoNotSchedule"}),
    );
    let keys = |prefix: &'static str| list(move |n| numbered(prefix, n).into());
    let expressions = list(|n| json!({"key": numbered("e", n), "operator": "Exists"}));
    let term = json!({
        "topologyKey": "t", "labelSelector": {"matchExpressions": expressions},
        "matchLabelKeys": keys("a"), "mismatchLabelKeys": keys("b"),
    });
    let rules = json!({"requiredDuringSchedulingIgnoredDuringExecution": [term]});
    for (what, pod) in [
        ("spread", of(json!({"topologySpreadConstraints": spread}))),
        ("keys", of(json!({"affinity": {"podAffinity": rules}}))),
        (
            "mounts and devices",
            container(json!({
                "volumeMounts": list(|n| json!({"name": numbered("m", n), "mountPath": numbered("/m", n)})),
                "volumeDevices": list(|n| json!({"name": numbered("d", n), "devicePath": numbered("/d", n)})),
            })),
        ),
    ] {
        judged_soon(what, || drop(create_errors(&pod::KIND, pod)));
    }
    let ports = list(|n| json!({"containerPort": 1, "hostPort": n + 1, "protocol": "TCP"}));
    let addresses = list(|n| {
        let address = format!("10.0.{}.{}", n / 256, n % 256);
        json!({"containerPort": 1, "hostPort": 1, "protocol": "TCP", "hostIP": address})
    });
    for ports in [ports, addresses] {
        let pod = container(json!({"ports": ports}));
        judged_soon("ports", || warnings::of_pod(&pod, &mut Warnings::default()));
    }
    let held = of(json!({
        "schedulingGates": list(|n| json!({"name": numbered("g", n)})),
        "tolerations": list(|n| json!({"key": numbered("t", n), "operator": "Exists"})),
    }));
    judged_soon("what is kept", || {
        drop(update_errors(&pod::KIND, held.clone(), &held, Part::Main));
    });
}
