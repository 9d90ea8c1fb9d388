//! A process a target: one that overflows its stack or eats its memory takes nobody else with it, and is a finding.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use knarr_fuzz::engine::{self, Report};
use knarr_fuzz::{current, targets};
use nix::sys::resource::{Resource, setrlimit};

use crate::progress::{Progress, State};

/// What a worker may map, bytes.
const MEMORY_BYTES: u64 = 4 << 30;
/// Longest wait for news before the progress is shown anew.
const TICK: Duration = Duration::from_millis(250);

/// A target's name, and what came of it.
pub type Outcome = (&'static str, Report);

/// What workers report.
enum News {
    Report(usize, Report),
    /// A line for the user.
    Line(String),
    /// It has ended; a finding if not by itself.
    Ended(usize, Result<Option<String>>),
}

/// Runs one target in this process: a line with the numbers of its report on standard output now and then, and at the end.
pub fn work(name: &'static str, time: Duration) -> Result<()> {
    setrlimit(Resource::RLIMIT_AS, MEMORY_BYTES, MEMORY_BYTES).context("limit memory")?;
    let mut target = targets::start(name).context("a target")?;
    let plan = engine::Plan {
        time,
        random: fastrand::Rng::new(),
        keep: true,
        progress: &mut |report| {
            // Nobody listens: whoever started this has been ended.
            if print_report(report).is_err() {
                std::process::exit(1);
            }
        },
    };
    print_report(engine::run(name, &mut *target, plan)?)
}

fn print_report(report: Report) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{} {} {}", report.inputs, report.new, report.findings)?;
    Ok(out.flush()?)
}

/// What [`print_report`] wrote.
fn parse_report(line: &str) -> Option<Report> {
    let mut numbers = line.split(' ');
    Some(Report {
        inputs: numbers.next()?.parse().ok()?,
        new: numbers.next()?.parse().ok()?,
        findings: numbers.next()?.parse().ok()?,
    })
}

/// Runs each target for its time, `jobs` of them at once.
///
/// # Errors
/// When a worker cannot be started.
pub fn run(names: &[&'static str], time: Duration, jobs: usize) -> Result<Vec<Outcome>> {
    let mut progress = Progress::new(names, time, jobs);
    let (sender, news) = channel();
    let mut next = 0;
    while progress.targets.iter().any(|one| one.state != State::Ended) {
        let running = progress.targets.iter().filter(|one| one.is_running());
        if running.count() < jobs && next < names.len() {
            start(next, names[next], time, &sender)?;
            progress.targets[next].state = State::Running(Instant::now());
            next += 1;
            continue;
        }
        receive(&news, &mut progress)?;
        progress.show();
    }
    progress.clear();
    let outcomes = progress.targets.into_iter();
    Ok(outcomes.map(|one| (one.name, one.report)).collect())
}

/// Takes in what workers have reported, or waits a tick for it.
fn receive(news: &Receiver<News>, progress: &mut Progress) -> Result<()> {
    match news.recv_timeout(TICK) {
        Ok(News::Report(index, report)) => progress.targets[index].report = report,
        Ok(News::Line(line)) => progress.say(&line),
        Ok(News::Ended(index, ended)) => {
            let target = &mut progress.targets[index];
            target.state = State::Ended;
            if let Some(finding) = ended? {
                target.report.findings += 1;
                progress.say(&finding);
            }
        }
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
    Ok(())
}

/// Starts a worker, with two threads that pass on what it says.
fn start(index: usize, name: &'static str, time: Duration, news: &Sender<News>) -> Result<()> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--worker", "--minutes"])
        .arg((time.as_secs_f64() / 60.0).to_string())
        .arg(name)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start a worker")?;
    let said = child.stderr.take().context("standard error")?;
    let lines = news.clone();
    let saying = std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            // Whoever should hear it is gone when the program ends.
            let _ = lines.send(News::Line(line));
        }
    });
    let news = Arc::new(news.clone());
    std::thread::spawn(move || {
        let ended = follow(index, name, child, &news);
        let _ = saying.join();
        let _ = news.send(News::Ended(index, ended));
    });
    Ok(())
}

/// Passes on a worker's reports until it ends; what it was doing if it was ended.
fn follow(
    index: usize,
    name: &str,
    mut child: Child,
    news: &Sender<News>,
) -> Result<Option<String>> {
    let reports = child.stdout.take().context("standard output")?;
    for line in BufReader::new(reports).lines().map_while(Result::ok) {
        if let Some(report) = parse_report(&line) {
            let _ = news.send(News::Report(index, report));
        }
    }
    let status = child.wait()?;
    if status.success() {
        return Ok(None);
    }
    let left = current::path(name, child.id());
    if status.code() == Some(current::HUNG_EXIT) {
        return Ok(Some(format!("{name}: ended itself")));
    }
    Ok(Some(match current::finding(name, &left)? {
        Some(saved) => format!("{name}: {status} at {}", saved.display()),
        None => format!("{name}: {status} before its first input"),
    }))
}
