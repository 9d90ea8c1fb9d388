use serde_json::{Value, json};

use super::*;
use crate::fixtures::{now, object, pod as pod_of};

fn claim(conditions: Value) -> PersistentVolumeClaim {
    object(json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "c"},
        "status": {"phase": "Bound", "conditions": conditions},
    }))
}

#[test]
fn a_claim_says_whether_pods_refer_to_it() {
    let other = json!({"type": "Resizing", "status": "True"});
    let says = |status: &str| json!({"type": "Unused", "status": status});
    let cases = [
        (json!([]), true, Some("False")),
        (json!([]), false, Some("True")),
        (json!([other, says("True")]), true, Some("False")),
        (json!([other, says("False")]), false, Some("True")),
        (json!([says("True")]), false, None),
        (json!([says("False")]), true, None),
    ];
    for (conditions, used, wanted) in cases {
        let before = claim(conditions.clone());
        let after = write(&before, used, now());
        let status = after.as_ref().and_then(says_status);
        assert_eq!(status, wanted, "{conditions} {used}");
        if let Some(after) = &after {
            let kept = after
                .status
                .iter()
                .flat_map(|s| s.conditions.iter().flatten());
            let kept = kept.filter(|known| known.type_ == "Resizing").count();
            assert_eq!(kept, conditions.to_string().matches("Resizing").count());
        }
    }
}

fn says_status(claim: &PersistentVolumeClaim) -> Option<&str> {
    says(claim).map(|known| known.status.as_str())
}

#[test]
fn pods_count_until_they_are_over() {
    let volumes = |name: &str| json!({"spec": {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]}});
    let claim = claim(json!([]));
    assert!(counts(&pod_of("p", "n", volumes("c")), &claim));
    assert!(counts(&pod_of("p", "", volumes("c")), &claim), "it waits");
    assert!(!counts(&pod_of("p", "n", volumes("d")), &claim));
    let mut ended = volumes("c");
    ended["status"] = json!({"phase": "Succeeded"});
    assert!(!counts(&pod_of("p", "n", ended), &claim));
}
