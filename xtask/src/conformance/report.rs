//! What became of specs: read from the suite's output, printed while it runs, kept in the record.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::spec::{self, Spec};
use crate::record::{Changes, Outcome, Record, State};

/// One spec that was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    pub spec: Spec,
    pub outcome: Outcome,
    /// Failed at first and passed when it was run once more.
    pub flaky: bool,
}

/// What the suite's program printed, of a run of one spec.
///
/// Its text is read rather than its reports: those name every spec that was not chosen, megabytes a run.
pub fn read(log: &str) -> Result<Outcome> {
    let (ran, seconds) = log
        .lines()
        .rev()
        .find_map(ran)
        .context("it does not say how many specs ran")?;
    let passed = log
        .lines()
        .rev()
        .any(|line| line.starts_with("SUCCESS! -- "));
    ensure!(ran < 2, "it ran {ran} specs under one name");
    let (state, reason) = match (ran, passed) {
        (1, true) => (State::Pass, String::new()),
        (0, true) => {
            // Not passed, whatever its reason.
            let why =
                message(log, "[SKIPPED] ").unwrap_or_else(|| "no spec has this name".to_owned());
            (State::Fail, format!("skips itself: {why}"))
        }
        _ => {
            let why = message(log, "[FAILED] ").or_else(|| message(log, "[PANICKED] "));
            let why = why.or_else(|| message(log, "[TIMEDOUT] "));
            (
                State::Fail,
                why.unwrap_or_else(|| "failed without a message".to_owned()),
            )
        }
    };
    Ok(Outcome {
        state,
        seconds,
        reason,
    })
}

/// 1 and 2.5 of `Ran 1 of 7094 Specs in 2.500 seconds`.
fn ran(line: &str) -> Option<(usize, f64)> {
    let (ran, rest) = line.strip_prefix("Ran ")?.split_once(" of ")?;
    let (_, rest) = rest.split_once(" Specs in ")?;
    let (seconds, _) = rest.split_once(' ')?;
    Some((ran.parse().ok()?, seconds.parse().ok()?))
}

/// The first message that follows the mark, which goes on until it is said where the spec failed.
fn message(log: &str, mark: &str) -> Option<String> {
    // In the timeline the mark stands before a place.
    let begins = |line: &str| {
        let text = line.trim_start().strip_prefix(mark);
        text.is_some_and(|text| !text.starts_with("in ["))
    };
    let mut lines = log.lines().skip_while(|line| !begins(line));
    let first = lines.next()?.trim_start().strip_prefix(mark)?;
    let rest = lines.take_while(|line| !line.trim_start().starts_with("In ["));
    let text: Vec<&str> = [first].into_iter().chain(rest).collect();
    Some(reason(&text.join("\n")))
}

/// The line of a failure's message that says most: the last one of an error chain is the cause, what is around is Go's
/// rendering of it.
fn reason(message: &str) -> String {
    let lines: Vec<&str> = message
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let first = lines.first().copied().unwrap_or("failed without a message");
    let telling = lines.iter().find(|line| {
        line.starts_with("s: \"") || line.contains("could not find the requested resource")
    });
    match telling {
        Some(line) if *line != first => format!(
            "{} {}",
            first.trim_end_matches(':'),
            line.trim_start_matches("s: ")
        ),
        _ => first.to_owned(),
    }
}

pub fn print_progress(tried: Option<&Tried>, done: usize, total: usize) {
    let Some(tried) = tried else { return };
    let outcome = &tried.outcome;
    eprintln!(
        "{done:>4}/{total} {} {:>6.1} s  {}",
        outcome.state, outcome.seconds, tried.spec.name
    );
    if outcome.state == State::Fail {
        eprintln!("                        {}", outcome.reason);
    }
}

/// A whole run beside the record.
pub struct Summary<'a> {
    tried: &'a [Tried],
    changes: Changes<1>,
}

/// What a run saw, as a record.
pub fn as_record(tried: &[Tried]) -> Record<1> {
    let mut record = Record::default();
    for one in tried {
        record.add(one.spec.key(), one.outcome.clone());
    }
    record
}

impl<'a> Summary<'a> {
    pub fn new(tried: &'a [Tried], record: &Record<1>) -> Self {
        Self {
            tried,
            changes: record.changes(&as_record(tried), |_| false),
        }
    }

    /// Specs that the record says pass, or does not know, and that fail.
    pub fn regressions(&self) -> usize {
        self.changes.regressions.len()
    }

    pub fn print(&self, took: Duration, logs: &Path) {
        eprint!("\n{}", table(&self.by_sig()));
        for (title, names) in [
            ("regressed", &self.changes.regressions),
            ("new passes", &self.changes.passes),
        ] {
            if !names.is_empty() {
                eprintln!("\n{title}:");
            }
            for [name] in names {
                eprintln!("  {name}");
            }
        }
        let flaky: Vec<&Tried> = self.tried.iter().filter(|tried| tried.flaky).collect();
        if !flaky.is_empty() {
            eprintln!("\n{} flaky, passed when run once more:", flaky.len());
        }
        for tried in flaky {
            eprintln!("  {}", tried.spec.name);
        }
        let seconds = took.as_secs();
        eprintln!(
            "\n{} min {:02} s; a log a spec in {}",
            seconds / 60,
            seconds % 60,
            logs.display()
        );
        // The line by which a continuous build knows that tests ran.
        let passed = self
            .tried
            .iter()
            .filter(|tried| tried.outcome.state == State::Pass)
            .count();
        eprintln!("{passed} passed, {} failed", self.tried.len() - passed);
    }

    fn by_sig(&self) -> BTreeMap<String, Counts> {
        let rows = self
            .tried
            .iter()
            .map(|tried| (tried.spec.name.as_str(), &tried.outcome));
        count(rows)
    }
}

/// How many of a group's specs passed, and how long they took.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub passed: usize,
    pub total: usize,
    pub seconds: f64,
}

/// Counts outcomes by group.
pub fn count<'a>(rows: impl Iterator<Item = (&'a str, &'a Outcome)>) -> BTreeMap<String, Counts> {
    let mut groups: BTreeMap<String, Counts> = BTreeMap::new();
    for (name, outcome) in rows {
        let counts = groups.entry(spec::sig(name).to_owned()).or_default();
        counts.total += 1;
        counts.passed += usize::from(outcome.state == State::Pass);
        counts.seconds += outcome.seconds;
    }
    groups
}

fn table(groups: &BTreeMap<String, Counts>) -> String {
    let mut text = format!(
        "{:<20} {:>8} {:>8} {:>10}\n",
        "group", "passed", "of", "seconds"
    );
    let mut sum = Counts::default();
    for (sig, counts) in groups {
        text += &row(&format!("sig-{sig}"), counts);
        sum.passed += counts.passed;
        sum.total += counts.total;
        sum.seconds += counts.seconds;
    }
    text + &row("all", &sum)
}

fn row(name: &str, counts: &Counts) -> String {
    format!(
        "{name:<20} {:>8} {:>8} {:>10.0}\n",
        counts.passed, counts.total, counts.seconds
    )
}

#[cfg(test)]
mod tests;
