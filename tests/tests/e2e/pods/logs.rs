//! Logs: of restarted containers, parts of them, rotated ones, and as a container's last words.

use std::{fs, path::PathBuf};

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
        ensure!(
            log.ends_with("after\n") && log.len() < 1 << 20,
            "{} bytes",
            log.len()
        );
        Ok(())
    })?;
    shell.run("delete pod talker --wait=false")?;
    Ok(())
}
