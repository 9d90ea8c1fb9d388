//! What has been done so far, for whoever looks on.

use std::sync::atomic::{AtomicU64, Ordering};

/// Requests that were answered, by what they were for; and those that failed.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub leases: Counter,
    pub reports: Counter,
    pub pod_writes: Counter,
    pub failures: Counter,
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How far a simulation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub nodes: u32,
    pub registered: u32,
    /// Down for the moment, or stopped by their annotation.
    pub down: u32,
    /// Registered nodes were given no range, and the one for their pods is used up: those that come wait.
    pub lacks_addresses: bool,
    /// Pods of these nodes, by what they are.
    pub pending: usize,
    pub running: usize,
    pub ready: usize,
    pub ended: usize,
    pub deleting: usize,
    /// Requests so far.
    pub leases: u64,
    pub reports: u64,
    pub pod_writes: u64,
    pub failures: u64,
}
