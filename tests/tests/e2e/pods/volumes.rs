//! Volumes that change while a pod runs, and paths within volumes.

use anyhow::{Result, ensure};
use knarr_testkit::eventually;
use serde_json::{Value, json};

use super::{Check, events, phase, sh, waiting};
use crate::support::{SOON, Shell};

pub const CHECKS: [(&str, Check); 6] = [
    ("paths within volumes", paths),
    ("a path cannot leave its volume", escape),
    ("images are volumes", images),
    ("a path that an image does not have", no_path),
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

fn images(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "images", "Running")?;
    let log = eventually(SOON, "the image is read", || {
        let log = shell.run("logs images")?;
        ensure!(log.ends_with("read-only\n"), "{log}");
        Ok(log)
    })?;
    let lines: Vec<&str> = log.lines().collect();
    ensure!(lines[0].starts_with("root:"), "{log}");
    ensure!(
        lines[1..] == ["group", "passwd", "program", "read-only"],
        "{log}"
    );
    let note = "Container image \"knarr/hello:v2\" already present on machine and can be accessed by the pod";
    events(shell, "images", &[note])?;
    // Away with its mounts, as the end of the cluster checks.
    shell.run("delete pod images").map(drop)
}

fn no_path(shell: &Shell<'_>) -> Result<()> {
    let message = waiting(shell, "no-path", "CreateContainerError")?;
    ensure!(
        message.starts_with("ImageVolumeMountFailed: mount /x: sub path \"x\" of the image"),
        "{message}"
    );
    shell.run("delete pod no-path").map(drop)
}

fn follow(shell: &Shell<'_>) -> Result<()> {
    phase(shell, "showing", "Running")?;
    let files = "cat /map/word /secret/word /map/nested/secret/word /info/mood /tokens/deep/word; echo; ls /later; cat /fixed";
    let shown = sh(shell, "showing", files)?;
    ensure!(shown == "beforebeforebeforebefore\nbefore", "{shown:?}");
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
        ensure!(
            shown == "afterafteraftergoodafter\nfile\nbefore",
            "{shown:?}"
        );
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
