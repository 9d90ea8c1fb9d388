//! Thresholds of the configuration, as upstream's `pkg/kubelet/eviction/helpers.go` reads them.

use std::time::Duration;

use knarr_meta::{duration, quantity::Quantity};

use super::pressure::Pressure;
use crate::configuration::{Settings, TextMap};

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Signal {
    Memory,
    /// Of what pods may have together.
    AllocatableMemory,
    NodeFs,
    NodeFsInodes,
    ImageFs,
    ImageFsInodes,
    Pids,
}

impl Signal {
    /// As files and metrics spell them.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory.available",
            Self::AllocatableMemory => "allocatableMemory.available",
            Self::NodeFs => "nodefs.available",
            Self::NodeFsInodes => "nodefs.inodesFree",
            Self::ImageFs => "imagefs.available",
            Self::ImageFsInodes => "imagefs.inodesFree",
            Self::Pids => "pid.available",
        }
    }

    /// The resource, as messages call it.
    pub(super) fn resource(self) -> &'static str {
        match self {
            Self::Memory | Self::AllocatableMemory => "memory",
            Self::NodeFs | Self::ImageFs => "ephemeral-storage",
            Self::NodeFsInodes | Self::ImageFsInodes => "inodes",
            Self::Pids => "pids",
        }
    }

    pub(super) fn pressure(self) -> Pressure {
        match self {
            Self::Memory | Self::AllocatableMemory => Pressure::Memory,
            Self::Pids => Pressure::Pid,
            _ => Pressure::Disk,
        }
    }

    /// Of a file's key. A file system of containers alone has the thresholds of the one that it is: upstream passes these over,
    /// too.
    fn parse(key: &str) -> Result<Option<Self>, String> {
        let all = [
            Self::Memory,
            Self::AllocatableMemory,
            Self::NodeFs,
            Self::NodeFsInodes,
            Self::ImageFs,
            Self::ImageFsInodes,
            Self::Pids,
        ];
        match key {
            "containerfs.available" | "containerfs.inodesFree" => Ok(None),
            key => all
                .into_iter()
                .find(|signal| signal.name() == key)
                .map(Some)
                .ok_or_else(|| format!("unsupported eviction signal {key}")),
        }
    }
}

/// An amount, or a share of all there is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Amount {
    Fixed(u64),
    /// Between 0 and 1.
    Share(f64),
}

impl Amount {
    /// Fractions are cut, as upstream cuts them.
    pub(super) fn of(self, capacity: u64) -> u64 {
        match self {
            Self::Fixed(amount) => amount,
            Self::Share(share) => (capacity as f64 * share) as u64,
        }
    }
}

/// Less than this is too little.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Threshold {
    pub signal: Signal,
    pub least: Amount,
    /// Of a soft one: how long there may be less.
    pub grace: Option<Duration>,
    /// What is to be freed beyond the threshold.
    pub reclaim: Option<Amount>,
}

/// All of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Thresholds(pub(super) Vec<Threshold>);

impl Thresholds {
    /// Reads them.
    ///
    /// # Errors
    /// Upstream's words.
    pub(crate) fn parse(own: &Settings) -> Result<Self, String> {
        let mut all = statements(&own.eviction_hard)?;
        let mut soft = statements(&own.eviction_soft)?;
        let graces = graces(&own.eviction_soft_grace_period)?;
        for threshold in &mut soft {
            let grace = graces
                .iter()
                .find(|(signal, _)| *signal == threshold.signal);
            let Some((_, grace)) = grace else {
                return Err(format!(
                    "grace period must be specified for the soft eviction threshold {}",
                    threshold.signal.name()
                ));
            };
            threshold.grace = Some(*grace);
        }
        all.extend(soft);
        for (signal, reclaim) in reclaims(&own.eviction_minimum_reclaim)? {
            for threshold in all.iter_mut().filter(|one| one.signal == signal) {
                threshold.reclaim = Some(reclaim);
            }
        }
        if own.enforces_pods() {
            let memory = |one: &&Threshold| one.signal == Signal::Memory && one.grace.is_none();
            let copies: Vec<Threshold> = all
                .iter()
                .filter(memory)
                .map(|one| Threshold {
                    signal: Signal::AllocatableMemory,
                    ..*one
                })
                .collect();
            all.extend(copies);
        }
        Ok(Self(all))
    }

