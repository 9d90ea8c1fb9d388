use serde_json::json;

use super::*;
use crate::fixtures::object;

fn claim(phase: &str, wants: &str, has: &str) -> Arc<PersistentVolumeClaim> {
    Arc::new(object(json!({
        "metadata": {"namespace": "x", "name": "c"},
        "spec": {"resources": {"requests": {"storage": wants}}},
        "status": {"phase": phase, "capacity": {"storage": has}},
    })))
}

#[test]
fn claims_that_grew_are_told_of() {
    let cases = [
        (
            claim("Bound", "1Gi", "1Gi"),
            claim("Bound", "2Gi", "1Gi"),
            true,
        ),
        (
            claim("Bound", "1Gi", "1Gi"),
            claim("Bound", "1024Mi", "1Gi"),
            false,
        ),
        (
            claim("Pending", "1Gi", "0"),
            claim("Pending", "2Gi", "0"),
            false,
        ),
        // The driver gave more than was asked for.
        (
            claim("Bound", "1Gi", "4Gi"),
            claim("Bound", "2Gi", "4Gi"),
            false,
        ),
        // It is under way.
        (
            claim("Bound", "2Gi", "1Gi"),
            claim("Bound", "2Gi", "1Gi"),
            false,
        ),
        (
            claim("Bound", "2Gi", "1Gi"),
            claim("Bound", "2Gi", "2Gi"),
            false,
        ),
    ];
    for (old, new, told) in cases {
        let case = format!("{:?} {:?}", old.status, new.spec);
        assert_eq!(asks_for_more(&Event::Updated { old, new }), told, "{case}");
    }
    assert!(asks_for_more(&Event::Added(claim("Bound", "2Gi", "1Gi"))));
    assert!(!asks_for_more(&Event::Added(claim("Bound", "1Gi", "1Gi"))));
    assert!(!asks_for_more(&Event::Deleted(claim(
        "Bound", "2Gi", "1Gi"
    ))));
}
