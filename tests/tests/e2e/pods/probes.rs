//! Probes and lifecycle hooks.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, eventually};
use serde_json::Value;

use super::{Check, events, manifest::HOOKS_PORT, phase, sh};
use crate::support::{SOON, Shell, is_ready, restarts};

/// The node's directory that hooks write to, below the cluster's.
pub const HOOKS: &str = "hooks";
/// The file in it with the requests of hooks.
const REQUESTS: &str = "requests";

pub const CHECKS: [(&str, Check); 7] = [
    ("the startup probe holds the others back", slow_start),
    ("a failed startup probe restarts", never_starts),
    ("https probes", https),
    ("a probe that hangs", hanging),
    ("hooks", hooks),
    ("a failed hook", failed_hook),
    ("a sidecar starts before and ends after", sidecar),
];

/// Notes the first line of every request on the node's port in a file.
pub fn listen(cluster: &Cluster, dir: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let address: SocketAddr = format!("{NODE_IP}:{HOOKS_PORT}").parse()?;
    let listener = cluster.network().listen(address)?;
    let requests = fs::File::create(dir.join(REQUESTS))?;
    thread::spawn(move || serve(&listener, requests));
    Ok(())
}

fn serve(listener: &TcpListener, mut requests: fs::File) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut head = [0; 1_024];
        let length = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..length]).into_owned();
        let first = head.lines().next().unwrap_or_default();
        let noted = writeln!(requests, "{first}");
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        if noted
            .and_then(|()| stream.write_all(answer.as_bytes()))
            .is_err()
        {
            return;
        }
    }
}

fn slow_start(shell: &Shell<'_>) -> Result<()> {
    let pod = eventually(SOON, "the pod is ready", || {
        let pod = shell.get("pod slow-start")?;
        ensure!(is_ready(&pod), "{}", pod["status"]);
        Ok(pod)
    })?;
    let status = &pod["status"]["containerStatuses"][0];
    ensure!(status["started"] == true, "{status}");
    // Had the liveness probe not waited, it would have failed in the first seconds.
    ensure!(restarts(&pod) == 0, "{status}");
    let events = shell.run("get events --field-selector involvedObject.name=slow-start")?;
    ensure!(
        events.contains("Startup probe failed") && !events.contains("Liveness"),
        "{events}"
    );
    Ok(())
}

fn never_starts(shell: &Shell<'_>) -> Result<()> {
    // The probe's own grace period counts: the pod's is minutes.
    eventually(SOON, "the container is started again", || {
        let pod = shell.get("pod never-starts")?;
        ensure!(restarts(&pod) > 0, "{}", pod["status"]);
        Ok(())
    })?;
    let wanted = [
        "Startup probe failed: no hope",
        "Container main failed startup probe, will be restarted",
    ];
    events(shell, "never-starts", &wanted)?;
    shell.run("delete pod never-starts --grace-period=1 --wait=false")?;
    Ok(())
}

fn https(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the API server's certificate is not checked", || {
        let pod = shell.get("pod https")?;
        ensure!(is_ready(&pod), "{}", pod["status"]);
        Ok(())
    })?;
    let wanted = ["Readiness probe failed: HTTP probe failed with statuscode: 40"];
    events(shell, "https-refused", &wanted)?;
    let pod = phase(shell, "https-refused", "Running")?;
    ensure!(!is_ready(&pod), "{}", pod["status"]);
    Ok(())
}

fn hanging(shell: &Shell<'_>) -> Result<()> {
    let wanted = [
        "Liveness probe failed: command timed out: \"sh -c",
        "timed out after 1s",
    ];
    events(shell, "hanging", &wanted)?;
    let left = sh(shell, "hanging", "ps | grep '[s]leep 300$' || true")?;
    ensure!(left.is_empty(), "the probe's process goes on: {left}");
    let pod = shell.get("pod hanging")?;
    ensure!(restarts(&pod) == 0, "once is not twice: {}", pod["status"]);
    Ok(())
}

fn hooks(shell: &Shell<'_>) -> Result<()> {
    let dir = shell.cluster.directory().join(HOOKS);
    let read = |name: &str| fs::read_to_string(dir.join(name)).context(name.to_owned());
    eventually(SOON, "both hooks at the start have run", || {
        let name = read("post-start")?;
        ensure!(name == "hooked", "{name:?}");
        let requests = read(REQUESTS)?;
        ensure!(requests == "GET /post-start HTTP/1.1\n", "{requests}");
        let pod = shell.get("pod hooked")?;
        ensure!(is_ready(&pod), "{}", pod["status"]);
        Ok(())
    })?;
    shell.run("delete pod hooked")?;
    let requests = read(REQUESTS)?;
    ensure!(requests.ends_with("GET /pre-stop HTTP/1.1\n"), "{requests}");
    read("told-after").context("the container was told to end after its hook")?;
    Ok(())
}

fn failed_hook(shell: &Shell<'_>) -> Result<()> {
    let wanted = ["FailedPostStartHook", "PostStartHook failed", "Killing"];
    events(shell, "hook-fails", &wanted)?;
    eventually(SOON, "the container is killed", || {
        let pod = shell.get("pod hook-fails")?;
        let status = &pod["status"]["containerStatuses"][0];
        let reason = status["state"]["waiting"]["reason"].as_str();
        let wanted = ["PostStartHookError", "CrashLoopBackOff"];
        ensure!(
            wanted.contains(&reason.unwrap_or_default())
                && status["lastState"]["terminated"]["exitCode"] == 143,
            "{status}"
        );
        Ok(())
    })?;
    shell.run("delete pod hook-fails --wait=false")?;
    Ok(())
}

fn sidecar(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "assisted", "Succeeded")?;
    let init = &pod["status"]["initContainerStatuses"][0];
    let main = &pod["status"]["containerStatuses"][0];
    let ended = |status: &Value| status["state"]["terminated"]["reason"] == "Completed";
    ensure!(ended(init) && ended(main), "{}", pod["status"]);
    ensure!(init["restartCount"] == 0, "{init}");
    let time = |status: &Value, key: &str| {
        let text = status["state"]["terminated"][key].as_str();
        text.unwrap_or_default().to_owned()
    };
    // Its start takes more than a second, and RFC 3339 sorts by time.
    ensure!(
        time(init, "startedAt") < time(main, "startedAt"),
        "{}",
        pod["status"]
    );
    let dir = shell.cluster.directory().join(HOOKS);
    fs::read_to_string(dir.join("sidecar-saw")).context("the sidecar was told to end last")?;
    Ok(())
}
