use serde_json::{Value, json};

use super::*;

fn node(drivers: Value) -> CSINode {
    let node = json!({"metadata": {"name": "n"}, "spec": {"drivers": drivers}});
    serde_json::from_value(node).expect("a CSINode")
}

#[test]
fn nodes_offer_more_with_a_driver_or_a_higher_limit() {
    let one = |count: Value| json!([{"name": "d", "nodeID": "n", "allocatable": count}]);
    let cases = [
        (json!([]), one(json!({"count": 1})), true),
        (one(json!({"count": 1})), one(json!({"count": 2})), true),
        (one(json!({"count": 1})), one(json!({})), true),
        (one(json!({"count": 2})), one(json!({"count": 1})), false),
        (one(json!({"count": 1})), one(json!({"count": 1})), false),
        (one(json!({})), one(json!({"count": 9})), false),
        (one(json!({"count": 1})), json!([]), false),
    ];
    for (before, now, more) in cases {
        let case = format!("{before} {now}");
        assert_eq!(offers_more(&node(before), &node(now)), more, "{case}");
    }
}

#[test]
fn the_largest_volume_goes_before_the_whole_room() {
    let room = |more: Value| {
        let mut room = json!({"metadata": {"name": "r"}, "storageClassName": "c"});
        room.as_object_mut()
            .expect("an object")
            .extend(more.as_object().cloned().unwrap_or_default());
        let room: CSIStorageCapacity = serde_json::from_value(room).expect("a room");
        largest(&room).map(|size| size.to_string())
    };
    assert_eq!(room(json!({})), None);
    assert_eq!(room(json!({"capacity": "2Gi"})).as_deref(), Some("2Gi"));
    let both = json!({"capacity": "2Gi", "maximumVolumeSize": "1Gi"});
    assert_eq!(room(both).as_deref(), Some("1Gi"));
}
