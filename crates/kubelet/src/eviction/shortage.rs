//! What the node is short of: figures against thresholds, and the conditions that follow.

use std::{collections::HashMap, path::Path, time::Duration};

use tokio::time::Instant;

use crate::{
    resources,
    stats::{self, Disk},
};

/// How long a pressure is told after it was last seen, as upstream's default.
const TRANSITION: Duration = Duration::from_secs(5 * 60);
/// Memory that must be available: upstream's default.
const MEMORY_BYTES: u64 = 100 << 20;
/// Percent of the disk's bytes and inodes that must be free. Upstream has 10 of bytes, and 15 where images are: what fills the disks
/// of laptops is not pods, and clusters that are made for them have this, or nothing.
const DISK_PERCENT: u64 = 5;

/// A node condition that says that there is not enough of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pressure {
    Memory,
    Disk,
}

impl Pressure {
    pub(crate) const ALL: [Self; 2] = [Self::Memory, Self::Disk];

    /// The condition's type.
    pub(crate) fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
        }
    }

    /// The taint that follows from it.
    pub(super) fn taint(self) -> &'static str {
        match self {
            Self::Memory => "node.kubernetes.io/memory-pressure",
            Self::Disk => "node.kubernetes.io/disk-pressure",
        }
    }
}

/// A threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Signal {
    Memory,
    Disk,
    Inodes,
}

impl Signal {
    fn pressure(self) -> Pressure {
        match self {
            Self::Memory => Pressure::Memory,
            Self::Disk | Self::Inodes => Pressure::Disk,
        }
    }
}

/// What there is, and how much of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Amount {
    capacity: u64,
    available: u64,
}

/// What the node has left; nothing where the host does not tell.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    memory: Option<Amount>,
    disk: Option<Amount>,
    inodes: Option<Amount>,
}

impl Figures {
    /// Reads files: blocking.
    pub(super) fn read(data_dir: &Path) -> Self {
        let disk = stats::disk(data_dir);
        let bytes = |disk: Disk| Amount {
            capacity: disk.capacity,
            available: disk.available,
        };
        // Some file systems make inodes as they need them, and say that there are none.
        let inodes = |disk: Disk| {
            (disk.inodes > 0).then_some(Amount {
                capacity: disk.inodes,
                available: disk.inodes_free,
            })
        };
        Self {
            memory: stats::memory_available().map(|(capacity, available)| Amount {
                capacity,
                available,
            }),
            disk: disk.map(bytes),
            inodes: disk.and_then(inodes),
        }
    }
}

/// A threshold that was passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub signal: Signal,
    least: u64,
    available: u64,
}

impl Short {
    /// The resource, as messages call it.
    pub(super) fn resource(&self) -> &'static str {
        match self.signal {
            Signal::Memory => "memory",
            Signal::Disk => "ephemeral-storage",
            Signal::Inodes => "inodes",
        }
    }

    /// Upstream's words.
    pub(super) fn message(&self) -> String {
        let amount = |amount: u64| match self.signal {
            Signal::Inodes => amount.to_string(),
            _ => resources::memory_quantity(i64::try_from(amount).unwrap_or(i64::MAX)).0,
        };
        format!(
            "The node was low on resource: {}. Threshold quantity: {}, available: {}. ",
            self.resource(),
            amount(self.least),
            amount(self.available)
        )
    }
}

/// What has been short lately.
#[derive(Default)]
pub(super) struct Shortages {
    seen: HashMap<Pressure, Instant>,
}

impl Shortages {
    /// The worst shortage now; memory first, as upstream.
    pub(super) fn look(&mut self, figures: &Figures, now: Instant) -> Option<Short> {
        let percent = |amount: Amount| {
            let least = u128::from(amount.capacity) * u128::from(DISK_PERCENT) / 100;
            u64::try_from(least).unwrap_or(u64::MAX)
        };
        let signals = [
            (Signal::Memory, figures.memory, MEMORY_BYTES),
            (Signal::Disk, figures.disk, figures.disk.map_or(0, percent)),
            (
                Signal::Inodes,
                figures.inodes,
                figures.inodes.map_or(0, percent),
            ),
        ];
        let mut worst = None;
        for (signal, amount, least) in signals {
            let Some(amount) = amount.filter(|amount| amount.available < least) else {
                continue;
            };
            self.seen.insert(signal.pressure(), now);
            worst.get_or_insert(Short {
                signal,
                least,
                available: amount.available,
            });
        }
        self.seen
            .retain(|_, at| now.saturating_duration_since(*at) < TRANSITION);
        worst
    }

    /// What is told.
    pub(super) fn pressures(&self) -> Vec<Pressure> {
        let told = |pressure: &Pressure| self.seen.contains_key(pressure);
        Pressure::ALL.into_iter().filter(told).collect()
    }
}

#[cfg(test)]
mod tests;
