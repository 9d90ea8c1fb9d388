use knarr_client::fake;
use serde_json::{Value, json};

use super::*;
use crate::exchange::{Asked, accepted, failed, looks_again, reconcile};
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

/// A job that ended a minute ago.
fn ended(seconds: i64) -> Value {
    let end = clock::now() - SignedDuration::from_mins(1);
    let condition =
        json!({"type": "Complete", "status": "True", "lastTransitionTime": end.to_string()});
    json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"namespace": "x", "name": "j", "uid": "u"},
        "spec": {"ttlSecondsAfterFinished": seconds, "template": {}},
        "status": {"conditions": [condition]},
    })
}

/// What is asked about a job that the informer has so, and the server otherwise; whether it is looked at again.
async fn asked(seen: Value, live: Option<Value>) -> (Vec<Asked>, bool) {
    let (client, mut server) = fake::client();
    let controller = TtlAfterFinished {
        client,
        jobs: Informer::new(),
        queue: WorkQueue::new(),
    };
    controller.jobs.apply(object(seen));
    let answer = |asked: &Asked| match (&*asked.method, &live) {
        ("GET", Some(live)) => (200, live.clone()),
        ("GET", None) => failed(404, "NotFound"),
        _ => accepted(asked),
    };
    let key = Key::new("x", "j");
    let (result, asked) = reconcile(&controller, &key, &mut server, answer).await;
    assert!(result.is_ok(), "{result:?}");
    (asked, looks_again(&controller.queue).await)
}

#[tokio::test(start_paused = true)]
async fn a_job_goes_when_the_server_agrees() {
    let (get, delete) = (
        "GET /apis/batch/v1/namespaces/x/jobs/j",
        "DELETE /apis/batch/v1/namespaces/x/jobs/j",
    );
    let going = || {
        let mut job = ended(0);
        job["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        job
    };
    for (what, seen, live, expected, again) in [
        ("not yet", ended(3600), None, &[][..], true),
        ("over", ended(30), Some(ended(30)), &[get, delete], false),
        ("at once", ended(0), Some(ended(0)), &[get, delete], false),
        (
            "kept longer meanwhile",
            ended(30),
            Some(ended(3600)),
            &[get],
            true,
        ),
        ("gone meanwhile", ended(30), None, &[get], false),
        ("on its way", ended(30), Some(going()), &[get], false),
        ("on its way already", going(), None, &[], false),
    ] {
        let (asked, later) = asked(seen, live).await;
        let shown: Vec<String> = asked.iter().map(Asked::shown).collect();
        assert_eq!(shown, expected, "{what}");
        assert_eq!(later, again, "{what}");
        for asked in asked.iter().filter(|asked| asked.method == "DELETE") {
            assert_eq!(asked.body["propagationPolicy"], "Foreground");
            assert_eq!(asked.body["preconditions"]["uid"], "u");
        }
    }
}
