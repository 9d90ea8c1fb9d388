//! Pods that wait for a node: ready to be tried, backing off, or set aside until something changes (upstream's active,
//! backoff and unschedulable queues).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::pod_info::PodInfo;

/// Upstream's podInitialBackoffSeconds and podMaxBackoffSeconds.
const BACKOFF_BASE: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Pods are tried again after this long even if nothing seemed to change (upstream's podMaxInUnschedulablePodsDuration).
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

/// Highest priority first, then first come.
type Rank = (Reverse<i32>, u64);

enum Place {
    Active(Rank),
    /// Tried again at this time; `early` by a change.
    Waiting {
        until: Instant,
        early: bool,
    },
    /// Taken by the cycle.
    InFlight,
}

struct Entry {
    info: Arc<PodInfo>,
    arrival: u64,
    attempts: u32,
    last_failure: Option<Instant>,
    place: Place,
}

/// The pods without a node, by uid.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    active: BTreeMap<Rank, String>,
    waiting: BTreeSet<(Instant, String)>,
    arrivals: u64,
    /// Counts calls of [`Queue::retry_unschedulable`]: a pod that was being tried when one came is tried again.
    changes: u64,
}

/// A pod taken to be tried.
pub struct Attempt {
    pub info: Arc<PodInfo>,
    changes: u64,
}

impl Queue {
    /// Adds a pod or its new state. A pod that waits is tried again only if its spec or labels changed.
    pub fn set(&mut self, info: Arc<PodInfo>) {
        if let Some(entry) = self.entries.get_mut(&info.uid) {
            let old = std::mem::replace(&mut entry.info, info);
            let new = &entry.info;
            let changed =
                old.pod.spec != new.pod.spec || old.pod.metadata.labels != new.pod.metadata.labels;
            if changed && let Place::Waiting { until, .. } = entry.place {
                let uid = new.uid.clone();
                self.waiting.remove(&(until, uid.clone()));
                self.activate(&uid);
            }
            return;
        }
        self.arrivals += 1;
        let uid = info.uid.clone();
        let entry = Entry {
            info,
            arrival: self.arrivals,
            attempts: 0,
            last_failure: None,
            place: Place::InFlight,
        };
        self.entries.insert(uid.clone(), entry);
        self.activate(&uid);
    }

    fn activate(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            let rank = (Reverse(entry.info.priority), entry.arrival);
            entry.place = Place::Active(rank);
            self.active.insert(rank, uid.to_owned());
        }
    }

    pub fn remove(&mut self, uid: &str) {
        match self.entries.remove(uid).map(|e| e.place) {
            Some(Place::Active(rank)) => {
                self.active.remove(&rank);
            }
            Some(Place::Waiting { until, .. }) => {
                self.waiting.remove(&(until, uid.to_owned()));
            }
            Some(Place::InFlight) | None => {}
        }
    }

    /// The next pod to try, or the time at which one becomes ready.
    pub fn pop(&mut self, now: Instant) -> Result<Attempt, Option<Instant>> {
        while let Some((until, _)) = self.waiting.first()
            && *until <= now
            && let Some((_, uid)) = self.waiting.pop_first()
        {
            self.activate(&uid);
        }
        let Some((_, uid)) = self.active.pop_first() else {
            return Err(self.waiting.first().map(|(until, _)| *until));
        };
        let changes = self.changes;
        let Some(entry) = self.entries.get_mut(&uid) else {
            return Err(None);
        };
        entry.place = Place::InFlight;
        Ok(Attempt {
            info: entry.info.clone(),
            changes,
        })
    }

    /// Puts a pod back that found no node. It waits for a change, at most five minutes; if one came while it was being
    /// tried, only for its back-off.
    pub fn unschedulable(&mut self, attempt: &Attempt, now: Instant) {
        let early = attempt.changes != self.changes;
        self.park(&attempt.info.uid, now, early);
    }

    /// Puts a pod back whose binding failed: only its back-off is waited for.
    pub fn failed(&mut self, info: &PodInfo, now: Instant) {
        self.park(&info.uid, now, true);
    }

    fn park(&mut self, uid: &str, now: Instant, early: bool) {
        let Some(entry) = self.entries.get_mut(uid) else {
            return;
        };
        entry.attempts += 1;
        entry.last_failure = Some(now);
        let until = if early {
            now + backoff(entry.attempts)
        } else {
            now + UNSCHEDULABLE_MAX
        };
        entry.place = Place::Waiting { until, early };
        self.waiting.insert((until, uid.to_owned()));
    }

    /// Something changed that may let a pod fit: those set aside are tried again, after their back-off.
    pub fn retry_unschedulable(&mut self) {
        self.changes += 1;
        let mut moved = Vec::new();
        for (uid, entry) in &mut self.entries {
            if let Place::Waiting {
                until,
                early: false,
            } = entry.place
            {
                let from = entry.last_failure.unwrap_or(until);
                let due = from + backoff(entry.attempts);
                entry.place = Place::Waiting {
                    until: due,
                    early: true,
                };
                moved.push((until, due, uid.clone()));
            }
        }
        for (until, due, uid) in moved {
            self.waiting.remove(&(until, uid.clone()));
            self.waiting.insert((due, uid));
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

fn backoff(attempts: u32) -> Duration {
    let factor = 1 << attempts.saturating_sub(1).min(10);
    (BACKOFF_BASE * factor).min(BACKOFF_MAX)
}

#[cfg(test)]
mod tests;
