//! Start to ready, and what an idle cluster costs.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use crate::{
    cluster::{Cluster, Recipe},
    process::{self, Memory},
    rows::{Effort, Measured},
    stats::{Latencies, millis, number},
    target::{Target, interrupted},
};

/// Starts on an empty directory each; the last cluster is kept.
const STARTS: usize = 3;
/// After the start, for caches to fill and first syncs to end.
const SETTLE: Duration = Duration::from_secs(5);
/// CPU is counted over this time.
const IDLE: Duration = Duration::from_secs(10);
const IDLE_QUICK: Duration = Duration::from_secs(3);

pub const ABSENT: &str = "needs a cluster that the bench started itself (no --kubeconfig)";

/// Starts the cluster, several times unless `effort` is small. `Cluster::start_time` of the result is the median.
pub fn start(recipe: &Recipe, effort: Effort) -> Result<Cluster> {
    let mut times = Vec::new();
    let rounds = effort.pick(STARTS, 1);
    loop {
        let mut cluster = Cluster::start(recipe)?;
        eprintln!("  ready after {} ms", number(millis(cluster.start_time)));
        times.push(cluster.start_time);
        if times.len() == rounds {
            cluster.start_time = Latencies::new(times).p50();
            return Ok(cluster);
        }
    }
}

pub fn started(target: &Target) -> Result<Measured> {
    let Some(cluster) = &target.cluster else {
        bail!(ABSENT)
    };
    let mut measured = Measured::default();
    measured.value("start", millis(cluster.start_time));
    Ok(measured)
}

pub fn idle(target: &Target, effort: Effort) -> Result<Measured> {
    let Some(cluster) = &target.cluster else {
        bail!(ABSENT)
    };
    wait(SETTLE)?;
    let members = process::members(cluster.pid(), cluster.namespace.path());
    let look = || -> HashMap<u32, process::Cpu> {
        members
            .iter()
            .map(|pid| (*pid, process::cpu(*pid)))
            .collect()
    };
    let (before, started) = (look(), Instant::now());
    wait(effort.pick(IDLE, IDLE_QUICK))?;
    let (after, elapsed) = (look(), started.elapsed());
    let spent: Duration = members
        .iter()
        .map(|pid| process::spent(&before[pid], &after[pid]))
        .sum();
    let main = process::memory(cluster.pid());
    let mut whole = Memory::default();
    for pid in &members {
        whole += process::memory(*pid);
    }
    let mut measured = Measured::default();
    measured.value("rss-control-plane", mebibytes(main.rss));
    measured.value("rss-node", mebibytes(whole.rss));
    measured.value(
        "idle-cpu",
        100.0 * spent.as_secs_f64() / elapsed.as_secs_f64(),
    );
    measured.note(format!(
        "of the node's memory {} MB are anonymous (in no file); {} process(es); the process of the control plane \
         holds the node's components too",
        number(mebibytes(whole.anonymous)),
        members.len()
    ));
    Ok(measured)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Lets time pass, until it is over or the bench is interrupted.
pub fn wait(time: Duration) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            () = tokio::time::sleep(time) => Ok(()),
            () = interrupted().cancelled() => bail!("interrupted"),
        }
    })
}
