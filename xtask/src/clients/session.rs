//! One run of a client: reads what it says, and ends it when it says nothing for too long.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use knarr_testkit::image::workspace;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

use crate::record::{Outcome, State};

use super::{
    build::Program,
    place::Place,
    report::{self, Line},
};

/// How long a step may take. Clients have shorter limits of their own, so that the steps after one that hangs are tried.
const STEP_DEADLINE: Duration = Duration::from_secs(300);

/// A client that runs, or has run and still has steps to tell of.
pub struct Session {
    process: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
    log: File,
    log_path: PathBuf,
    planned: VecDeque<String>,
    /// Since when the step that runs does.
    since: Instant,
    /// Why no more lines are read.
    end: Option<String>,
}

impl Session {
    /// Starts a client; its output goes to `NAME.log` below `logs`.
    pub fn start(program: &Program, name: &str, place: &Place, logs: &Path) -> Result<Self> {
        fs::create_dir_all(logs).with_context(|| logs.display().to_string())?;
        let log_path = logs.join(format!("{name}.log"));
        let log = File::create(&log_path).with_context(|| log_path.display().to_string())?;
        let mut command = place.command(&program.file)?;
        command
            .args(&program.arguments)
            .envs(program.environment.clone());
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.try_clone()?)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", program.file.display()))?;
        let stdin = process.stdin.take().context("it is written to")?;
        let stdout = process.stdout.take().context("it is read")?;
        Ok(Self {
            process,
            stdin,
            lines: read(stdout),
            log,
            log_path,
            planned: VecDeque::new(),
            since: Instant::now(),
            end: None,
        })
    }

    /// The next step's outcome. After the last that the client told of, those that it planned and said nothing of.
    pub fn next(&mut self, place: &mut Place) -> Result<Option<(String, Outcome)>> {
        while self.end.is_none() {
            let left = STEP_DEADLINE.saturating_sub(self.since.elapsed());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = STEP_DEADLINE.as_secs();
                    self.end = Some(format!("said nothing for {seconds} s and was ended"));
                    self.kill();
                    break;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait().context("cannot wait for it")?;
                    let last = last_line(&self.log_path);
                    self.end = Some(format!("the client ended before ({status}): {last}"));
                    break;
                }
            };
            writeln!(self.log, "{line}").context("cannot write its log")?;
            match report::parse(&line) {
                Some(Line::Plan(step)) => self.planned.push_back(step),
                Some(Line::Restart) => self.answer_restart(place)?,
                Some(Line::Done(step, mut outcome)) => {
                    outcome.reason = portable(&outcome.reason, place);
                    self.planned.retain(|planned| *planned != step);
                    self.since = Instant::now();
                    return Ok(Some((step, outcome)));
                }
                None => {}
            }
        }
        let seconds = self.since.elapsed().as_secs_f64();
        self.since = Instant::now();
        Ok(self.planned.pop_front().map(|step| {
            let reason = self.end.clone().unwrap_or_default();
            let state = State::Fail;
            (
                step,
                Outcome {
                    state,
                    seconds,
                    reason,
                },
            )
        }))
    }

    fn answer_restart(&mut self, place: &mut Place) -> Result<()> {
        let answer = match place.restart()? {
            true => "restarted",
            false => "cannot",
        };
        // A client that has ended meanwhile is seen to have by the next line.
        let _ = writeln!(self.stdin, "{answer}");
        Ok(())
    }

    fn kill(&mut self) {
        let group = Pid::from_raw(self.process.id().cast_signed());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.process.wait();
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(Some(_))) {
            self.kill();
        }
    }
}

fn read(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

/// A reason that is the same on every machine: without the folders of this one.
fn portable(reason: &str, place: &Place) -> String {
    let workspace = format!("{}/", workspace().display());
    let reason = reason.replace(&workspace, "");
    reason.replace(&place.client_dir().display().to_string(), "CLIENT_DIR")
}

fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("it printed nothing").to_owned()
}
