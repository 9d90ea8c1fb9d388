//! `./x fuzz`: every target for its time, side by side.

mod progress;
mod workers;

use std::num::NonZero;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use knarr_fuzz::{engine, targets};

/// Runs fuzz targets, each in a process of its own, and prints a table of what came of them.
#[derive(Parser)]
struct Options {
    /// Minutes for each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Targets that run at a time; one a core unless said otherwise.
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Instead: remove from the corpora what shows nothing that shorter inputs do not.
    #[arg(long)]
    trim: bool,
    /// Run one target in this process, and report to the one that started it.
    #[arg(long, hide = true)]
    worker: bool,
    /// Only the targets of these names.
    targets: Vec<String>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let names = wanted(&options.targets)?;
    let time = Duration::try_from_secs_f64(options.minutes * 60.0).context("--minutes")?;
    if options.trim {
        return names.iter().try_for_each(|name| trim(name));
    }
    if options.worker {
        return names.iter().try_for_each(|name| workers::work(name, time));
    }
    let jobs = options
        .jobs
        .or_else(|| std::thread::available_parallelism().ok())
        .map_or(1, NonZero::get);
    let outcomes = workers::run(&names, time, jobs)?;
    table(&outcomes);
    let findings: usize = outcomes.iter().map(|(_, report)| report.findings).sum();
    ensure!(
        findings == 0,
        "{findings} findings, see tests/fuzz/findings"
    );
    Ok(())
}

/// The targets of these names; of none, all.
fn wanted(names: &[String]) -> Result<Vec<&'static str>> {
    let all: Vec<&'static str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = names.iter().find(|name| !all.contains(&name.as_str())) {
        bail!(
            "there is no target {unknown:?}; there are: {}",
            all.join(", ")
        );
    }
    let is_wanted = |name: &&str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    Ok(all.into_iter().filter(is_wanted).collect())
}

fn trim(name: &str) -> Result<()> {
    let mut target = targets::start(name).context("a target")?;
    let removed = engine::trim(name, &mut *target)?;
    eprintln!("{name}: {removed} removed");
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn table(outcomes: &[workers::Outcome]) {
    println!("| target | inputs | new shapes | findings |");
    println!("|---|---|---|---|");
    for (name, report) in outcomes {
        let engine::Report {
            inputs,
            new,
            findings,
        } = report;
        println!("| {name} | {inputs} | {new} | {findings} |");
    }
}
