//! What of the node pods do not get.

use knarr_meta::{field::quote, quantity::Quantity};
use knarr_numa::CpuSet;

use super::settings::{Settings, TextMap};

/// Amounts that are kept from pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    pub pids: i64,
}

/// Reads one of the lists.
///
/// # Errors
/// What upstream's kubelet says of it at its start, after the field's name.
pub(super) fn parse(field: &str, list: &TextMap) -> Result<Reserved, String> {
    let mut reserved = Reserved::default();
    for (resource, text) in list {
        let target = match resource.as_str() {
            "cpu" => &mut reserved.cpu_milli,
            "memory" => &mut reserved.memory_bytes,
            "ephemeral-storage" => &mut reserved.storage_bytes,
            "pid" => &mut reserved.pids,
            other => return Err(format!("{field}: cannot reserve {} resource", quote(other))),
        };
        let amount = Quantity::parse(text).map_err(|error| {
            format!(
                "{field}: failed to parse quantity {} for {} resource: {error}",
                quote(text),
                quote(resource)
            )
        })?;
        *target = match resource.as_str() {
            "cpu" => amount.milli_value(),
            _ => amount.value(),
        };
        if *target < 0 {
            return Err(format!(
                "{field}: resource quantity for {} cannot be negative: {text}",
                quote(resource)
            ));
        }
    }
    Ok(reserved)
}

impl Settings {
    /// What is kept for the system and for the kubelet, together. The lists have been read before.
    pub(crate) fn reserved(&self) -> Reserved {
        let lists = [&self.system_reserved, &self.kube_reserved];
        let all = lists.map(|list| parse("", list).unwrap_or_default());
        let sum = all
            .into_iter()
            .fold(Reserved::default(), |sum, one| Reserved {
                cpu_milli: sum.cpu_milli.saturating_add(one.cpu_milli),
                memory_bytes: sum.memory_bytes.saturating_add(one.memory_bytes),
                storage_bytes: sum.storage_bytes.saturating_add(one.storage_bytes),
                pids: sum.pids.saturating_add(one.pids),
            });
        // What is named takes the place of what is counted.
        match self.reserved_cpus() {
            Some(cpus) => Reserved {
                cpu_milli: i64::try_from(cpus.len()).unwrap_or(0) * 1_000,
                ..sum
            },
            None => sum,
        }
    }

    /// The CPUs that are kept for the system, if they are named. The list has been read before.
    pub(crate) fn reserved_cpus(&self) -> Option<CpuSet> {
        let named = self.reserved_system_cpus.parse::<CpuSet>().ok();
        named.filter(|cpus| !cpus.is_empty())
    }
}
