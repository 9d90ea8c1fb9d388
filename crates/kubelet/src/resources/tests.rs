use serde_json::json;

use super::*;
use crate::testing::pod;

fn with(resources: serde_json::Value) -> Pod {
    pod(json!({ "containers": [{ "name": "a", "resources": resources }] }))
}

#[test]
fn classes() {
    let both = json!({ "cpu": "1", "memory": "1Gi" });
    for (resources, class) in [
        (json!({}), Qos::BestEffort),
        (json!({ "limits": both }), Qos::Guaranteed),
        (
            json!({ "limits": both, "requests": { "cpu": "1000m", "memory": "1Gi" } }),
            Qos::Guaranteed,
        ),
        (
            json!({ "limits": both, "requests": { "cpu": "500m" } }),
            Qos::Burstable,
        ),
        (json!({ "requests": { "memory": "1Mi" } }), Qos::Burstable),
        (json!({ "limits": { "cpu": "1" } }), Qos::Burstable),
        (json!({ "requests": { "cpu": "0" } }), Qos::BestEffort),
    ] {
        assert_eq!(qos(&with(resources.clone())), class, "{resources}");
    }
}

#[test]
fn kernel_values() {
    for (milli, expected) in [
        (0, 2),
        (1, 2),
        (100, 102),
        (1_000, 1_024),
        (10_000_000, 262_144),
    ] {
        assert_eq!(shares(milli), expected, "{milli}");
    }
    for (milli, expected) in [(0, 0), (1, 1_000), (500, 50_000), (2_500, 250_000)] {
        assert_eq!(quota(milli), expected, "{milli}");
    }
}

#[test]
fn containers_and_scores() {
    let of = |resources| {
        let pod = with(resources);
        container(&pod, &pod.spec.as_ref().unwrap().containers[0], 1 << 30)
    };
    let limited = of(json!({ "limits": { "cpu": "500m", "memory": "64Mi" } }));
    assert_eq!(
        (
            limited.cpu_quota,
            limited.cpu_shares,
            limited.memory_limit_in_bytes
        ),
        (50_000, 512, 64 << 20)
    );
    assert_eq!(limited.oom_score_adj, -997);
    assert_eq!(of(json!({})).oom_score_adj, 1_000);
    assert_eq!(
        of(json!({ "requests": { "memory": "512Mi" } })).oom_score_adj,
        500
    );
    assert_eq!(of(json!({ "requests": { "cpu": "1" } })).oom_score_adj, 999);
}

#[test]
fn what_a_pod_states_as_a_whole_takes_the_place_of_its_containers() {
    let pod = pod(json!({
        "resources": { "requests": { "cpu": "1" }, "limits": { "cpu": "2", "memory": "10Mi" } },
        "containers": [{ "name": "a" }, { "name": "b", "resources": { "requests": { "cpu": "300m" } } }],
    }));
    let limits = pod_limits(&pod);
    assert_eq!(
        (limits.shares, limits.quota, limits.memory),
        (1_024, Some(200_000), Some(10 << 20))
    );
    assert_eq!(pod_request_milli(&pod, "cpu"), 1_000);
    assert_eq!(pod_request_milli(&pod, "memory"), (10 << 20) * 1_000);
}

#[test]
fn pods_sum_up() {
    let cpu = |milli: &str| json!({ "requests": { "cpu": milli }, "limits": { "memory": "10Mi", "cpu": milli } });
    let pod = pod(json!({
        "initContainers": [
            { "name": "s", "restartPolicy": "Always", "resources": cpu("100m") },
            { "name": "i", "resources": cpu("900m") },
        ],
        "containers": [{ "name": "a", "resources": cpu("300m") }, { "name": "b", "resources": cpu("200m") }],
        "overhead": { "cpu": "10m" },
    }));
    assert_eq!(pod_request_milli(&pod, "cpu"), 1_010);
    let of = |limits: PodLimits| (limits.shares, limits.quota, limits.memory);
    assert_eq!(
        of(pod_limits_without_overhead(&pod)),
        (1_024, Some(100_000), Some(30 << 20))
    );
    assert_eq!(of(pod_limits(&pod)), (1_034, Some(101_000), Some(30 << 20)));
}
