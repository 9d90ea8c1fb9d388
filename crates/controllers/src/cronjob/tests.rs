use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::*;
use crate::fixtures::{merge, now, object};

/// A CronJob that was made at ten o'clock, of each full hour, changed by `more`.
fn cron(more: Value) -> CronJob {
    let mut cron = json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "cron", "creationTimestamp": "2030-01-01T10:00:00Z"},
        "spec": {"schedule": "0 * * * *", "timeZone": "UTC", "concurrencyPolicy": "Allow", "jobTemplate": {
            "metadata": {"labels": {"l": "m"}, "annotations": {"a": "b"}},
            "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}},
        }},
    });
    merge(&mut cron, more);
    object(cron)
}

fn job(name: &str, ended: Option<(&str, &str)>) -> Arc<Job> {
    let mut job = json!({"metadata": {"namespace": "x", "name": name, "uid": format!("uid-{name}")}, "spec": {"template": {}}});
    if let Some((condition, at)) = ended {
        job["status"] =
            json!({"startTime": at, "conditions": [{"type": condition, "status": "True"}]});
        if condition == "Complete" {
            job["status"]["completionTime"] = json!(at);
        }
    }
    Arc::new(object(job))
}

fn active(names: &[&str]) -> Value {
    let reference =
        |name: &&str| json!({"name": name, "namespace": "x", "uid": format!("uid-{name}")});
    json!({"status": {"active": names.iter().map(reference).collect::<Vec<_>>()}})
}

/// What is decided, the events, and for how long to wait.
fn decision(cron: CronJob, at: &str) -> String {
    let now = at.parse().expect("a time");
    let mut sync = Sync::new(cron);
    let next = match sync.decide(now) {
        Next::Nothing => "nothing".to_owned(),
        Next::Wait => "wait".to_owned(),
        Next::Start(start) => {
            let replacing = if start.replace { " replacing" } else { "" };
            format!("start {}{replacing}", start.at)
        }
    };
    let delay = sync.delay(now).map(|delay| format!(", again in {delay:?}"));
    let told: Vec<_> = sync
        .end()
        .1
        .iter()
        .map(|t| format!("\n  {}: {}", t.reason, t.note))
        .collect();
    format!("{next}{}{}", delay.unwrap_or_default(), told.concat())
}

fn check(cases: &[(&str, Value)], expected: Expect) {
    let lines = cases.iter().map(|(at, more)| {
        let at = match at.contains('T') {
            true => format!("{at}Z"),
            false => format!("2030-01-01T{at}Z"),
        };
        format!("{at} {more}: {}\n", decision(cron(more.clone()), &at))
    });
    expected.assert_eq(&lines.collect::<String>());
}

