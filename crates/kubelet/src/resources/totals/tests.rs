use serde_json::json;

use super::*;
use crate::testing::pod;

fn amounts(totals: &Totals) -> serde_json::Value {
    serde_json::to_value(told(totals).unwrap_or_default()).unwrap()
}

#[test]
fn all_resources_are_summed_as_they_are_used_at_the_same_time() {
    let of = |cpu: &str, more: &str| json!({ "requests": { "cpu": cpu, more: "1Gi" }, "limits": { "cpu": "2" } });
    let pod = pod(json!({
        "overhead": { "cpu": "10m", "memory": "1Mi" },
        "initContainers": [
            { "name": "s", "restartPolicy": "Always", "resources": of("100m", "memory") },
            { "name": "i", "resources": of("900m", "ephemeral-storage") },
        ],
        "containers": [
            { "name": "a", "resources": of("300m", "ephemeral-storage") },
            { "name": "b", "resources": { "limits": { "memory": "512Mi" } } },
        ],
    }));
    assert_eq!(
        amounts(&requests(&pod, Overhead::IsLeftOut)),
        json!({ "cpu": "1", "memory": "1536Mi", "ephemeral-storage": "1Gi" })
    );
    assert_eq!(
        amounts(&requests(&pod, Overhead::Counts)),
        json!({ "cpu": "1010m", "memory": "1537Mi", "ephemeral-storage": "1Gi" })
    );
    assert_eq!(
        amounts(&limits(&pod, Overhead::Counts)),
        json!({ "cpu": "4010m", "memory": "513Mi" })
    );
}

#[test]
fn of_nothing_nothing_is_told() {
    let pod = pod(json!({ "overhead": { "cpu": "10m" }, "containers": [{ "name": "a" }] }));
    assert_eq!(told(&limits(&pod, Overhead::Counts)), None);
    assert_eq!(told(&requests(&pod, Overhead::IsLeftOut)), None);
}

#[test]
fn what_is_stated_for_the_pod_takes_the_place_of_its_containers() {
    let pod = pod(json!({
        "resources": { "requests": { "cpu": "1", "ephemeral-storage": "7" }, "limits": { "memory": "1Gi" } },
        "containers": [{ "name": "a", "resources": { "requests": { "cpu": "3", "ephemeral-storage": "5" } } }],
    }));
    assert_eq!(
        amounts(&requests(&pod, Overhead::Counts)),
        json!({ "cpu": "1", "memory": "1Gi", "ephemeral-storage": "5" })
    );
    assert_eq!(
        amounts(&limits(&pod, Overhead::Counts)),
        json!({ "memory": "1Gi" })
    );
}
