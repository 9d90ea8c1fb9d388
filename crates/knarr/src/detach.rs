//! `--detach`: the same command again in a session of its own; this process waits for its word.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{cli::Log, failure, logging};

/// Set for the process in the background: it reports on standard output and then lets go of it.
const VARIABLE: &str = "KNARR_DETACHED";

/// What the background process prints when it is ready; everything before is progress.
pub const READY: &str = "\u{1}ready";

/// Whether this is the process in the background.
pub fn is_background() -> bool {
    std::env::var_os(VARIABLE).is_some()
}

/// Makes the command one in the background: it says [`READY`] and nothing after it.
pub fn mark(command: &mut Command) {
    command.env(VARIABLE, "1");
}

/// Starts the background process, shows its progress and returns when it is ready.
pub fn spawn(log: &Log, data_dir: &Path) -> Result<()> {
    let log = log
        .log_file
        .clone()
        .unwrap_or_else(|| data_dir.join(logging::FILE));
    let stderr = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot open the log {}", log.display()))?;
    let program = std::env::current_exe().context("cannot find knarr's own program file")?;
    let mut command = Command::new(program);
    mark(&mut command);
    let mut child = command
        .args(std::env::args_os().skip(1))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .context("cannot start knarr in the background")?;
    let output = child
        .stdout
        .take()
        .context("the background process has no output")?;
    for line in BufReader::new(output).lines() {
        let line = line.context("the background process cannot be heard")?;
        if line == READY {
            return Ok(());
        }
        show(&line);
    }
    let status = child
        .wait()
        .context("cannot wait for the background process")?;
    let last = std::fs::read_to_string(&log).unwrap_or_default();
    let reason = failure::last_words(&last);
    match reason {
        Some(reason) => bail!("{reason}"),
        None => bail!("knarr ended with {status}; see {}", log.display()),
    }
}

#[expect(clippy::print_stdout, reason = "this is what the user sees")]
fn show(line: &str) {
    println!("{line}");
}