    /// What pods do not get of the node's memory and of its disk, in bytes, so that thresholds are not passed by what they were
    /// promised.
    pub(crate) fn kept(&self, memory: i64, storage: i64) -> (i64, i64) {
        let of = |signal: Signal, capacity: i64| {
            let capacity = u64::try_from(capacity).unwrap_or(0);
            let mut hard = self.0.iter().filter(|one| one.grace.is_none());
            let threshold = hard.find(|one| one.signal == signal);
            let kept = threshold.map_or(0, |one| one.least.of(capacity));
            i64::try_from(kept).unwrap_or(i64::MAX)
        };
        (of(Signal::Memory, memory), of(Signal::NodeFs, storage))
    }
}

fn statements(list: &TextMap) -> Result<Vec<Threshold>, String> {
    let mut found = Vec::new();
    for (key, text) in list {
        // What upstream takes for none.
        let is_none = text == "0%" || text == "100%";
        let Some(signal) = Signal::parse(key)?.filter(|_| !is_none) else {
            continue;
        };
        let least = match share(text)? {
            Some(share) if share < 0.0 => {
                return Err(format!(
                    "eviction percentage threshold {key} must be >= 0%: {text}"
                ));
            }
            Some(share) if share > 1.0 => {
                return Err(format!(
                    "eviction percentage threshold {key} must be <= 100%: {text}"
                ));
            }
            Some(share) => Amount::Share(share),
            None => match quantity(text)? {
                1.. => Amount::Fixed(quantity(text)?.unsigned_abs()),
                _ => {
                    return Err(format!("eviction threshold {key} must be positive: {text}"));
                }
            },
        };
        found.push(Threshold {
            signal,
            least,
            grace: None,
            reclaim: None,
        });
    }
    Ok(found)
}

fn graces(list: &TextMap) -> Result<Vec<(Signal, Duration)>, String> {
    let mut found = Vec::new();
    for (key, text) in list {
        let signal = Signal::parse(key)?;
        let nanos = duration::parse(text)?;
        let nanos = u64::try_from(nanos).map_err(|_| {
            format!("invalid eviction grace period specified: {text}, must be a positive value")
        })?;
        found.extend(signal.map(|signal| (signal, Duration::from_nanos(nanos))));
    }
    Ok(found)
}

fn reclaims(list: &TextMap) -> Result<Vec<(Signal, Amount)>, String> {
    let mut found = Vec::new();
    for (key, text) in list {
        let signal = Signal::parse(key)?;
        let amount = match share(text)? {
            Some(share) if share <= 0.0 => {
                return Err(format!(
                    "eviction percentage minimum reclaim {key} must be positive: {text}"
                ));
            }
            Some(share) => Amount::Share(share),
            None => {
                let amount = u64::try_from(quantity(text)?);
                Amount::Fixed(amount.map_err(|_| {
                    format!("negative eviction minimum reclaim specified for {key}")
                })?)
            }
        };
        found.extend(signal.map(|signal| (signal, amount)));
    }
    Ok(found)
}

/// `10%` as 0.1; nothing of what is no percentage.
fn share(text: &str) -> Result<Option<f64>, String> {
    let Some(number) = text.strip_suffix('%') else {
        return Ok(None);
    };
    let number = number.parse::<f64>().ok().filter(|one| one.is_finite());
    let number = number.ok_or_else(|| format!("parsing {text:?}: invalid percentage"))?;
    Ok(Some(number / 100.0))
}

fn quantity(text: &str) -> Result<i64, String> {
    let parsed = Quantity::parse(text).map_err(|error| error.to_string())?;
    Ok(parsed.value())
}

#[cfg(test)]
mod tests;
