//! Jobs with kubectl: to completion, by indexes, failing, suspended, and what is left of them.

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, eventually};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

/// Looks at one thing.
type Check = fn(&Shell<'_>) -> Result<()>;

const IMAGE: &str = "--image=knarr/busybox:latest";

#[test]
fn jobs_run_to_their_end() {
    with_running_cluster(|cluster| {
        let checks: [(&str, Check); 6] = [
            ("one pod", one),
            ("indexes", indexes),
            ("failure", failure),
            ("suspension", suspension),
            ("time to live", time_to_live),
            ("refusals", refusals),
        ];
        let mut failures = Vec::new();
        for (name, check) in checks {
            if let Err(error) = step(name, || check(&shell(cluster)?)) {
                failures.push(format!("{error:#}"));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

/// A job of busybox running a script; `spec` are lines of its spec.
fn manifest(name: &str, spec: &[&str], script: &str) -> String {
    let spec = spec
        .iter()
        .map(|line| format!("  {line}\n"))
        .collect::<String>();
    format!(
        "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {name}\nspec:\n{spec}  template:\n    spec:\n      \
         restartPolicy: Never\n      containers:\n      - name: main\n        image: knarr/busybox:latest\n        \
         imagePullPolicy: IfNotPresent\n        command: [sh, -c, '{script}']\n"
    )
}

fn wait(shell: &Shell<'_>, job: &str, condition: &str) -> Result<()> {
    let line = format!("wait --for=condition={condition} --timeout=60s job/{job}");
    shell.run(&line)?;
    Ok(())
}

/// Nobody holds the pods of a job that has ended.
fn released(shell: &Shell<'_>, job: &str) -> Result<()> {
    let selector = format!("pods -l batch.kubernetes.io/job-name={job}");
    let finalizers = shell.path(&selector, "{.items[*].metadata.finalizers}")?;
    ensure!(finalizers.is_empty(), "{finalizers}");
    Ok(())
}

fn one(shell: &Shell<'_>) -> Result<()> {
    let line = [
        "create",
        "job",
        "one",
        IMAGE,
        "--dry-run=client",
        "-o",
        "json",
        "--",
        "echo",
        "hello",
    ];
    // An image of this tag would be pulled.
    let policy = "\"imagePullPolicy\": \"IfNotPresent\", \"resources\"";
    let job = shell.words(&line)?.replace("\"resources\"", policy);
    shell.apply(&job)?;
    wait(shell, "one", "complete")?;
    ensure!(shell.run("logs job/one")? == "hello\n", "no greeting");
    shell.says(
        "get job one",
        &["STATUS", "COMPLETIONS", "DURATION", "Complete", "1/1"],
    )?;
    shell.says(
        "describe job one",
        &["SuccessfulCreate", "Completed", "1 Succeeded"],
    )?;
    let conditions = shell.path("job one", "{.status.conditions[*].type}")?;
    ensure!(conditions == "SuccessCriteriaMet Complete", "{conditions}");
    released(shell, "one")?;
    shell.run("delete job one")?;
    eventually(SOON, "its pod is gone", || {
        let pods = shell.run("get pods -l job-name=one -o name")?;
        ensure!(pods.is_empty(), "{pods}");
        Ok(())
    })
}

fn indexes(shell: &Shell<'_>) -> Result<()> {
    let spec = [
        "completions: 3",
        "parallelism: 3",
        "completionMode: Indexed",
    ];
    shell.apply(&manifest(
        "many",
        &spec,
        "echo $JOB_COMPLETION_INDEX $HOSTNAME",
    ))?;
    wait(shell, "many", "complete")?;
    for index in ["0", "1", "2"] {
        let selector =
            format!("logs -l batch.kubernetes.io/job-completion-index={index},job-name=many");
        let said = shell.run(&selector)?;
        ensure!(said == format!("{index} many-{index}\n"), "{said}");
    }
    let done = shell.path("job many", "{.status.completedIndexes}")?;
    ensure!(done == "0-2", "{done}");
    released(shell, "many")
}

fn failure(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&manifest("bad", &["backoffLimit: 0"], "exit 3"))?;
    wait(shell, "bad", "failed")?;
    shell.says("describe job bad", &["BackoffLimitExceeded", "1 Failed"])?;
    released(shell, "bad")?;
    shell.apply(&manifest(
        "late",
        &["activeDeadlineSeconds: 2"],
        "sleep 1000",
    ))?;
    wait(shell, "late", "failed")?;
    let reason = shell.path("job late", "{.status.conditions[-1:].reason}")?;
    ensure!(reason == "DeadlineExceeded", "{reason}");
    released(shell, "late")
}

fn suspension(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&manifest("later", &["suspend: true"], "true"))?;
    wait(shell, "later", "suspended")?;
    ensure!(
        shell.run("get pods -l job-name=later -o name")?.is_empty(),
        "it runs"
    );
    shell.words(&[
        "patch",
        "job",
        "later",
        "-p",
        "{\"spec\": {\"suspend\": false}}",
    ])?;
    wait(shell, "later", "complete")
}

fn time_to_live(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&manifest("brief", &["ttlSecondsAfterFinished: 1"], "true"))?;
    eventually(SOON, "the job and its pod are gone", || {
        let left = shell.run("get jobs,pods -l job-name=brief --ignore-not-found -o name")?;
        let job = shell.run("get job brief --ignore-not-found -o name")?;
        ensure!(left.is_empty() && job.is_empty(), "{left}{job}");
        Ok(())
    })
}

fn refusals(shell: &Shell<'_>) -> Result<()> {
    let always =
        manifest("x", &[], "true").replace("restartPolicy: Never", "restartPolicy: Always");
    let refused = shell.output(&["apply", "-f", "-"], &always)?.failure(1)?;
    ensure!(
        refused.contains("spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""),
        "{refused}"
    );
    Ok(())
}
