use serde_json::from_value;

use super::*;
use crate::gateway::said::Why;

fn stamp(generation: i64, second: i64) -> Stamp {
    Stamp {
        generation,
        now: Timestamp::from_second(second).expect("a time"),
    }
}

fn route_status(value: Option<Value>) -> RouteStatus {
    from_value(value.expect("a status")).expect("a status")
}

fn parent(name: &str) -> ParentRef {
    ParentRef {
        name: name.to_owned(),
        ..ParentRef::default()
    }
}

#[test]
fn features_are_in_their_order() {
    let all: Vec<&str> = FEATURES.iter().chain(&MORE_FEATURES).copied().collect();
    assert!(all.is_sorted());
}

#[test]
fn what_is_said_already_is_not_said_again() {
    let yes = vec![Said::yes("Accepted", "Accepted")];
    let parents = vec![(parent("a"), yes.clone())];
    let first = route_status(route(&RouteStatus::default(), &parents, stamp(1, 10)));
    assert!(route(&first, &parents, stamp(1, 20)).is_none());
    // Another generation is news, and the time stays.
    let second = route_status(route(&first, &parents, stamp(2, 20)));
    let [told] = second.parents.as_slice() else {
        panic!("{second:?}")
    };
    assert_eq!(told.conditions[0].observed_generation, Some(2));
    assert_eq!(
        told.conditions[0].last_transition_time,
        Time(stamp(0, 10).now)
    );
    let no = vec![Said::no("Accepted", Why::unsupported("x"))];
    let third = route_status(route(&second, &[(parent("a"), no)], stamp(2, 30)));
    assert_eq!(
        third.parents[0].conditions[0].last_transition_time,
        Time(stamp(0, 30).now)
    );
    assert_eq!(
        route_status(route(&third, &[], stamp(2, 40))).parents.len(),
        0
    );
}

#[test]
fn what_others_say_stays() {
    let theirs = json!({"parents": [{
        "parentRef": {"name": "b"}, "controllerName": "example.com/other",
        "conditions": [{
            "type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
            "lastTransitionTime": "2030-01-01T00:00:00Z",
        }],
    }]});
    let old = route_status(Some(theirs));
    assert!(route(&old, &[], stamp(1, 10)).is_none());
    let said = vec![Said::yes("Accepted", "Accepted")];
    let new = route_status(route(&old, &[(parent("a"), said)], stamp(1, 10)));
    let names: Vec<&str> = new
        .parents
        .iter()
        .map(|one| &*one.controller_name)
        .collect();
    assert_eq!(names, ["example.com/other", CONTROLLER]);
    let foreign = json!({
        "type": "example.com/Seen", "status": "True", "reason": "Seen", "message": "",
        "lastTransitionTime": "2030-01-01T00:00:00Z",
    });
    let pending = json!({
        "type": "Accepted", "status": "Unknown", "reason": "Pending", "message": "",
        "lastTransitionTime": "1970-01-01T00:00:00Z",
    });
    let old: GatewayStatus =
        from_value(json!({"conditions": [pending, foreign]})).expect("a status");
    let said = [Said::yes("Accepted", "Accepted")];
    let new = class(&old, &said, stamp(1, 10)).expect("a status");
    let told = |at: usize| new["conditions"][at]["type"].as_str();
    assert_eq!(
        (told(0), told(1)),
        (Some("Accepted"), Some("example.com/Seen"))
    );
    let new: GatewayStatus = from_value(new).expect("a status");
    assert!(class(&new, &said, stamp(1, 20)).is_none());
}
