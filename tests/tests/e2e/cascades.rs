//! Deletions and what depends on what is deleted, with kubectl: in the background, in the foreground, and left behind.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

fn deployment(name: &str) -> String {
    format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: {name}}}\nspec:\n  replicas: 2\n  \
         selector: {{matchLabels: {{app: {name}}}}}\n  template:\n    metadata: {{labels: {{app: {name}}}}}\n    spec:\n      \
         terminationGracePeriodSeconds: 1\n      containers:\n      - name: main\n        image: knarr/busybox:latest\n        \
         imagePullPolicy: IfNotPresent\n        command: [sleep, '1000']\n"
    )
}

#[test]
fn dependents_go_as_they_are_told_to() {
    with_running_cluster(|cluster| {
        let shell = Shell::new(cluster, newest()?, "default");
        eventually(SOON, "the default service account", || {
            shell.run("get serviceaccount default")
        })?;
        step("in the background", || background(&shell))?;
        step("in the foreground", || foreground(&shell))?;
        step("left behind", || orphans(&shell))
    });
}

fn apply(shell: &Shell<'_>, name: &str) -> Result<()> {
    shell.apply(&deployment(name))?;
    shell.says(
        &format!("rollout status deployment/{name} --timeout=90s"),
        &["successfully rolled out"],
    )?;
    Ok(())
}

/// Names of what a Deployment has made.
fn made(shell: &Shell<'_>, name: &str) -> Result<Vec<String>> {
    let names = shell.run(&format!("get replicasets,pods -l app={name} -o name"))?;
    Ok(names.split_whitespace().map(str::to_owned).collect())
}

fn all_gone(shell: &Shell<'_>, name: &str) -> Result<()> {
    eventually(SOON, &format!("nothing of {name}"), || {
        let left = made(shell, name)?;
        ensure!(left.is_empty(), "{left:?}");
        Ok(())
    })
}

/// The owner goes at once, what it has made after it.
fn background(shell: &Shell<'_>) -> Result<()> {
    apply(shell, "back")?;
    shell.run("delete deployment back --cascade=background")?;
    let left = shell.run("get deployment back --ignore-not-found")?;
    ensure!(left.is_empty(), "{left}");
    all_gone(shell, "back")
}

/// The owner is there, on its way out, as long as a pod of it is.
fn foreground(shell: &Shell<'_>) -> Result<()> {
    apply(shell, "front")?;
    let pods = shell.run("get pods -l app=front -o name")?;
    let held = pods.split_whitespace().next().unwrap_or_default();
    let hold = r#"{"metadata":{"finalizers":["example.com/hold"]}}"#;
    shell.words(&["patch", held, "-p", hold])?;
    shell.run("delete deployment front --cascade=foreground --wait=false")?;
    eventually(SOON, "the other pod's end", || {
        let left = shell.run("get pods -l app=front -o name")?;
        ensure!(left.trim() == held, "{left}");
        Ok(())
    })?;
    for owner in ["deployments", "replicasets"] {
        let all = if owner == "deployments" {
            "front"
        } else {
            "-l app=front"
        };
        let text = shell.run(&format!("get {owner} {all} -o json"))?;
        ensure!(
            text.contains("\"foregroundDeletion\"") && text.contains("deletionTimestamp"),
            "{text}"
        );
    }
    let release = r#"{"metadata":{"finalizers":null}}"#;
    shell.words(&["patch", held, "-p", release])?;
    all_gone(shell, "front")?;
    eventually(SOON, "no deployment", || {
        let left = shell.run("get deployment front --ignore-not-found")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
}

/// What it has made stays as it is and is nobody's; one that comes again takes it over.
fn orphans(shell: &Shell<'_>) -> Result<()> {
    apply(shell, "left")?;
    let before = made(shell, "left")?;
    ensure!(before.len() == 3, "{before:?}");
    shell.run("delete deployment left --cascade=orphan")?;
    let set = "replicaset -l app=left";
    let owners = "{.items[0].metadata.ownerReferences}";
    eventually(SOON, "a set without an owner", || {
        let owners = shell.path(set, owners)?;
        ensure!(owners.is_empty(), "{owners}");
        Ok(())
    })?;
    ensure!(made(shell, "left")? == before, "{before:?} before");
    apply(shell, "left")?;
    eventually(SOON, "a set with its new owner", || {
        let owners = shell.path(set, owners)?;
        ensure!(owners.contains("\"Deployment\""), "{owners}");
        Ok(())
    })?;
    ensure!(made(shell, "left")? == before, "{before:?} before");
    shell.run("delete deployment left")?;
    all_gone(shell, "left")
}
