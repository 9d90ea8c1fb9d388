//! StatefulSets with kubectl: in order, with names that resolve, scaled, rolled out and back, deleted.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;

use crate::support::{SOON, Shell, name, newest, step, with_running_cluster};

const DB: &str = "
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 8080}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: knarr/busybox:latest
        imagePullPolicy: IfNotPresent
        command: [sh, -c, 'hostname > /tmp/index.html; exec httpd -f -p 8080 -h /tmp']
";

#[test]
fn numbered_pods_have_names_and_an_order() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        step("apply", || apply(&shell))?;
        step("names", || names(&shell))?;
        step("scale", || scale(&shell))?;
        step("change and undo", || change(&shell))?;
        step("a canary", || canary(&shell))?;
        step("delete", || delete(&shell))
    });
}

fn apply(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the default service account", || {
        shell.run("get serviceaccount default")
    })?;
    shell.apply(DB)?;
    rolled_out(shell)?;
    let row = shell.run("get sts db -o wide --no-headers")?;
    let cells: Vec<&str> = row.split_whitespace().collect();
    ensure!(cells[..2] == ["db", "2/2"], "{row}");
    ensure!(cells[3..] == ["web", "knarr/busybox:latest"], "{row}");
    shell.says(
        "describe sts db",
        &["SuccessfulCreate", "Pod db-0 in StatefulSet db successful"],
    )?;
    Ok(())
}

fn rolled_out(shell: &Shell<'_>) -> Result<()> {
    shell.says("rollout status statefulset/db --timeout=90s", &["complete"])?;
    Ok(())
}

fn names(shell: &Shell<'_>) -> Result<()> {
    let pods = shell.wait_ready("app=db", 2)?;
    for pod in &pods {
        let (spec, meta) = (&pod["spec"], &pod["metadata"]);
        ensure!(
            spec["hostname"] == meta["name"] && spec["subdomain"] == "db",
            "{spec}"
        );
    }
    let page = format!(
        "http://{}.db.default.svc.cluster.local:8080/",
        name(&pods[1])
    );
    eventually(SOON, "a pod by its name", || {
        let answer = shell.run(&format!("exec db-0 -- wget -q -O - {page}"))?;
        ensure!(answer.trim() == name(&pods[1]), "{answer}");
        Ok(())
    })
}

fn scale(shell: &Shell<'_>) -> Result<()> {
    shell.run("scale statefulset db --replicas=3")?;
    rolled_out(shell)?;
    let pods = shell.wait_ready("app=db", 3)?;
    let names: Vec<&str> = pods.iter().map(name).collect();
    ensure!(names == ["db-0", "db-1", "db-2"], "{names:?}");
    shell.run("scale statefulset db --replicas=1")?;
    let pods = shell.wait_ready("app=db", 1)?;
    ensure!(name(&pods[0]) == "db-0", "the highest number goes first");
    Ok(())
}

fn change(shell: &Shell<'_>) -> Result<()> {
    for (line, wanted) in [
        ("set env statefulset/db COLOUR=red", "red"),
        ("rollout undo statefulset/db", ""),
    ] {
        shell.run(line)?;
        rolled_out(shell)?;
        let pods = shell.wait_ready("app=db", 1)?;
        let found = &pods[0]["spec"]["containers"][0]["env"][0]["value"];
        let found = found.as_str().unwrap_or_default();
        ensure!(found == wanted, "{found:?} after {line}");
    }
    Ok(())
}

/// Only the highest number gets what is new, until the partition is taken away.
fn canary(shell: &Shell<'_>) -> Result<()> {
    shell.run("scale statefulset db --replicas=3")?;
    rolled_out(shell)?;
    let partition = |first: u32| {
        let patch = format!(
            r#"{{"spec":{{"updateStrategy":{{"rollingUpdate":{{"partition":{first}}}}}}}}}"#
        );
        shell.words(&["patch", "statefulset", "db", "-p", &patch])
    };
    let colours = |wanted: [&str; 3]| {
        eventually(SOON, &format!("pods with {wanted:?}"), || {
            let pods = shell.wait_ready("app=db", 3)?;
            let colour = |pod: &serde_json::Value| {
                let value = &pod["spec"]["containers"][0]["env"][0]["value"];
                value.as_str().unwrap_or_default().to_owned()
            };
            let found: Vec<_> = pods.iter().map(colour).collect();
            ensure!(found == wanted, "{found:?}");
            Ok(())
        })
    };
    partition(2)?;
    shell.run("set env statefulset/db COLOUR=blue")?;
    shell.says(
        "rollout status statefulset/db --timeout=90s",
        &["partitioned roll out complete: 1 new pods have been updated"],
    )?;
    colours(["", "", "blue"])?;
    // A pod below the partition comes back as it was.
    shell.run("delete pod db-1")?;
    colours(["", "", "blue"])?;
    partition(0)?;
    rolled_out(shell)?;
    colours(["blue", "blue", "blue"])?;
    shell.run("scale statefulset db --replicas=1")?;
    shell.wait_ready("app=db", 1)?;
    Ok(())
}

fn delete(shell: &Shell<'_>) -> Result<()> {
    shell.run("delete statefulset db")?;
    shell.wait_ready("app=db", 0)?;
    eventually(SOON, "no revision of the set", || {
        let revisions = shell.run("get controllerrevisions -o name")?;
        ensure!(revisions.is_empty(), "{revisions}");
        Ok(())
    })
}
