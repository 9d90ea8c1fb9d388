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
    let used = |mebibytes: u64| Usage {
        total: mebibytes << 20,
        containers: vec![
            ("a".to_owned(), mebibytes << 20),
            ("debugger".to_owned(), 1),
        ],
    };
    let mut whole = pod("10Mi", 0);
    let spec = whole.spec.as_mut().unwrap();
    spec.resources = Some(testing::object(json!({ "requests": { "memory": "15Mi" } })));
    for (pod, mebibytes, resource, expected) in [
        (
            pod("10Mi", 0),
            20,
            "memory",
            "Container a was using 20Mi, request is 10Mi, has larger consumption of memory. ",
        ),
        (pod("10Mi", 0), 10, "memory", ""),
        (
            pod("10Mi", 0),
            20,
            "ephemeral-storage",
            "Container a was using 20Mi, request is 0, has larger consumption of ephemeral-storage. ",
        ),
        (
            whole,
            5,
            "memory",
            "Pod web was using 5Mi, request is 15Mi, has larger consumption of memory. ",
        ),
    ] {
        assert_eq!(larger(&pod, &used(mebibytes), resource), expected);
    }
    assert_eq!(larger(&pod("10Mi", 0), &Usage::default(), "pids"), "");
}
