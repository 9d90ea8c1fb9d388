//! Numbers that are taken and given back.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    time::{Duration, Instant},
};

/// Why a number cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    OutOfRange,
    Taken,
    Full,
}

/// A range of numbers; the first `band` of them are chosen automatically only when the others are gone.
pub(super) struct Pool {
    range: Range<u64>,
    band: u64,
    /// With the moment of taking, for [`Pool::reconcile`].
    taken: HashMap<u64, Instant>,
}

impl Pool {
    pub(super) fn new(range: Range<u64>, band: u64) -> Pool {
        Pool {
            range,
            band,
            taken: HashMap::new(),
        }
    }

    pub(super) fn range(&self) -> Range<u64> {
        self.range.clone()
    }

    pub(super) fn take(&mut self, number: u64) -> Result<(), Refused> {
        if !self.range.contains(&number) {
            return Err(Refused::OutOfRange);
        }
        if self.taken.contains_key(&number) {
            return Err(Refused::Taken);
        }
        self.taken.insert(number, Instant::now());
        Ok(())
    }

    /// Takes any number: a random one, so that one just given back is not handed out at once.
    pub(super) fn take_any(&mut self) -> Result<u64, Refused> {
        let split = self.range.start + self.band.min(self.range.end - self.range.start);
        let found = self
            .free_in(split..self.range.end)
            .or_else(|| self.free_in(self.range.start..split));
        let number = found.ok_or(Refused::Full)?;
        self.taken.insert(number, Instant::now());
        Ok(number)
    }

    fn free_in(&self, range: Range<u64>) -> Option<u64> {
        if range.is_empty() {
            return None;
        }
        let start = fastrand::u64(range.clone());
        (start..range.end)
            .chain(range.start..start)
            .find(|number| !self.taken.contains_key(number))
    }

    pub(super) fn release(&mut self, number: u64) {
        self.taken.remove(&number);
    }

    /// Takes all of `used`, gives back what is not among it and was taken more than `life` ago. Returns how many went back.
    pub(super) fn reconcile(
        &mut self,
        used: impl IntoIterator<Item = u64>,
        life: Duration,
    ) -> usize {
        let now = Instant::now();
        let used: HashSet<u64> = used
            .into_iter()
            .filter(|number| self.range.contains(number))
            .collect();
        let before = self.taken.len();
        self.taken
            .retain(|number, at| used.contains(number) || now.duration_since(*at) < life);
        let leaked = before - self.taken.len();
        for number in used {
            self.taken.entry(number).or_insert(now);
        }
        leaked
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }
}
