use serde_json::json;

use super::*;
use crate::fixtures::object;

#[test]
fn jobs_expire_after_their_end() {
    let job = |seconds: Option<i64>, ends: &[&str], deleted: bool| -> Job {
        let at = |type_: &&str| json!({"type": type_, "status": "True", "lastTransitionTime": "2030-01-01T12:00:00Z"});
        object(json!({
            "metadata": {"name": "j", "deletionTimestamp": deleted.then_some("2030-01-01T12:00:00Z")},
            "spec": {"ttlSecondsAfterFinished": seconds, "template": {}},
            "status": {"conditions": ends.iter().map(at).collect::<Vec<_>>()},
        }))
    };
    for (seconds, ends, deleted, expected) in [
        (
            Some(60),
            &["Complete"][..],
            false,
            Some("2030-01-01T12:01:00Z"),
        ),
        (Some(0), &["Failed"], false, Some("2030-01-01T12:00:00Z")),
        (None, &["Complete"], false, None),
        (Some(60), &["FailureTarget"], false, None),
        (Some(60), &["Complete"], true, None),
    ] {
        let expected = expected.map(|time| time.parse::<Timestamp>().expect("a time"));
        assert_eq!(
            expiry(&job(seconds, ends, deleted)),
            expected,
            "{seconds:?} {ends:?}"
        );
    }
}
