//! Logs: of restarted containers, parts of them, rotated ones, and as a container's last words.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Stdio},
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::eventually;

use super::{Check, phase, sh, terminated, waiting};
use crate::support::{SOON, Shell, restarts};

pub const CHECKS: [(&str, Check); 4] = [
    ("parts of a log", parts),
    ("the log of a crash loop", crash_loop),
    ("a log as last words", last_lines),
    ("log rotation", rotation),
];

/// Who follows the log that is rotated from its beginning to its end, beside the checks.
pub struct Follower {
    process: Child,
    output: PathBuf,
}

impl Follower {
    /// Begins to follow, and only then lets the pod write.
    pub fn start(shell: &Shell<'_>) -> Result<Self> {
        phase(shell, "talker", "Running")?;
        let output = shell.cluster.directory().join("talker.log");
        let mut command = shell.cluster.command(&shell.kubectl.path);
        command.args(["logs", "--follow", "talker"]);
        let process = command
            .stdin(Stdio::null())
            .stdout(fs::File::create(&output)?)
            .spawn()
            .context("cannot run kubectl")?;
        let follower = Self { process, output };
        eventually(SOON, "the log is followed", || {
            let log = fs::read_to_string(&follower.output)?;
            ensure!(log == "ready\n", "{log:?}");
            Ok(())
        })?;
        sh(shell, "talker", "touch /tmp/begin")?;
        Ok(follower)
    }

    /// Waits for its end, which is the pod's. What was followed must be all of the log, once.
    pub fn finish(mut self) -> Result<()> {
        let status = eventually(SOON, "kubectl ends", || {
            self.process.try_wait()?.context("it runs")
        })?;
        ensure!(status.success(), "{status}");
        let log = fs::read_to_string(&self.output)?;
        let (filling, rest): (Vec<&str>, Vec<&str>) =
            log.lines().partition(|line| line.starts_with('0'));
        ensure!(
            filling.len() == 11_000,
            "{} lines of filling",
            filling.len()
        );
        ensure!(
            rest.first() == Some(&"ready") && rest.last() == Some(&"after"),
            "{:?} to {:?}",
            rest.first(),
            rest.last()
        );
        for (number, line) in (1..).zip(&rest[1..rest.len() - 1]) {
            ensure!(
                *line == format!("tick {number}"),
                "{line:?}, not tick {number}"
            );
        }
        Ok(())
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn parts(shell: &Shell<'_>) -> Result<()> {
    eventually(SOON, "the second life has spoken", || {
        let pod = shell.get("pod chatty")?;
        let log = shell.run("logs chatty")?;
        ensure!(restarts(&pod) == 1 && log == "one\ntwo\nthree\n", "{log:?}");
        Ok(())
    })?;
    for (flags, wanted) in [
        ("--previous", "first life\n"),
        ("--tail=2", "two\nthree\n"),
        ("--tail=0", ""),
        ("--limit-bytes=5", "one\nt"),
        ("--tail=2 --limit-bytes=3", "two"),
        ("--since=1h", "one\ntwo\nthree\n"),
        ("--since-time=2199-01-01T00:00:00Z", ""),
        ("--previous --tail=1", "first life\n"),
    ] {
        let log = shell.run(&format!("logs chatty {flags}"))?;
        ensure!(log == wanted, "{flags}: {log:?}");
    }
    let log = shell.run("logs chatty --timestamps")?;
    for (line, word) in log.lines().zip(["one", "two", "three"]) {
        let (time, text) = line.split_once(' ').context(line.to_owned())?;
        ensure!(
            text == word && time.len() >= 20 && time.contains('T'),
            "{line}"
        );
    }
    Ok(())
}

fn crash_loop(shell: &Shell<'_>) -> Result<()> {
    let message = waiting(shell, "looping", "CrashLoopBackOff")?;
    ensure!(
        message.starts_with("back-off ")
            && message.contains("restarting failed container=main pod=looping_default("),
        "{message}"
    );
    // The last life is the present one and, since it is over, the previous one as well.
    eventually(SOON, "both logs are those of the last life", || {
        let lives = restarts(&shell.get("pod looping")?) + 1;
        for flags in ["", "--previous"] {
            let log = shell.run(&format!("logs looping {flags}"))?;
            ensure!(log == format!("life {lives}\n"), "{flags}: {log:?}");
        }
        Ok(())
    })?;
    shell.run("delete pod looping --wait=false")?;
    Ok(())
}

fn last_lines(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "last-lines", "Failed")?;
    ensure!(
        terminated(&pod)["message"] == "first\nthen\n",
        "{}",
        pod["status"]
    );
    Ok(())
}

fn rotation(shell: &Shell<'_>) -> Result<()> {
    let pod = phase(shell, "talker", "Running")?;
    let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
    let logs = shell.cluster.data_dir().join("logs/pods");
    let dir: PathBuf = logs.join(format!("default_talker_{uid}")).join("main");
    eventually(SOON, "the log is put aside", || {
        let names: Vec<_> = fs::read_dir(&dir)?
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        ensure!(names.iter().any(|n| n.starts_with("0.log.")), "{names:?}");
        Ok(())
    })?;
    sh(shell, "talker", "touch /tmp/go")?;
    eventually(SOON, "the new file has what came after", || {
        let log = shell.run("logs talker")?;
        let bytes = log.len();
        ensure!(log.ends_with("after\n") && bytes < 1 << 20, "{bytes} bytes");
        Ok(())
    })?;
    shell.run("delete pod talker --wait=false")?;
    Ok(())
}
