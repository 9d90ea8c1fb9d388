use serde_json::json;

use super::*;

#[test]
fn what_is_due() {
    let deleted = Some("2030-01-01T00:00:00Z");
    for (finalizers, deletion, expected) in [
        (vec![], None, Due::Add),
        (vec!["other"], None, Due::Add),
        (vec!["other", "ours"], None, Due::Nothing),
        (vec!["ours"], deleted, Due::RemoveIfUnused),
        (vec!["other"], deleted, Due::Nothing),
    ] {
        let meta = json!({"finalizers": finalizers, "deletionTimestamp": deletion});
        let meta: ObjectMeta = serde_json::from_value(meta).expect("metadata");
        assert_eq!(due(&meta, "ours"), expected, "{finalizers:?}, {deletion:?}");
    }
}
