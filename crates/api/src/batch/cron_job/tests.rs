use expect_test::expect;
use serde_json::{Value, json};

use super::KIND;
use crate::{
    kind::Part,
    testing::{create_errors, created, pretty, row, update_errors},
};

const NOW: i64 = 1_767_225_600;

fn cron(more: Value) -> Value {
    let mut object = json!({
        "metadata": {"name": "c", "namespace": "d", "creationTimestamp": "2025-12-31T22:00:00Z"},
        "spec": {"schedule": "0 4 * * *", "jobTemplate": {"spec": {"template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
        }}}}},
    });
    if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    object
}

fn with_job(field: &str, value: Value) -> Value {
    let mut object = cron(json!({}));
    object["spec"]["jobTemplate"]["spec"][field] = value;
    object
}

#[test]
fn defaults() {
    let mut object = created(&KIND, cron(json!({})));
    object["spec"]["jobTemplate"]["spec"]["template"] = Value::Null;
    expect![[r#"
        {
          "metadata": {
            "creationTimestamp": "2025-12-31T22:00:00Z",
            "name": "c",
            "namespace": "d"
          },
          "spec": {
            "concurrencyPolicy": "Allow",
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
              "spec": {
                "template": null
              }
            },
            "schedule": "0 4 * * *",
            "successfulJobsHistoryLimit": 3,
            "suspend": false
          },
          "status": {}
        }"#]]
    .assert_eq(&pretty(&object));
}

#[test]
fn refusals() {
    let mut long = cron(json!({}));
    long["metadata"]["name"] = "a".repeat(53).into();
    let errors = [
        cron(json!({"schedule": ""})),
        cron(json!({"schedule": "* * * *"})),
        cron(json!({"schedule": "TZ=UTC * * * * *"})),
        cron(json!({"schedule": "CRON_TZ=Europe/Oslo * * * * *", "timeZone": "Europe/Oslo"})),
        cron(json!({"timeZone": ""})),
        cron(json!({"timeZone": "local"})),
        cron(json!({"timeZone": "Europe/../Oslo"})),
        cron(json!({"timeZone": "Europe/Atlantis"})),
        cron(json!({"timeZone": "A Zone"})),
        cron(json!({"concurrencyPolicy": "Perhaps"})),
        cron(json!({"startingDeadlineSeconds": -1, "successfulJobsHistoryLimit": -1, "failedJobsHistoryLimit": -2})),
        with_job("selector", json!({"matchLabels": {"a": "b"}})),
        with_job("manualSelector", json!(true)),
        with_job("completionMode", json!("Other")),
        with_job("backoffLimitPerIndex", json!(1)),
        with_job("template", json!({"spec": {"containers": [{"name": "c", "image": "i"}]}})),
        long,
    ]
    .map(|object| create_errors(&KIND, object))
    .join("\n");
    expect![[r#"
        spec.schedule: Required value
        spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]
        spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead
        spec.schedule: Invalid value: "CRON_TZ=Europe/Oslo * * * * *": cannot use TZ or CRON_TZ in schedule, use timeZone field instead
        spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string
        spec.timeZone: Invalid value: "local": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones
        spec.timeZone: Invalid value: "local": unknown time zone local
        spec.timeZone: Invalid value: "Europe/../Oslo": unknown time zone Europe/../Oslo
        spec.timeZone: Invalid value: "Europe/Atlantis": unknown time zone Europe/Atlantis
        spec.timeZone: Invalid value: "A Zone": unknown time zone A Zone
        spec.concurrencyPolicy: Unsupported value: "Perhaps": supported values: "Allow", "Forbid", "Replace"
        spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0
        spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0
        spec.failedJobsHistoryLimit: Invalid value: -2: must be greater than or equal to 0
        spec.jobTemplate.spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: `selector` will be auto-generated
        spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "nil", "false"
        spec.jobTemplate.spec.completionMode: Unsupported value: "Other": supported values: "NonIndexed", "Indexed"
        spec.jobTemplate.spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode
        spec.jobTemplate.spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"
        metadata.name: Invalid value: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa": must be no more than 52 characters"#]].assert_eq(&errors);
}

#[test]
fn zones_in_schedules_may_stay() {
    let zoned = |more| {
        let mut object = cron(json!({"schedule": "TZ=UTC * * * * *"}));
        if let (Some(spec), Value::Object(more)) = (object["spec"].as_object_mut(), more) {
            spec.extend(more);
        }
        object
    };
    let old = created(&KIND, zoned(json!({"timeZone": "Atlantis"})));
    let errors = [
        zoned(json!({"suspend": true})),
        zoned(json!({"timeZone": "Atlantis"})),
        zoned(json!({"timeZone": "Europe/Oslo", "schedule": "* * * * *"})),
    ]
    .map(|new| update_errors(&KIND, new, &old, Part::Main));
    expect![[r#"

        spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use both timeZone field and TZ or CRON_TZ in schedule
    "#]].assert_eq(&errors.join("\n"));
    let new = zoned(json!({"schedule": "x"}));
    assert_eq!(update_errors(&KIND, new, &old, Part::Status), "");
}

#[test]
fn warnings() {
    let mut object = with_job("completionMode", json!("Indexed"));
    object["spec"]["jobTemplate"]["spec"]["completions"] = json!(100_001);
    object["spec"]["jobTemplate"]["spec"]["parallelism"] = json!(10_001);
    object["spec"]["schedule"] = json!("TZ=UTC * * * * *");
    object["metadata"]["name"] = json!("a.b");
    let warnings = KIND
        .strategy
        .warnings(&object, None, crate::kind::Part::Main);
    expect![[r#"
        metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]
        spec.jobTemplate.spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail
        cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"#]].assert_eq(&warnings.join("\n"));
}

#[test]
fn rows() {
    let mut object = created(&KIND, cron(json!({"timeZone": "Europe/Oslo"})));
    object["status"] = json!({"lastScheduleTime": "2025-12-31T23:00:00Z", "active": [{}, {}]});
    let rows = [row(&KIND, &object, NOW), row(&KIND, &cron(json!({})), NOW)];
    expect![[r#"
        c | 0 4 * * * | Europe/Oslo | False | 2 | 60m | 120m | c | i | <none>
        c | 0 4 * * * | <none> | <unset> | 0 | <none> | 120m | c | i | <none>"#]]
    .assert_eq(&rows.join("\n"));
}
