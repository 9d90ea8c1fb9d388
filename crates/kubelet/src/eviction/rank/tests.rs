use serde_json::json;

use super::*;
use crate::testing;

fn pod(request: &str, priority: i32) -> Pod {
    let container = json!({ "name": "a", "resources": { "requests": { "memory": request } } });
    testing::pod(json!({ "containers": [container], "priority": priority }))
}

#[test]
fn who_exceeds_requests_goes_before_who_does_not() {
    const MIB: u64 = 1 << 20;
    let mut all = [
        ("modest, low priority", pod("10Mi", -5), 9 * MIB),
        ("greedy, high priority", pod("10Mi", 100), 500 * MIB),
        ("greedy, low priority", pod("10Mi", 0), 11 * MIB),
        ("greedier, low priority", pod("10Mi", 0), 20 * MIB),
        ("modest", pod("100Mi", 0), 90 * MIB),
    ];
    all.sort_by_key(|(_, pod, used)| place(pod, *used, "memory"));
    assert_eq!(
        all.map(|(name, ..)| name),
        [
            "greedier, low priority",
            "greedy, low priority",
            "greedy, high priority",
            "modest, low priority",
            "modest",
        ]
    );
}

#[test]
fn the_message_tells_of_what_was_not_asked_for() {
    let text = larger(&pod("10Mi", 0), 20 << 20, "memory");
    assert_eq!(
        text,
        "Pod web was using 20Mi, request is 10Mi, has larger consumption of memory. "
    );
    assert_eq!(larger(&pod("10Mi", 0), 10 << 20, "memory"), "");
}
