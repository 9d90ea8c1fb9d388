//! What is left in memory of many objects that were created and deleted, once their history has ended.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::{
    process,
    rows::{
        Effort, Measured,
        start::{ABSENT, wait},
    },
    seed::{self, Seed},
    stats::number,
    target::Target,
};

const OBJECTS: u64 = 192_000;
/// Made at a time.
const BATCH: u64 = 16_000;
/// History is kept for 5 minutes and compacted every 30 seconds; a minute later all of it is given back.
const HISTORY: Duration = Duration::from_secs(5 * 60 + 2 * 30 + 60);
/// Before the first object: what starts has settled.
const SETTLE: Duration = Duration::from_secs(15);

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let Some(cluster) = &target.cluster else {
        bail!(ABSENT)
    };
    let mut measured = Measured::default();
    if effort.quick {
        let why = "memory-flood: it takes minutes until history ends, and this run is to be short";
        measured.missing.push(why.to_owned());
        return Ok(measured);
    }
    let endpoint = &target.endpoint;
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "flood"))?;
    wait(SETTLE)?;
    let megabytes = || process::memory(cluster.pid()).anonymous as f64 / f64::from(1 << 20);
    let before = megabytes();
    for first in (0..OBJECTS).step_by(BATCH as usize) {
        let filled = target.block_on(|| seed::fill(endpoint, &namespace, first, first + BATCH))?;
        ensure!(
            filled.done == BATCH,
            "only {} of {BATCH} were created in time",
            filled.done
        );
    }
    let most = megabytes();
    let seed = Seed {
        namespace,
        count: OBJECTS,
    };
    target.block_on(|| seed::remove(endpoint, &seed))?;
    let deleted = megabytes();
    wait(HISTORY)?;
    let after = megabytes();
    measured.value("memory-flood", (after - before).max(0.0));
    measured.note(format!(
        "{OBJECTS} ConfigMaps: {} MB before, {} at most, {} when they were deleted, {} after their history",
        number(before),
        number(most),
        number(deleted),
        number(after)
    ));
    Ok(measured)
}
