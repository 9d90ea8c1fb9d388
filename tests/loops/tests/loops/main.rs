//! Loops that must be right whatever the order: controllers, garbage collector and scheduler run against the real API server
//! (on a store in memory), with faults in front of it. Time is paused, so that back-offs of minutes cost nothing.
//!
//! A run has a bad time, in which users change things at random while answers are lost, refused, late or repeated, and then a
//! good one, in which nothing is done any more. By its end everything has to be as the objects ask for.
//!
//! Each test runs some seeds and prints them. `KNARR_SEEDS` sets their number, `KNARR_SEED` runs one. The seed decides faults and
//! users; the order of hash maps is left to chance, so that a run is repeated in the main, not to the letter.

#![allow(clippy::print_stdout)]

mod attachments;
mod cluster;
mod collector;
mod controllers;
mod crashes;
mod daemons;
mod jobs;
mod migrations;
mod quarrels;
mod quotas;
mod scheduler;
mod simulated;
mod stateful;

use std::future::Future;

use cluster::Cluster;

const DEFAULT_SEEDS: u64 = 3;

/// Runs a scenario in which the server is as it should be.
fn without_faults<F: Future<Output = ()>>(scenario: impl Fn(Cluster) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("runtime");
    runtime.block_on(async { scenario(Cluster::start(0).await).await });
}

/// Runs a scenario with each seed, on a runtime of its own.
fn seeds<F: Future<Output = ()>>(scenario: impl Fn(Cluster, fastrand::Rng) -> F) {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("a number"))
    };
    let seeds = match number("KNARR_SEED") {
        Some(seed) => vec![seed],
        None => {
            let count = number("KNARR_SEEDS").unwrap_or(DEFAULT_SEEDS);
            (0..count).map(|_| fastrand::u64(..)).collect()
        }
    };
    for seed in seeds {
        println!("KNARR_SEED={seed}");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("runtime");
        // What components draw themselves, too.
        fastrand::seed(seed);
        runtime.block_on(async {
            let cluster = Cluster::start(seed).await;
            let faults = cluster.faults.clone();
            scenario(cluster, fastrand::Rng::with_seed(seed)).await;
            let injected = faults.injected();
            assert!(injected > 20, "{injected} faults are no bad day");
        });
    }
}
