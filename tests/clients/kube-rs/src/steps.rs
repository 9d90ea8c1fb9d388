//! Tells of a client's steps on standard output, in the protocol of xtask/src/clients/report.rs.

use std::{
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

type Run = Pin<Box<dyn Future<Output = Result<()>>>>;

/// Steps in the order in which they are run.
#[derive(Default)]
pub struct Steps(Vec<(&'static str, Run)>);

impl Steps {
    pub fn add(&mut self, name: &'static str, run: impl Future<Output = Result<()>> + 'static) {
        self.0.push((name, Box::pin(run)));
    }

    /// Runs every step, whatever became of those before it.
    pub async fn run(self) {
        for (name, _) in &self.0 {
            println!("plan {name}");
        }
        for (name, run) in self.0 {
            let started = Instant::now();
            // A task of its own: a panic is its own too.
            let result = tokio::time::timeout(LIMIT, tokio::task::spawn_local(run)).await;
            let seconds = started.elapsed().as_secs_f64();
            let error = match result {
                Ok(Ok(Ok(()))) => {
                    println!("ok {name} {seconds:.2}");
                    continue;
                }
                Ok(Ok(Err(error))) => format!("{error:#}"),
                Ok(Err(panic)) => panic.to_string(),
                Err(_) => format!("not done after {} s", LIMIT.as_secs()),
            };
            let reason = error.split_whitespace().collect::<Vec<_>>().join(" ");
            println!("fail {name} {seconds:.2} {reason}");
        }
    }
}

/// Calls `look` until it succeeds; the step's limit ends it otherwise.
pub async fn eventually<T>(mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + LIMIT - Duration::from_secs(5);
    loop {
        match look().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => return Err(error.context("in vain")),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

pub fn want<T: PartialEq + std::fmt::Debug>(what: &str, found: T, wanted: T) -> Result<()> {
    if found != wanted {
        bail!("{what} is {found:?}, not {wanted:?}");
    }
    Ok(())
}
