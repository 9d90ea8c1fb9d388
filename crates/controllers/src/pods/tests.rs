use serde_json::json;

use super::*;
use crate::fixtures::{now, pod};

/// Whoever may write a pod's status may write any time into it.
#[test]
fn times_at_the_end_of_all_times() {
    let ready_at = |time: &str| {
        let status = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": time},
        ]}});
        pod("web", "n", status)
    };
    let last = ready_at("9999-12-30T21:59:59Z");
    assert_eq!(available_at(&last, i32::MAX), None, "never");
    assert!(available_at(&last, 0).is_some_and(|at| at <= now()));
    let first = ready_at("-009999-01-02T01:59:59Z");
    assert!(available_at(&first, i32::MAX).is_some_and(|at| at <= now()));
}
