//! Turns that are shared evenly.

use std::sync::atomic::{AtomicU64, Ordering};

/// 2^64 divided by the golden ratio: its multiples are spread evenly, however many of them are taken.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers below a limit that are spread evenly, however few of them are taken.
#[derive(Debug, Default)]
pub struct Spread(AtomicU64);

impl Spread {
    pub fn next(&self, limit: u64) -> u64 {
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        let place = u128::from(turn.wrapping_mul(GOLDEN));
        let point = place.wrapping_mul(limit.into()) >> 64;
        u64::try_from(point).unwrap_or_default()
    }
}
