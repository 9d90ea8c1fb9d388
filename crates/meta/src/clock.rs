//! The wall clock, as everything reads it whose waits are tested on paused time.

use jiff::Timestamp;

/// The time of day. With the feature `testing` it is ahead of the machine's by what [`advance`] was told: a wait that is counted
/// from a timestamp in an object ends on a runtime with paused time too.
pub fn now() -> Timestamp {
    #[cfg(feature = "testing")]
    return testing::ahead(Timestamp::now());
    #[cfg(not(feature = "testing"))]
    Timestamp::now()
}

#[cfg(feature = "testing")]
pub use testing::advance;

#[cfg(feature = "testing")]
mod testing {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use jiff::Timestamp;

    /// Milliseconds.
    static AHEAD: AtomicU64 = AtomicU64::new(0);

    /// Moves the clock of this process on.
    pub fn advance(by: Duration) {
        let by = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        AHEAD.fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn ahead(at: Timestamp) -> Timestamp {
        let ahead = Duration::from_millis(AHEAD.load(Ordering::Relaxed));
        at.checked_add(ahead).unwrap_or(Timestamp::MAX)
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::time::Duration;

    use super::{advance, now};

    #[test]
    fn it_is_as_far_ahead_as_it_was_told() {
        let before = now();
        advance(Duration::from_secs(3600));
        assert!(now().duration_since(before).as_secs() >= 3600);
    }
}