#[test]
fn times_come_and_are_missed() {
    let spec = |more: Value| json!({"spec": more});
    let last = |at: &str| json!({"status": {"lastScheduleTime": at}});
    check(
        &[
            ("10:30:00", json!({})),
            ("11:00:00.05", json!({})),
            ("11:00:00.05", last("2030-01-01T11:00:00Z")),
            ("13:20:00", last("2030-01-01T11:00:00Z")),
            ("2030-02-01T13:20:00", last("2030-01-01T11:00:00Z")),
            ("11:00:30", spec(json!({"startingDeadlineSeconds": 20}))),
            ("11:00:10", spec(json!({"startingDeadlineSeconds": 20}))),
            (
                "11:00:10",
                spec(json!({"startingDeadlineSeconds": i64::MAX})),
            ),
            ("11:00:00", spec(json!({"suspend": true}))),
            ("11:00:00", spec(json!({"schedule": "0 0 30 2 *"}))),
            (
                "11:00:00",
                spec(json!({"schedule": "0 0 30 * *", "timeZone": "Mars/Olympus"})),
            ),
            ("11:00:00", spec(json!({"schedule": "x"}))),
            (
                "11:00:00",
                spec(json!({"schedule": "TZ=Europe/Oslo 0 12 * * *"})),
            ),
            (
                "11:00:00",
                spec(json!({"schedule": "0 12 * * *", "timeZone": "Europe/Oslo"})),
            ),
            ("10:29:59", spec(json!({"schedule": "@every 90s"}))),
            (
                "11:00:00",
                json!({"metadata": {"deletionTimestamp": "2030-01-01T10:59:00Z"}}),
            ),
            (
                "2030-01-02T05:00:00",
                json!({"spec": {"schedule": "30 6-16/4 * * 1-5"}, "status": {"lastScheduleTime": "2030-01-01T02:30:00Z"}}),
            ),
        ],
        expect![[r#"
            2030-01-01T10:30:00Z {}: wait, again in 1800.1s
            2030-01-01T11:00:00.05Z {}: start 2030-01-01T11:00:00Z, again in 3600.05s
            2030-01-01T11:00:00.05Z {"status":{"lastScheduleTime":"2030-01-01T11:00:00Z"}}: wait, again in 3600.05s
            2030-01-01T13:20:00Z {"status":{"lastScheduleTime":"2030-01-01T11:00:00Z"}}: start 2030-01-01T13:00:00Z, again in 2400.1s
            2030-02-01T13:20:00Z {"status":{"lastScheduleTime":"2030-01-01T11:00:00Z"}}: start 2030-02-01T13:00:00Z, again in 2400.1s
              TooManyMissedTimes: too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew
            2030-01-01T11:00:30Z {"spec":{"startingDeadlineSeconds":20}}: wait, again in 3570.1s
            2030-01-01T11:00:10Z {"spec":{"startingDeadlineSeconds":20}}: start 2030-01-01T11:00:00Z, again in 3590.1s
            2030-01-01T11:00:10Z {"spec":{"startingDeadlineSeconds":9223372036854775807}}: start 2030-01-01T11:00:00Z, again in 3590.1s
            2030-01-01T11:00:00Z {"spec":{"suspend":true}}: nothing
            2030-01-01T11:00:00Z {"spec":{"schedule":"0 0 30 2 *"}}: nothing
              InvalidSchedule: invalid schedule: 0 0 30 2 * : time difference between two schedules is less than 1 second
            2030-01-01T11:00:00Z {"spec":{"schedule":"0 0 30 * *","timeZone":"Mars/Olympus"}}: nothing
              UnknownTimeZone: invalid timeZone: "Mars/Olympus": unknown time zone Mars/Olympus
            2030-01-01T11:00:00Z {"spec":{"schedule":"x"}}: nothing
              UnparseableSchedule: unparseable schedule: "x" : expected exactly 5 fields, found 1: [x]
            2030-01-01T11:00:00Z {"spec":{"schedule":"TZ=Europe/Oslo 0 12 * * *"}}: start 2030-01-01T11:00:00Z, again in 86400.1s
              UnsupportedSchedule: CRON_TZ or TZ used in schedule "TZ=Europe/Oslo 0 12 * * *" is not officially supported, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details
            2030-01-01T11:00:00Z {"spec":{"schedule":"0 12 * * *","timeZone":"Europe/Oslo"}}: start 2030-01-01T11:00:00Z, again in 86400.1s
            2030-01-01T10:29:59Z {"spec":{"schedule":"@every 90s"}}: start 2030-01-01T10:28:30Z, again in 1.1s
            2030-01-01T11:00:00Z {"metadata":{"deletionTimestamp":"2030-01-01T10:59:00Z"}}: nothing
            2030-01-02T05:00:00Z {"spec":{"schedule":"30 6-16/4 * * 1-5"},"status":{"lastScheduleTime":"2030-01-01T02:30:00Z"}}: wait, again in 5400.1s
        "#]],
    );
}

#[test]
fn policies_about_jobs_that_run() {
    let with = |policy: &str, names: &[&str]| {
        let mut more = active(names);
        more["spec"] = json!({"concurrencyPolicy": policy});
        more
    };
    let due = "c-31558260";
    check(
        &[
            ("11:00:00", with("Allow", &["old"])),
            ("11:00:00", with("Forbid", &["old"])),
            ("11:00:00", with("Forbid", &[])),
            ("11:00:00", with("Replace", &["old"])),
            ("11:00:00", with("Replace", &[due])),
        ],
        expect![[r#"
            2030-01-01T11:00:00Z {"spec":{"concurrencyPolicy":"Allow"},"status":{"active":[{"name":"old","namespace":"x","uid":"uid-old"}]}}: start 2030-01-01T11:00:00Z, again in 3600.1s
            2030-01-01T11:00:00Z {"spec":{"concurrencyPolicy":"Forbid"},"status":{"active":[{"name":"old","namespace":"x","uid":"uid-old"}]}}: wait, again in 3600.1s
              JobAlreadyActive: Not starting job because prior execution is running and concurrency policy is Forbid
            2030-01-01T11:00:00Z {"spec":{"concurrencyPolicy":"Forbid"},"status":{"active":[]}}: start 2030-01-01T11:00:00Z, again in 3600.1s
            2030-01-01T11:00:00Z {"spec":{"concurrencyPolicy":"Replace"},"status":{"active":[{"name":"old","namespace":"x","uid":"uid-old"}]}}: start 2030-01-01T11:00:00Z replacing, again in 3600.1s
            2030-01-01T11:00:00Z {"spec":{"concurrencyPolicy":"Replace"},"status":{"active":[{"name":"c-31558260","namespace":"x","uid":"uid-c-31558260"}]}}: wait, again in 3600.1s
        "#]],
    );
}

#[test]
fn jobs_are_observed() {
    let jobs = [
        job("runs", None),
        job("strange", None),
        job("failed", Some(("Failed", "2030-01-01T10:10:00Z"))),
        job("done", Some(("Complete", "2030-01-01T10:20:00Z"))),
        job("before", Some(("Complete", "2030-01-01T10:05:00Z"))),
    ];
    let mut sync = Sync::new(cron(active(&["runs", "failed", "done", "gone"])));
    sync.observe(&jobs);
    let names =
        |list: Vec<ObjectReference>| list.into_iter().filter_map(|r| r.name).collect::<Vec<_>>();
    assert_eq!(names(sync.missing(&jobs)), ["gone"]);
    assert_eq!(names(sync.active()), ["runs", "gone"]);
    let (cron, told, changed) = sync.end();
    assert!(changed);
    let status = cron.status.unwrap_or_default();
    let last = status.last_successful_time.map(|t| t.0.to_string());
    assert_eq!(last.as_deref(), Some("2030-01-01T10:20:00Z"));
    let told: Vec<_> = told
        .iter()
        .map(|t| format!("{} {}: {}", t.type_, t.reason, t.note))
        .collect();
    expect![[r#"
        Warning UnexpectedJob: Saw a job that the controller did not create or forgot: strange
        Normal SawCompletedJob: Saw completed job: failed, condition: Failed
        Normal SawCompletedJob: Saw completed job: done, condition: Complete"#]]
    .assert_eq(&told.join("\n"));
}

#[test]
fn the_oldest_go() {
    let jobs = [
        job("s2", Some(("Complete", "2030-01-01T10:20:00Z"))),
        job("s1", Some(("Complete", "2030-01-01T10:10:00Z"))),
        job("s3", Some(("Complete", "2030-01-01T10:30:00Z"))),
        job("f1", Some(("Failed", "2030-01-01T10:10:00Z"))),
        job("f2", Some(("Failed", "2030-01-01T10:20:00Z"))),
        job("runs", None),
    ];
    for (successful, failed, expected) in [
        (Some(3), Some(1), &["f1"][..]),
        (Some(1), Some(5), &["s1", "s2"]),
        (Some(0), Some(0), &["s1", "s2", "s3", "f1", "f2"]),
        (None, Some(2), &[]),
        (None, None, &[]),
    ] {
        let limits = json!({"spec": {"successfulJobsHistoryLimit": successful, "failedJobsHistoryLimit": failed}});
        let surplus = Sync::new(cron(limits)).surplus(&jobs);
        let names: Vec<_> = surplus
            .iter()
            .filter_map(|job| job.metadata.name.clone())
            .collect();
        assert_eq!(names, expected, "{successful:?} {failed:?}");
    }
}

#[test]
fn a_job_is_made_of_the_template() {
    let zone = |name| knarr_meta::cron::zone(name).expect("a zone");
    let made = template::job(&cron(json!({})), now(), &zone("UTC"));
    let expected = json!({
        "apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "c-31558320", "namespace": "x", "labels": {"l": "m"},
            "annotations": {"a": "b", "batch.kubernetes.io/cronjob-scheduled-timestamp": "2030-01-01T12:00:00Z"},
            "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob", "name": "c", "uid": "cron",
                "controller": true, "blockOwnerDeletion": true}]},
        "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}},
    });
    assert_eq!(serde_json::to_value(made).expect("json"), expected);
    let abroad = template::job(&cron(json!({})), now(), &zone("America/New_York"));
    let annotations = abroad.metadata.annotations.unwrap_or_default();
    let told = annotations.get("batch.kubernetes.io/cronjob-scheduled-timestamp");
    assert_eq!(told.map(String::as_str), Some("2030-01-01T07:00:00-05:00"));
}
