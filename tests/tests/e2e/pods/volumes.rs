//! Volumes that change while a pod runs, and paths within volumes.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;
use serde_json::{Value, json};

use super::{Check, phase, sh, waiting};
use crate::support::{SOON, Shell};

pub const CHECKS: [(&str, Check); 4] = [
    ("paths within volumes", paths),
    ("a path cannot leave its volume", escape),
    ("volumes follow their objects", follow),
    ("a token for another audience", token),
];

fn paths(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "paths", "Succeeded")?;
    let log = shell.run("logs paths")?;
    let lines: Vec<&str> = log.lines().collect();
    ensure!(lines.len() > 3 && lines[..2] == ["mine", "there"], "{log}");
    ensure!(lines[2].split_whitespace().nth(1) == Some("1024"), "{log}");
    ensure!(log.ends_with("full\n"), "{log}");
    Ok(())
}

fn escape(shell: &Shell<'_>) -> Result<()> {
    let message = waiting(shell, "escape", "CreateContainerConfigError")?;
    ensure!(
        message
            .contains("failed to prepare subPath for volumeMount \"data\" of container \"main\""),
        "{message}"
    );
    Ok(())
}

fn follow(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "showing", "Running")?;
    let files =
        "cat /map/word /secret/word /info/mood /tokens/deep/word; echo; ls /later; cat /fixed";
    let shown = sh(shell, "showing", files)?;
    ensure!(shown == "beforebeforebefore\nbefore", "{shown:?}");
    let generation = sh(shell, "showing", "readlink /map/..data")?;
    let after = |kind: &str, data: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "changing"}, data: {"word": "after"}});
    let later = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "later"}, "data": {"file": "x"}});
    let items = [
        after("ConfigMap", "data"),
        after("Secret", "stringData"),
        later,
    ];
    shell.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    shell.run("label pod showing mood=good")?;
    eventually(SOON, "everything is shown as it is now", || {
        let shown = sh(shell, "showing", files)?;
        // A path within a volume stays as it was when the container started.
        ensure!(shown == "afteraftergoodafter\nfile\nbefore", "{shown:?}");
        Ok(())
    })?;
    let now = sh(
        shell,
        "showing",
        "readlink /map/..data; ls -a /map; stat -c %a /secret/..data/word",
    )?;
    ensure!(
        !now.contains(generation.trim()),
        "one rename a change: {now}"
    );
    ensure!(now.ends_with("400\n"), "{now}");
    Ok(())
}

fn token(shell: &Shell<'_>) -> Result<()> {
    let token = sh(shell, "showing", "cat /tokens/vault")?;
    let review = |audiences: Value| -> Result<Value> {
        let spec = json!({"token": token, "audiences": audiences});
        let review =
            json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec});
        let words = ["create", "--validate=false", "-f", "-", "-o", "json"];
        let answer = shell.output(&words, &review.to_string())?.success()?;
        Ok(serde_json::from_str::<Value>(&answer)?["status"].take())
    };
    let status = review(json!(["vault"]))?;
    ensure!(
        status["authenticated"] == true
            && status["user"]["username"] == "system:serviceaccount:default:default"
            && status["user"]["extra"]["authentication.kubernetes.io/pod-name"][0] == "showing",
        "{status}"
    );
    let status = review(json!([]))?;
    ensure!(status["authenticated"] != true, "not for the API: {status}");
    Ok(())
}
