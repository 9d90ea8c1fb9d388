//! DaemonSets with kubectl: roll out, look, change, go back, leave a node and come back, delete.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;

use crate::support::{SOON, Shell, name, newest, step, with_running_cluster};

const AGENT: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: hello, image: 'knarr/hello:latest', imagePullPolicy: IfNotPresent}]
";

/// A pod that stays on a node with a taint, for an hour.
const PATIENT: &str = "
apiVersion: v1
kind: Pod
metadata: {name: patient, labels: {app: patient}}
spec:
  terminationGracePeriodSeconds: 1
  tolerations: [{key: mine, operator: Exists, effect: NoExecute, tolerationSeconds: 3600}]
  containers: [{name: hello, image: 'knarr/hello:latest', imagePullPolicy: IfNotPresent}]
";

#[test]
fn a_daemon_lives_on_every_node_that_fits() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("apply", || apply(&shell))?;
        step("change", || change(&shell))?;
        step("undo", || undo(&shell))?;
        step("nodes", || nodes(&shell))?;
        step("delete", || delete(&shell))
    });
}

fn rolled_out(shell: &Shell<'_>) -> Result<String> {
    shell.says(
        "rollout status daemonset/agent --timeout=60s",
        &["daemon set \"agent\" successfully rolled out"],
    )
}

fn apply(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the default service account", || {
        shell.run("get serviceaccount default")
    })?;
    shell.apply(AGENT)?;
    rolled_out(shell)?;
    let row = shell.run("get ds agent -o wide --no-headers")?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    ensure!(
        cells[..7] == ["agent", "1", "1", "1", "1", "1", "<none>"],
        "{row}"
    );
    ensure!(
        cells[8..] == ["hello", "knarr/hello:latest", "app=agent"],
        "{row}"
    );
    shell.says(
        "describe ds agent",
        &["SuccessfulCreate", "Created pod: agent-"],
    )?;
    Ok(())
}

fn image(shell: &Shell<'_>) -> Result<String> {
    let pods = shell.wait_ready("app=agent", 1)?;
    let image = &pods[0]["spec"]["containers"][0]["image"];
    Ok(image.as_str().unwrap_or_default().to_owned())
}

fn change(shell: &Shell<'_>) -> Result<()> {
    shell.run("set image daemonset/agent hello=knarr/hello:v2")?;
    rolled_out(shell)?;
    let found = image(shell)?;
    ensure!(found == "knarr/hello:v2", "{found}");
    shell.says("rollout history daemonset/agent", &["1 ", "2 "])?;
    // What fails is deleted, and made anew.
    let before = shell.wait_ready("app=agent", 1)?;
    shell.run(&format!("delete pod {}", name(&before[0])))?;
    let after = shell.wait_ready("app=agent", 1)?;
    ensure!(name(&after[0]) != name(&before[0]), "the pod was deleted");
    Ok(())
}

fn undo(shell: &Shell<'_>) -> Result<()> {
    shell.run("rollout undo daemonset/agent")?;
    rolled_out(shell)?;
    let found = image(shell)?;
    ensure!(found == "knarr/hello:latest", "{found}");
    let history = shell.run("rollout history daemonset/agent")?;
    let numbers: Vec<&str> = history
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.parse::<u32>().is_ok())
        .collect();
    ensure!(numbers == ["2", "3"], "the first is the newest: {history}");
    Ok(())
}

fn nodes(shell: &Shell<'_>) -> Result<()> {
    // Daemons live with a cordon.
    shell.run("cordon node")?;
    let pods = shell.wait_ready("app=agent", 1)?;
    shell.run(&format!("delete pod {}", name(&pods[0])))?;
    shell.wait_ready("app=agent", 1)?;
    shell.run("uncordon node")?;
    shell.apply(PATIENT)?;
    shell.wait_ready("app=patient", 1)?;
    shell.run("taint node node mine=:NoExecute")?;
    shell.wait_ready("app=agent", 0)?;
    shell.run("taint node node mine-")?;
    shell.wait_ready("app=agent", 1)?;
    // What tolerated the taint for a time stays.
    eventually(SOON, "the pod is told that it may stay", || {
        let wanted = ["Cancelling deletion of Pod default/patient"];
        shell.says("get events", &wanted)
    })?;
    shell.wait_ready("app=patient", 1)?;
    shell.run("delete pod patient --wait=false")?;
    Ok(())
}

fn delete(shell: &Shell<'_>) -> Result<()> {
    shell.run("delete daemonset agent")?;
    shell.wait_ready("app=agent", 0)?;
    eventually(SOON, "no revision of the set", || {
        let revisions = shell.run("get controllerrevisions -o name")?;
        ensure!(revisions.is_empty(), "{revisions}");
        Ok(())
    })
}
