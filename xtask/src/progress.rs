//! Says what long work does and how long it took.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What took less is not worth a second line.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Does one step of long work; its name is part of the error when it fails.
pub fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("{name} ...");
    let started = Instant::now();
    let outcome = work().with_context(|| name.to_owned())?;
    let took = started.elapsed();
    if took > WORTH_TELLING {
        eprintln!("    {:.1} s", took.as_secs_f64());
    }
    Ok(outcome)
}
