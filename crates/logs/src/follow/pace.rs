//! How fast a container's log is read, so that one that floods costs its neighbours nothing.
//!
//! A container may have so many bytes read a second, and some more at once. What it writes faster waits in its files; of more
//! than [`MAX_BEHIND_BYTES`] the oldest is left out, and counted.

use std::time::Instant;

/// Most that is read of a container, bytes a second: some 40 000 lines.
pub const BYTES_PER_SECOND: u64 = 4 << 20;
/// Read at once after a pause, bytes.
const BURST_BYTES: u64 = 16 << 20;
/// Most that waits in files, which cannot be freed before, bytes.
const MAX_BEHIND_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub struct Pace {
    rate: u64,
    /// May be read now, bytes; less than nothing after a step that was longer.
    room: f64,
    at: Instant,
}

impl Pace {
    /// `rate` in bytes a second.
    pub fn new(rate: u64) -> Self {
        Self {
            rate,
            room: BURST_BYTES as f64,
            at: Instant::now(),
        }
    }

    /// Whether something may be read now.
    pub fn allows(&mut self) -> bool {
        self.pass(Instant::now())
    }

    fn pass(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.room = (self.room + passed * self.rate as f64).min(BURST_BYTES as f64);
        self.room > 0.0
    }

    pub fn spend(&mut self, bytes: usize) {
        self.room -= bytes as f64;
    }

    /// How much of what has not been read is to be left out, bytes.
    pub fn surplus(&self, unread: u64) -> u64 {
        unread.saturating_sub(MAX_BEHIND_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flood_is_read_at_its_rate() {
        let mut pace = Pace::new(1_000_000);
        let start = pace.at;
        let mut read = 0;
        for tenth in 0..600 {
            while pace.pass(start + Duration::from_millis(tenth * 100)) {
                pace.spend(100_000);
                read += 100_000;
            }
        }
        let burst = BURST_BYTES as usize;
        assert!((60_000_000..=60_200_000 + burst).contains(&read), "{read}");
        assert_eq!(pace.surplus(MAX_BEHIND_BYTES + 7), 7);
        assert_eq!(pace.surplus(7), 0);
    }
}
