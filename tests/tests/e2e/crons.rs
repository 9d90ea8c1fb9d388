//! CronJobs with kubectl: a job each minute, one by hand, suspension, refusals.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use knarr_testkit::eventually;

use crate::support::{Shell, newest, step, with_running_cluster};

/// A minute that has just begun, the next one, and what the job takes.
const TWO_MINUTES: Duration = Duration::from_secs(130);

fn manifest(name: &str, schedule: &str, spec: &[&str], script: &str) -> String {
    let spec = spec
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect::<String>();
    format!(
        "apiVersion: batch/v1\nkind: CronJob\nmetadata:\n  name: {name}\nspec:\n  schedule: '{schedule}'\n{spec}  \
         jobTemplate:\n    metadata:\n      labels: {{of: {name}}}\n    spec:\n      template:\n        spec:\n          \
         restartPolicy: Never\n          terminationGracePeriodSeconds: 1\n          containers:\n          - name: main\n            \
         image: knarr/busybox:latest\n            imagePullPolicy: IfNotPresent\n            command: [sh, -c, '{script}']\n"
    )
}

#[test]
fn jobs_come_with_the_time() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("refusals", || refusals(&shell))?;
        step("by hand", || by_hand(&shell))?;
        let there = step("a time of another zone", || elsewhere(&shell))?;
        step("each minute", || each_minute(&shell))?;
        step("it was the time there", || was_then(&shell, there))?;
        step("suspension", || suspension(&shell))?;
        step("delete", || delete(&shell))
    });
}

fn refusals(shell: &Shell<'_>) -> Result<()> {
    for (schedule, spec, message) in [
        (
            "* * * *",
            "suspend: false",
            "spec.schedule: Invalid value: \"* * * *\": expected exactly 5 fields, found 4: [* * * *]",
        ),
        (
            "TZ=UTC * * * * *",
            "suspend: false",
            "cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
        (
            "@daily",
            "timeZone: Mars/Olympus",
            "spec.timeZone: Invalid value: \"Mars/Olympus\": unknown time zone Mars/Olympus",
        ),
    ] {
        let cron = manifest("x", schedule, &[spec], "true");
        let refused = shell.output(&["apply", "-f", "-"], &cron)?.failure(1)?;
        ensure!(refused.contains(message), "{refused}");
    }
    Ok(())
}

fn by_hand(shell: &Shell<'_>) -> Result<()> {
    let spec = ["timeZone: Europe/Oslo", "suspend: true"];
    shell.apply(&manifest("rare", "0 0 29 2 *", &spec, "echo hello"))?;
    shell.says(
        "get cronjob rare",
        &["TIMEZONE", "LAST SCHEDULE", "Europe/Oslo", "True", "<none>"],
    )?;
    shell.run("create job once --from=cronjob/rare")?;
    shell.run("wait --for=condition=complete --timeout=60s job/once")?;
    ensure!(shell.run("logs job/once")? == "hello\n", "no greeting");
    let mark = "{.metadata.annotations.cronjob\\.kubernetes\\.io/instantiate}";
    ensure!(shell.path("job once", mark)? == "manual", "no mark");
    Ok(())
}

/// Ahead of the clocks here by hours and minutes that no others are.
const ZONE: &str = "Asia/Kathmandu";
const AHEAD: SignedDuration = SignedDuration::from_mins(5 * 60 + 45);

/// A CronJob for the next minute as the clocks of another zone show it: once a day, and at no other time by those of this machine. The
/// moment.
fn elsewhere(shell: &Shell<'_>) -> Result<Timestamp> {
    let soon = Timestamp::now() + SignedDuration::from_secs(75);
    let soon = Timestamp::from_second(soon.as_second() / 60 * 60)?;
    let shown = (soon + AHEAD).to_zoned(TimeZone::UTC);
    let schedule = format!("{} {} * * *", shown.minute(), shown.hour());
    let zone = format!("timeZone: {ZONE}");
    shell.apply(&manifest("there", &schedule, &[&zone], "date"))?;
    Ok(soon)
}

fn was_then(shell: &Shell<'_>, there: Timestamp) -> Result<()> {
    eventually(TWO_MINUTES, "a job at the time there", || {
        let last = shell.path("cronjob there", "{.status.lastScheduleTime}")?;
        ensure!(last.parse::<Timestamp>()? == there, "{last}");
        Ok(())
    })?;
    shell.run("delete cronjob there")?;
    Ok(())
}

fn each_minute(shell: &Shell<'_>) -> Result<()> {
    let spec = ["concurrencyPolicy: Forbid", "successfulJobsHistoryLimit: 1"];
    shell.apply(&manifest("often", "* * * * *", &spec, "date"))?;
    eventually(TWO_MINUTES, "a job was started and has succeeded", || {
        let status = shell.path(
            "cronjob often",
            "{.status.lastScheduleTime}{.status.lastSuccessfulTime}",
        )?;
        ensure!(status.matches('Z').count() == 2, "{status}");
        let active = shell.path("cronjob often", "{.status.active}")?;
        ensure!(active.is_empty(), "{active}");
        Ok(())
    })?;
    let last = shell.path("cronjob often", "{.status.lastScheduleTime}")?;
    ensure!(last.ends_with(":00Z"), "{last}");
    let stamp =
        "{.items[0].metadata.annotations.batch\\.kubernetes\\.io/cronjob-scheduled-timestamp}";
    ensure!(
        shell.path("jobs -l of=often", stamp)? == last,
        "another time"
    );
    let owner = shell.path(
        "jobs -l of=often",
        "{.items[0].metadata.ownerReferences[0].name}",
    )?;
    ensure!(owner == "often", "{owner}");
    shell.says(
        "describe cronjob often",
        &[
            "SuccessfulCreate",
            "Created job often-",
            "SawCompletedJob",
            "condition: Complete",
        ],
    )?;
    Ok(())
}

fn suspension(shell: &Shell<'_>) -> Result<()> {
    let patch = "{\"spec\": {\"suspend\": true, \"successfulJobsHistoryLimit\": 0}}";
    shell.words(&["patch", "cronjob", "often", "-p", patch])?;
    eventually(Duration::from_secs(30), "no history is kept", || {
        let jobs = shell.run("get jobs -l of=often -o name")?;
        ensure!(jobs.is_empty(), "{jobs}");
        Ok(())
    })
}

fn delete(shell: &Shell<'_>) -> Result<()> {
    shell.run("delete cronjob rare often")?;
    eventually(
        Duration::from_secs(30),
        "what was started by hand goes too",
        || {
            let left = shell.run("get jobs,pods -o name")?;
            ensure!(left.is_empty(), "{left}");
            Ok(())
        },
    )
}
