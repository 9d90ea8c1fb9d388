//! How far the targets are: drawn anew on a terminal, a line now and then anywhere else.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use knarr_fuzz::engine::Report;

/// Between two pictures on a terminal, and between two lines elsewhere.
const PICTURE_INTERVAL: Duration = Duration::from_millis(500);
const LINE_INTERVAL: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Running(Instant),
    Ended,
}

/// A target, as its worker has told.
pub struct Target {
    pub name: &'static str,
    pub state: State,
    pub report: Report,
}

impl Target {
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running(_))
    }

    /// Inputs a second.
    fn rate(&self) -> u64 {
        let State::Running(since) = self.state else {
            return 0;
        };
        let seconds = since.elapsed().as_secs_f64().max(0.1);
        (self.report.inputs as f64 / seconds) as u64
    }

    fn left(&self, time: Duration) -> Duration {
        match self.state {
            State::Waiting => time,
            State::Running(since) => time.saturating_sub(since.elapsed()),
            State::Ended => Duration::ZERO,
        }
    }
}

/// All of them.
pub struct Progress {
    pub targets: Vec<Target>,
    /// For each target.
    time: Duration,
    jobs: usize,
    terminal: bool,
    shown: Option<Instant>,
    /// Lines of the picture that is on the terminal.
    lines: usize,
}

impl Progress {
    pub fn new(names: &[&'static str], time: Duration, jobs: usize) -> Self {
        let waiting = |name: &&'static str| Target {
            name,
            state: State::Waiting,
            report: Report::default(),
        };
        Self {
            targets: names.iter().map(waiting).collect(),
            time,
            jobs,
            terminal: std::io::stderr().is_terminal(),
            shown: None,
            lines: 0,
        }
    }

    /// Shows it, if the last time was long enough ago.
    pub fn show(&mut self) {
        let interval = match self.terminal {
            true => PICTURE_INTERVAL,
            false => LINE_INTERVAL,
        };
        if self.shown.is_some_and(|shown| shown.elapsed() < interval) {
            return;
        }
        self.shown = Some(Instant::now());
        let running: Vec<&Target> = self.targets.iter().filter(|one| one.is_running()).collect();
        if self.terminal {
            let lines: Vec<String> = running.iter().map(|one| self.line(one)).collect();
            let picture = format!("{}\n{}", self.summary(), lines.concat());
            self.clear();
            self.lines = 1 + lines.len();
            self.print(&picture);
        } else {
            let rates: Vec<String> = running
                .iter()
                .map(|one| format!("{} {}/s", one.name, one.rate()))
                .collect();
            let line = format!("{}: {}\n", self.summary(), rates.join(", "));
            self.print(&line);
        }
    }

    /// Says something above the picture.
    pub fn say(&mut self, line: &str) {
        self.clear();
        self.print(&format!("{line}\n"));
        if self.terminal {
            self.shown = None;
        }
    }

    /// Takes the picture away.
    pub fn clear(&mut self) {
        if self.lines > 0 {
            self.print(&format!("\x1b[{}A\x1b[J", self.lines));
            self.lines = 0;
        }
    }

    fn print(&self, text: &str) {
        // A terminal that has gone needs no progress.
        let _ = std::io::stderr().write_all(text.as_bytes());
    }

    fn summary(&self) -> String {
        let ended = self.targets.iter().filter(|one| one.state == State::Ended);
        let findings: usize = self.targets.iter().map(|one| one.report.findings).sum();
        let work: Duration = self.targets.iter().map(|one| one.left(self.time)).sum();
        let longest = self.targets.iter().map(|one| one.left(self.time)).max();
        let jobs = u32::try_from(self.jobs).unwrap_or(u32::MAX);
        let left = (work / jobs).max(longest.unwrap_or_default());
        format!(
            "{} of {} targets done, {findings} findings, about {} left",
            ended.count(),
            self.targets.len(),
            clock(left)
        )
    }

    fn line(&self, target: &Target) -> String {
        let Report {
            inputs,
            new,
            findings,
        } = target.report;
        format!(
            "  {:<16} {:>6} left {:>8}/s {inputs:>12} inputs, {new} new shapes, {findings} findings\n",
            target.name,
            clock(target.left(self.time)),
            target.rate(),
        )
    }
}

/// `1:02:03` or `2:03`.
fn clock(time: Duration) -> String {
    let seconds = time.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    match hours {
        0 => format!("{minutes}:{seconds:02}"),
        _ => format!("{hours}:{minutes:02}:{seconds:02}"),
    }
}
