//! Durable creates: 0.5 KiB ConfigMaps over 32 connections, and what a sync of the same disk takes.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use crate::{
    rows::{Effort, Measured},
    seed::{self, OBJECTS, Seed},
    stats::{Latencies, millis},
    target::Target,
};

const CREATES_QUICK: u64 = 3_000;
/// Appended between two syncs: what one create writes, about.
const SYNC_BYTES: usize = 1024;
const SYNCS: usize = 1_000;
const SYNC_TIME: Duration = Duration::from_secs(5);

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let count = effort.pick(OBJECTS, CREATES_QUICK);
    let (namespace, load) = target.block_on(|| async {
        let namespace = seed::create_namespace(&target.endpoint, "seed").await?;
        let load = seed::fill(&target.endpoint, &namespace, 0, count).await?;
        Ok((namespace, load))
    })?;
    let mut measured = Measured::default();
    measured.value("creates", load.per_second());
    measured.value("creates-p50", millis(load.latencies.p50()));
    measured.value("creates-p99", millis(load.latencies.p99()));
    measured.note(format!(
        "creates: {} in all, {}",
        load.done,
        load.generator_note()
    ));
    // A create that was refused left a gap in the names, so such a seed is not used.
    if load.done == count {
        target.keep_seed(Seed { namespace, count });
    } else {
        target.block_on(|| seed::delete_namespace(&target.endpoint, &namespace))?;
    }
    match fsync(&target.disk) {
        Ok(latencies) => measured.value("fsync", millis(latencies.p50())),
        Err(error) => measured.missing.push(format!("fsync: {error:#}")),
    }
    Ok(measured)
}

/// Appends and syncs, one after the other, in a file that is deleted again.
fn fsync(directory: &Path) -> Result<Latencies> {
    let mut file: File = tempfile::tempfile_in(directory)
        .with_context(|| format!("cannot make a file in {}", directory.display()))?;
    let block = [b'k'; SYNC_BYTES];
    let mut latencies = Vec::with_capacity(SYNCS);
    let started = Instant::now();
    while latencies.len() < SYNCS && started.elapsed() < SYNC_TIME {
        file.write_all(&block)?;
        let before = Instant::now();
        file.sync_data()?;
        latencies.push(before.elapsed());
    }
    Ok(Latencies::new(latencies))
}
