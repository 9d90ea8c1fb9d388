//! Runs programs with a deadline.

use std::{
    fmt::Write as _,
    io::Write as _,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What a program printed and how it ended.
#[derive(Clone, Debug)]
pub struct Output {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    line: String,
}

impl Output {
    /// Standard output of a program that succeeded; else an error with everything it said.
    pub fn success(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        bail!("{self}")
    }

    /// Standard error of a program that ended with `code`; else an error with everything it said.
    pub fn failure(self, code: i32) -> Result<String> {
        if self.status.code() == Some(code) {
            return Ok(self.stderr);
        }
        bail!("wanted exit code {code}: {self}")
    }
}

impl std::fmt::Display for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.line, self.status)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.trim().is_empty() {
                write!(f, "\n--- {name}\n{}", text.trim_end())?;
            }
        }
        Ok(())
    }
}

/// Runs a program to its end; kills it at the deadline, which is an error.
pub fn run(command: Command, deadline: Duration) -> Result<Output> {
    run_with_input(command, &[], deadline)
}

/// As [`run`], with bytes for its standard input.
pub fn run_with_input(mut command: Command, input: &[u8], deadline: Duration) -> Result<Output> {
    let line = describe(&command);
    command
        .stdin(if input.is_empty() {
            Stdio::null()
        } else {
            Stdio::piped()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot run {line}"))?;
    let pid = Pid::from_raw(child.id().cast_signed());
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A program that does not read ends this with an error, which it will tell itself.
        thread::spawn(move || drop(stdin.write_all(&input)));
    }
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || drop(sender.send(child.wait_with_output())));
    let (output, late) = match ended.recv_timeout(deadline) {
        Ok(output) => (output, false),
        Err(_) => {
            // Its waiter is still waiting, so the pid is still its own.
            let _ = kill(pid, Signal::SIGKILL);
            let killed = ended
                .recv_timeout(deadline)
                .context("a killed program does not end")?;
            (killed, true)
        }
    };
    let output = output.with_context(|| format!("cannot wait for {line}"))?;
    let output = Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        line,
    };
    if late && output.status.signal().is_some() {
        bail!("killed after {}s: {output}", deadline.as_secs());
    }
    Ok(output)
}

/// The command as one would type it, without the namespace.
fn describe(command: &Command) -> String {
    let mut line = String::new();
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    for word in words.map(|word| word.to_string_lossy()) {
        if word.ends_with("nsenter") || word.starts_with("--net=") || word == "--" {
            continue;
        }
        let gap = if line.is_empty() { "" } else { " " };
        let _ = match word.contains(char::is_whitespace) {
            true => write!(line, "{gap}{word:?}"),
            false => write!(line, "{gap}{word}"),
        };
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_get_input_and_are_killed_at_the_deadline() {
        let output = run_with_input(Command::new("cat"), b"hello", Duration::from_secs(10));
        assert_eq!(output.unwrap().success().unwrap(), "hello");

        let mut command = Command::new("sleep");
        command.arg("600");
        let error = run(command, Duration::from_millis(50)).unwrap_err();
        assert!(
            error.to_string().starts_with("killed after 0s: sleep 600"),
            "{error}"
        );
    }

    #[test]
    fn failures_tell_what_was_said() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let output = run(command, Duration::from_secs(10)).unwrap();
        assert_eq!(output.clone().failure(3).unwrap(), "err\n");
        let error = output.success().unwrap_err().to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("--- stderr\nerr"),
            "{error}"
        );
    }
}
