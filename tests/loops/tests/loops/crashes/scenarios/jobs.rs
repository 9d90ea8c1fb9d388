//! Controllers of what ends.

use serde_json::json;

use super::workloads::{job, one_node, pods};
use crate::crashes::hands::Hand;
use crate::crashes::scenario::{PLAIN, Scenario, Step, create, patch, wait};
use crate::crashes::world::equal;

const HANDS: &[Hand] = &[Hand::Scheduler, Hand::Kubelet, Hand::Work];

pub const SCENARIOS: [Scenario; 3] = [
    Scenario {
        controller: "job-controller",
        hands: HANDS,
        before: one_node,
        after: || vec![create("batch/v1", "Job", "sums", job())],
        check: |world| {
            let job = world.one("jobs", "sums")?;
            equal("succeeded", &job["status"]["succeeded"], &json!(3))?;
            equal(
                "uncounted pods",
                &job["status"]["uncountedTerminatedPods"],
                &json!({}),
            )?;
            pods(world, "Job", "sums", 3)
        },
        ..PLAIN
    },
    Scenario {
        controller: "cronjob-controller",
        company: &["job-controller", "garbage-collector-controller"],
        hands: HANDS,
        before: one_node,
        after: || {
            let spec = json!({"schedule": "* * * * *", "concurrencyPolicy": "Forbid", "successfulJobsHistoryLimit": 1,
                "jobTemplate": job()});
            vec![
                create("batch/v1", "CronJob", "sums", json!({"spec": spec})),
                wait(200),
                patch(
                    "/apis/batch/v1/namespaces/x/cronjobs/sums",
                    json!({"spec": {"suspend": true}}),
                ),
            ]
        },
        check: |world| {
            let cron = world.one("cronjobs", "sums")?;
            equal("active", &cron["status"]["active"], &json!(null))?;
            let jobs = world.owned("jobs", "CronJob", "sums");
            equal("jobs that are kept", &json!(jobs.len()), &json!(1))?;
            equal("succeeded", &jobs[0]["status"]["succeeded"], &json!(3))?;
            equal("pods", &json!(world.all("pods").len()), &json!(3))
        },
        ..PLAIN
    },
    Scenario {
        controller: "ttl-after-finished-controller",
        company: &["job-controller", "garbage-collector-controller"],
        hands: HANDS,
        before: one_node,
        after: || {
            let mut short = job();
            short["spec"]["ttlSecondsAfterFinished"] = 20.into();
            vec![
                create("batch/v1", "Job", "short", short),
                create("batch/v1", "Job", "long", job()),
                Step::When(|world| {
                    equal(
                        "ended",
                        &world.one("jobs", "long")?["status"]["succeeded"],
                        &json!(3),
                    )
                }),
                wait(60),
            ]
        },
        check: |world| {
            equal("jobs", &json!(world.all("jobs").len()), &json!(1))?;
            pods(world, "Job", "long", 3)
        },
        ..PLAIN
    },
];
