//! Seats that are free some time after their request has ended.

use std::cmp::Ordering;

use crate::Nanos;

/// Seats that are kept for a while after the request has ended.
pub struct Lingering<R> {
    pub until: Nanos,
    pub seats: u32,
    pub flow: u64,
    pub queue: Option<u32>,
    pub request: R,
}

impl<R> PartialEq for Lingering<R> {
    fn eq(&self, other: &Self) -> bool {
        self.until == other.until
    }
}

impl<R> Eq for Lingering<R> {}

impl<R> PartialOrd for Lingering<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R> Ord for Lingering<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.until.cmp(&other.until)
    }
}
