//! Numbers that are taken and given back.

use std::{
    collections::HashMap,
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

/// A number that is taken.
struct Holder {
    /// Uid of the stored Service that has it; `None` while a write is under way.
    uid: Option<Box<str>>,
    since: Instant,
}

/// A range of numbers; the first `band` of them are chosen automatically only when the others are gone.
pub(super) struct Pool {
    range: Range<u64>,
    band: u64,
    taken: HashMap<u64, Holder>,
}

/// What [`Pool::reconcile`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Numbers that went back: nobody has them.
    pub leaked: usize,
    /// Places in the list of claims whose number another claim before it has.
    pub duplicates: Vec<usize>,
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

    /// Takes a number for a write that is under way.
    pub(super) fn take(&mut self, number: u64) -> Result<(), Refused> {
        if !self.range.contains(&number) {
            return Err(Refused::OutOfRange);
        }
        if self.has(number) {
            return Err(Refused::Taken);
        }
        self.hold(number, None);
        Ok(())
    }

    pub(super) fn has(&self, number: u64) -> bool {
        self.taken.contains_key(&number)
    }

    /// Takes any number: a random one, so that one just given back is not handed out at once.
    pub(super) fn take_any(&mut self) -> Result<u64, Refused> {
        let split = self
            .range
            .start
            .saturating_add(self.band)
            .min(self.range.end);
        let found = self
            .free_in(split..self.range.end)
            .or_else(|| self.free_in(self.range.start..split));
        let number = found.ok_or(Refused::Full)?;
        self.hold(number, None);
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

    fn hold(&mut self, number: u64, uid: Option<&str>) {
        let holder = Holder {
            uid: uid.map(Into::into),
            since: Instant::now(),
        };
        self.taken.insert(number, holder);
    }

    /// Takes a number for a write that has it for certain, whoever was thought to have it.
    pub(super) fn seize(&mut self, number: u64) {
        self.hold(number, None);
    }

    /// What a write took is now its Service's.
    pub(super) fn keep(&mut self, number: u64, uid: &str) {
        self.hold(number, Some(uid));
    }

    /// Gives back what a write took.
    pub(super) fn undo(&mut self, number: u64) {
        if self.taken.get(&number).is_some_and(|h| h.uid.is_none()) {
            self.taken.remove(&number);
        }
    }

    /// Gives back what a Service has. A number that it only names stays with who has it.
    pub(super) fn release(&mut self, number: u64, uid: &str) {
        let holder = self.taken.get(&number).and_then(|h| h.uid.as_deref());
        if holder == Some(uid) {
            self.taken.remove(&number);
        }
    }

    /// Makes the pool agree with the claims of stored Services (number and uid, the oldest first): the first claim of a number
    /// has it. What no claim names goes back once it was taken more than `life` ago: a write that is under way, or that reads
    /// do not show yet, is younger.
    pub(super) fn reconcile<'u>(
        &mut self,
        claims: impl IntoIterator<Item = (u64, &'u str)>,
        life: Duration,
    ) -> Found {
        let mut found = Found::default();
        let mut owners: HashMap<u64, &str> = HashMap::new();
        for (at, (number, uid)) in claims.into_iter().enumerate() {
            if !self.range.contains(&number) {
                continue;
            }
            if *owners.entry(number).or_insert(uid) != uid {
                found.duplicates.push(at);
            }
        }
        let before = self.taken.len();
        self.taken
            .retain(|number, holder| owners.contains_key(number) || holder.since.elapsed() < life);
        found.leaked = before.saturating_sub(self.taken.len());
        for (number, uid) in owners {
            match self.taken.get(&number) {
                Some(holder) if holder.uid.as_deref() == Some(uid) => {}
                _ => self.hold(number, Some(uid)),
            }
        }
        found
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }
}
