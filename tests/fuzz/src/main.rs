//! `./x fuzz`: each target for its time.

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use knarr_fuzz::{engine, targets};

/// Runs fuzz targets.
#[derive(Parser)]
struct Options {
    /// Minutes for each target.
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Only the targets of these names.
    targets: Vec<String>,
}

#[expect(clippy::print_stdout, reason = "this is what the user asked for")]
fn main() -> Result<()> {
    let options = Options::parse();
    let time = Duration::from_secs_f64(options.minutes * 60.0);
    println!("| target | inputs | new in the corpus | findings |");
    println!("|---|---|---|---|");
    let mut findings = 0;
    for (name, mut target) in targets::all() {
        if !options.targets.is_empty() && !options.targets.iter().any(|wanted| wanted == name) {
            continue;
        }
        let report = engine::run(name, &mut *target, time, fastrand::Rng::new(), true)?;
        findings += report.findings.len();
        let (inputs, kept, found) = (report.inputs, report.kept, report.findings.len());
        println!("| {name} | {inputs} | {kept} | {found} |");
    }
    ensure!(
        findings == 0,
        "{findings} findings, see tests/fuzz/findings"
    );
    Ok(())
}
