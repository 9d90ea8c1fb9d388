//! What the node and its pods use: figures for `/stats/summary`, `/metrics/resource` and `/metrics/cadvisor`.
//!
//! ```text
//! CRI ListContainerStats --+
//! control groups of pods --+--> Usage, good for a second --> summary, resource
//! /proc of node and pods --+                       |
//! control groups of containers (blocking) ---------+-------> cadvisor
//! ```
//!
//! Containers are measured by the runtime, pods by their control groups, which the kubelet makes itself: upstream's way with
//! runtimes that have no `PodSandboxStats`, and one way for all of them. Whoever asks waits for one collection, which all who ask
//! meanwhile share; files are read off the async threads. Nothing is collected for nobody.
//!
//! Rejected: `ListPodSandboxStats` where a runtime has it (two ways to one figure, and containerd 1.6 has none).

mod cadvisor;
mod collect;
mod durations;
mod groups;
mod health;
mod histogram;
mod kubelet;
mod node;
mod resource;
mod starts;
mod summary;
mod text;
mod volumes;

use std::{collections::HashMap, sync::Arc, time::Duration};

use knarr_cri::v1;
use knarr_host::{net_dev::Interface, usage};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};

use crate::context::Shared;

pub(crate) use cadvisor::cadvisor;
pub(crate) use durations::{Durations, GroupWork, PodWork, VolumeWork};
pub(crate) use health::Checks;
pub(crate) use histogram::Histogram;
pub(crate) use kubelet::kubelet;
pub(crate) use node::{Disk, available as memory_available, disk, processes, swap_capacity};
pub(crate) use resource::resource;
pub(crate) use summary::{size as logs_size, summary};
pub(crate) use text::{Text, Type};

/// How long figures are good: as upstream's for the same request made twice.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// Longest that a collection may take: whoever scrapes has given up by then.
const COLLECTION_TIMEOUT: Duration = Duration::from_secs(10);
/// A pod's interface, which upstream's figures are of.
const INTERFACE: &str = "eth0";
/// Two points nearer to each other than this tell no rate.
const RATE_MIN_NANOS: i64 = 100_000_000;

/// The last figures, and those before them.
#[derive(Default)]
pub(crate) struct Stats {
    last: tokio::sync::Mutex<Option<(Instant, Arc<Usage>)>>,
    rates: Mutex<HashMap<String, Point>>,
    /// What is in volumes.
    volumes: volumes::Volumes,
    /// How long work takes.
    pub durations: Arc<Durations>,
    /// How long pods take to start.
    pub starts: starts::Starts,
    /// What came of checks of health.
    pub checks: Checks,
}

/// A counter of processor time at a moment.
#[derive(Clone, Copy, Debug)]
struct Point {
    at: i64,
    nanos: u64,
    /// Cores, in billionths, since the point before.
    rate: Option<u64>,
}

/// What everything uses at about one time.
#[derive(Debug)]
pub(crate) struct Usage {
    pub node: Group,
    /// All pods together.
    pub all_pods: Group,
    pub interfaces: Vec<Interface>,
    pub pods: Vec<Pod>,
}

/// A control group's figures.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    /// Nanoseconds since 1970.
    pub at: i64,
    pub cpu: Option<usage::Cpu>,
    /// Cores, in billionths.
    pub nano_cores: Option<u64>,
    pub memory: Option<usage::Memory>,
    pub pressures: usage::Pressures,
}

/// A pod that has a container with a process.
#[derive(Debug)]
pub(crate) struct Pod {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    /// When its sandbox was made, nanoseconds since 1970.
    pub created: i64,
    pub host_network: bool,
    /// Of its control group, in each hierarchy.
    pub path: String,
    pub group: Group,
    /// Those of its own network; none where it uses the node's.
    pub interfaces: Vec<Interface>,
    pub containers: Vec<Container>,
}

/// A container with a process.
#[derive(Debug)]
pub(crate) struct Container {
    pub name: String,
    pub id: String,
    pub image: String,
    /// When it was made, nanoseconds since 1970.
    pub created: i64,
    /// As the runtime tells; processor time of 0 and nothing at all are different things.
    pub stats: v1::ContainerStats,
    pub nano_cores: Option<u64>,
}

impl Stats {
    /// The figures, collected anew where the last are too old.
    ///
    /// # Errors
    /// Why the runtime says nothing.
    pub(crate) async fn usage(&self, ctx: &Shared) -> Result<Arc<Usage>, String> {
        // Who comes while others collect waits for them and finds what they found.
        let mut last = self.last.lock().await;
        if let Some((at, usage)) = &*last
            && at.elapsed() < GOOD_FOR
        {
            return Ok(usage.clone());
        }
        let collected = timeout(COLLECTION_TIMEOUT, collect::collect(ctx, self)).await;
        let usage = collected.map_err(|_| "collecting figures takes too long".to_owned())?;
        let usage = Arc::new(usage?);
        self.forget(&usage);
        *last = Some((Instant::now(), usage.clone()));
        Ok(usage)
    }

    /// Cores in billionths, between this point of a counter and the one before; the last that is known where they are too near.
    fn rate(&self, whose: &str, at: i64, nanos: u64) -> Option<u64> {
        let mut rates = self.rates.lock();
        let before = rates.get(whose).copied();
        let Some(before) = before.filter(|before| before.nanos <= nanos && before.at <= at) else {
            let rate = None;
            rates.insert(whose.to_owned(), Point { at, nanos, rate });
            return None;
        };
        let window = at.saturating_sub(before.at);
        if window < RATE_MIN_NANOS {
            return before.rate;
        }
        let used = u128::from(nanos - before.nanos) * 1_000_000_000;
        let rate = u64::try_from(used / u128::from(window.unsigned_abs())).ok();
        rates.insert(whose.to_owned(), Point { at, nanos, rate });
        rate
    }

    /// Keeps no counters of what is gone.
    fn forget(&self, usage: &Usage) {
        let mut rates = self.rates.lock();
        let pods = usage.pods.iter();
        let mut there: std::collections::HashSet<&str> = pods
            .flat_map(|pod| {
                let containers = pod.containers.iter().map(|one| one.id.as_str());
                containers.chain([pod.path.as_str()])
            })
            .collect();
        there.extend([collect::NODE, collect::ALL_PODS]);
        rates.retain(|whose, _| there.contains(whose.as_str()));
    }
}

#[cfg(test)]
mod tests;
