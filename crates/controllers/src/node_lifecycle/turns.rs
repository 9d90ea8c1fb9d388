//! Whose turn it is: of each zone one node at a time, and the next one only some time after.
//!
//! A turn is a guard value. It is spent when what it was taken for has happened; dropped before, the next one may have it, so
//! that a write that failed holds up nobody.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// When to ask again while another one has the turn: about as long as a write takes.
const ASK_AGAIN: Duration = Duration::from_millis(500);

enum State {
    Taken,
    /// Free from then on.
    After(Instant),
}

/// The turns of all zones.
#[derive(Default)]
pub(super) struct Turns {
    zones: Mutex<HashMap<String, State>>,
}

/// A zone's turn.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    zone: String,
    interval: Duration,
    spent: bool,
}

impl Turns {
    /// Takes the turn of a zone in which the next one comes after `interval`; or how long to wait for it.
    pub(super) fn take(&self, zone: &str, interval: Duration) -> Result<Turn<'_>, Duration> {
        let now = Instant::now();
        let mut zones = self.zones.lock();
        match zones.get(zone) {
            Some(State::Taken) => return Err(ASK_AGAIN),
            Some(State::After(at)) if *at > now => return Err(at.duration_since(now)),
            _ => zones.insert(zone.to_owned(), State::Taken),
        };
        Ok(Turn {
            turns: self,
            zone: zone.to_owned(),
            interval,
            spent: false,
        })
    }

    /// Forgets the zones that are not wanted, unless somebody has their turn.
    pub(super) fn retain(&self, wanted: impl Fn(&str) -> bool) {
        let mut zones = self.zones.lock();
        zones.retain(|zone, state| matches!(state, State::Taken) || wanted(zone));
    }
}

impl Turn<'_> {
    /// What it was taken for has happened.
    pub(super) fn spend(mut self) {
        self.spent = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let wait = if self.spent {
            self.interval
        } else {
            Duration::ZERO
        };
        let next = State::After(Instant::now() + wait);
        self.turns.zones.lock().insert(self.zone.clone(), next);
    }
}

#[cfg(test)]
mod tests;
