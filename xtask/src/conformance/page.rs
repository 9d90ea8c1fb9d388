//! The page that is made from the records: what passes by group, what fails and why, and where upstream is faster.

use std::{fmt::Write as _, fs};

use anyhow::{Context, Result};
use knarr_testkit::image::workspace;

use super::report;
use crate::record::{Outcome, Record, State};

/// The suite's release.
const KUBERNETES: &str = "v1.37";

/// A spec is called slower when it takes this much longer than with upstream's own parts, and this many seconds more.
const SLOWER_FACTOR: f64 = 1.25;
const SLOWER_SECONDS: f64 = 2.0;
/// How a reason starts when no cluster on one machine could pass.
const NOT_HERE: &str = "not on one machine:";
/// The README's line starts with this.
const README_MARK: &str = "Conformance: ";

/// Writes docs/conformance.md and the README's line.
pub fn write(ours: &Record<1>, upstream: &Record<1>) -> Result<()> {
    let path = workspace().join("docs/conformance.md");
    fs::write(&path, page(ours, upstream))
        .with_context(|| format!("cannot write {}", path.display()))?;
    let path = workspace().join("README.md");
    let readme = fs::read_to_string(&path)?;
    fs::write(&path, with_line(&readme, &line(ours)))?;
    Ok(())
}

/// The one line that the README has.
fn line(ours: &Record<1>) -> String {
    format!(
        "{README_MARK}{} of the {} specs of Kubernetes {KUBERNETES} pass ([by group, with reasons](docs/conformance.md)).",
        ours.count(State::Pass),
        ours.iter().count()
    )
}

fn with_line(readme: &str, line: &str) -> String {
    let lines = readme.lines().map(|old| {
        if old.starts_with(README_MARK) {
            line
        } else {
            old
        }
    });
    lines.map(|line| format!("{line}\n")).collect()
}

fn page(ours: &Record<1>, upstream: &Record<1>) -> String {
    let mut text = format!(
        "# Conformance\n\nMade by `./x conformance --record` from `docs/conformance.tsv` and, for the yardstick, \
         `docs/conformance-upstream.tsv`: the same suite, images and machine with upstream's own control plane, kubelet and \
         containerd. The suite is Kubernetes {KUBERNETES}'s.\n\n{} of {} pass.\n\n",
        ours.count(State::Pass),
        ours.iter().count(),
    );
    by_group(&mut text, ours, upstream);
    let failures = || {
        ours.iter()
            .filter(|(_, outcome)| outcome.state != State::Pass)
    };
    let impossible = |outcome: &Outcome| outcome.reason.starts_with(NOT_HERE);
    list(
        &mut text,
        "What fails",
        failures().filter(|(_, outcome)| !impossible(outcome)),
    );
    list(
        &mut text,
        "What cannot pass on one machine",
        failures().filter(|(_, outcome)| impossible(outcome)),
    );
    slower(&mut text, ours, upstream);
    text
}

fn by_group(text: &mut String, ours: &Record<1>, upstream: &Record<1>) {
    let rows = |record: &Record<1>| {
        report::count(
            record
                .iter()
                .map(|([name], outcome)| (name.as_str(), outcome)),
        )
    };
    let theirs = rows(upstream);
    text.push_str("| group | passed | of | seconds | upstream passed | upstream seconds |\n|---|---:|---:|---:|---:|---:|\n");
    for (sig, counts) in rows(ours) {
        let (passed, seconds) = theirs.get(&sig).map_or(("-".into(), "-".into()), |their| {
            (their.passed.to_string(), format!("{:.0}", their.seconds))
        });
        let _ = writeln!(
            text,
            "| sig-{sig} | {} | {} | {:.0} | {passed} | {seconds} |",
            counts.passed, counts.total, counts.seconds
        );
    }
}

fn list<'a>(
    text: &mut String,
    title: &str,
    rows: impl Iterator<Item = (&'a [String; 1], &'a Outcome)>,
) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(text, "\n## {title}\n\n| spec | reason |\n|---|---|\n");
    for ([name], outcome) in rows {
        let reason = outcome.reason.trim_start_matches(NOT_HERE).trim();
        let _ = writeln!(text, "| {} | {} |", cell(name), cell(reason));
    }
}

/// Specs that both pass and upstream passes sooner.
fn slower(text: &mut String, ours: &Record<1>, upstream: &Record<1>) {
    let mut rows = Vec::new();
    for (key, outcome) in ours
        .iter()
        .filter(|(_, outcome)| outcome.state == State::Pass)
    {
        let Some(their) = upstream.get(key).filter(|their| their.state == State::Pass) else {
            continue;
        };
        if outcome.seconds > their.seconds * SLOWER_FACTOR
            && outcome.seconds > their.seconds + SLOWER_SECONDS
        {
            rows.push((&key[0], outcome.seconds, their.seconds));
        }
    }
    if rows.is_empty() {
        return;
    }
    text.push_str(
        "\n## Where upstream is faster\n\n| spec | seconds | upstream |\n|---|---:|---:|\n",
    );
    for (name, own, their) in rows {
        let _ = writeln!(text, "| {} | {own:.1} | {their:.1} |", cell(name));
    }
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests;
