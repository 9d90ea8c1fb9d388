//! What the log is told of plugins that cannot be registered: whoever may make sockets must not be able to fill it.

use std::{path::Path, time::Duration};

use tokio::time::Instant;

/// Lines in a period, and how long that is.
const LINES: u32 = 20;
const PERIOD: Duration = Duration::from_secs(60);
/// Longest reason, in bytes: a plugin may say anything.
const MAX_REASON_BYTES: usize = 512;

/// Counts lines.
#[derive(Debug)]
pub(super) struct Telling {
    since: Instant,
    told: u32,
    untold: u64,
}

/// What is to be told.
#[derive(Debug, PartialEq, Eq)]
enum Tell {
    Nothing,
    Failure,
    /// A failure, and that there were so many others before.
    Others(u64),
}

impl Telling {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            since: now,
            told: 0,
            untold: 0,
        }
    }

    /// A registration has failed.
    pub(super) fn failed(&mut self, socket: &Path, error: &str, now: Instant) {
        let others = match self.count(now) {
            Tell::Nothing => return,
            Tell::Failure => 0,
            Tell::Others(others) => others,
        };
        let error = shortened(error);
        let socket = socket.display();
        match others {
            0 => tracing::warn!(%socket, error, "cannot register a plugin, trying again"),
            _ => {
                tracing::warn!(%socket, error, others, "cannot register a plugin, trying again; others have failed since the last line")
            }
        }
    }

    fn count(&mut self, now: Instant) -> Tell {
        if now.saturating_duration_since(self.since) >= PERIOD {
            *self = Self {
                untold: self.untold,
                ..Self::new(now)
            };
        }
        if self.told >= LINES {
            self.untold = self.untold.saturating_add(1);
            return Tell::Nothing;
        }
        self.told = self.told.saturating_add(1);
        match std::mem::take(&mut self.untold) {
            0 => Tell::Failure,
            others => Tell::Others(others),
        }
    }
}

fn shortened(error: &str) -> &str {
    let end = (0..=error.len().min(MAX_REASON_BYTES)).rev();
    let mut ends = end.filter(|end| error.is_char_boundary(*end));
    error.get(..ends.next().unwrap_or(0)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine hundred sockets that are tried every half second.
    #[tokio::test(start_paused = true)]
    async fn any_number_of_sockets_has_so_many_lines_a_minute() {
        let start = Instant::now();
        let mut telling = Telling::new(start);
        let mut lines = 0;
        for _ in 0..900 {
            lines += u32::from(telling.count(start) != Tell::Nothing);
        }
        assert_eq!(lines, LINES);
        let later = start + PERIOD;
        assert_eq!(telling.count(later), Tell::Others(880));
        assert_eq!(telling.count(later), Tell::Failure);
    }

    #[test]
    fn a_reason_has_an_end() {
        assert_eq!(shortened("no"), "no");
        let long = "é".repeat(MAX_REASON_BYTES);
        assert_eq!(shortened(&long).len(), MAX_REASON_BYTES);
    }
}
