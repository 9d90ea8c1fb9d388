//! Pods that wait for a node: ready to be tried, backing off, or set aside until something changes (upstream's active,
//! backoff and unschedulable queues).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    config::Backoff,
    framework::{ClusterEvent, DeviceEvent, Profiles, Rejectors, VolumeEvent},
    metrics::{Pending, Timing},
    pod_info::PodInfo,
};

/// Pods are tried again after this long even if nothing seemed to change (upstream's podMaxInUnschedulablePodsDuration).
const UNSCHEDULABLE_MAX: Duration = Duration::from_secs(300);

/// Highest priority first, then first come.
type Rank = (Reverse<i32>, u64);

enum Place {
    Active(Rank),
    /// Tried again at this time; where it is only about a change that may help, earlier if there is nothing else to try.
    BackingOff {
        until: Instant,
        woken: Option<Rank>,
    },
    /// Set aside when it failed: tried again when something changes that those who ruled it out wait for, or after
    /// [`UNSCHEDULABLE_MAX`].
    Aside {
        failed: Instant,
        rejectors: Rejectors,
    },
    /// Taken by the cycle.
    InFlight,
    /// To be tried once what is under way for it is done.
    Held,
}

struct Entry {
    info: Arc<PodInfo>,
    arrival: u64,
    arrived: Instant,
    attempts: u32,
    place: Place,
    /// Other pods are being ended for it: it is not tried before all have been told.
    held: bool,
}

impl Entry {
    fn rank(&self) -> Rank {
        (Reverse(self.info.priority), self.arrival)
    }
}

/// The pods without a node, by uid.
#[derive(Default)]
pub struct Queue {
    entries: HashMap<String, Entry>,
    active: BTreeMap<Rank, String>,
    /// Those that back off although something changed that may help them.
    woken: BTreeMap<Rank, String>,
    /// Those that back off and those set aside, by when they are tried.
    waiting: BTreeSet<(Instant, String)>,
    /// Those set aside: an event is looked at once for all that were ruled out by the same plugins.
    aside: HashMap<Rejectors, HashSet<String>>,
    arrivals: u64,
    /// Counts calls of [`Queue::wake`]: a pod that was being tried when one came is tried again.
    changes: u64,
    backoff: Backoff,
    /// Pods that came to a queue by an event.
    incoming: BTreeMap<(&'static str, &'static str), u64>,
}

/// Names of queues, and of what brings pods there besides changes of the cluster, as upstream's metrics have them.
const ACTIVE: &str = "active";
const BACKOFF: &str = "backoff";
const UNSCHEDULABLE: &str = "unschedulable";
const POD_ADDED: &str = "UnscheduledPodAdd";
const POD_UPDATED: &str = "TargetPodUpdate";
const ATTEMPT_FAILED: &str = "ScheduleAttemptFailure";
const BACKED_OFF: &str = "BackoffComplete";
const POPPED_EARLY: &str = "PopFromBackoffQ";
const FORCED: &str = "ForceActivate";
const TIMED_OUT: &str = "UnschedulableTimeout";

/// A pod taken to be tried.
pub struct Attempt {
    pub info: Arc<PodInfo>,
    pub timing: Timing,
    changes: u64,
}

impl Queue {
    pub fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            ..Self::default()
        }
    }

    /// Adds a pod or its new state. A pod that waits is tried again only if its spec, labels or claims changed.
    pub fn set(&mut self, info: Arc<PodInfo>) {
        if let Some(entry) = self.entries.get_mut(&info.uid) {
            let old = std::mem::replace(&mut entry.info, info);
            let new = &entry.info;
            let changed = old.spec() != new.spec()
                || old.labels != new.labels
                || old.made_claims() != new.made_claims();
            if changed && matches!(entry.place, Place::BackingOff { .. } | Place::Aside { .. }) {
                let uid = new.uid.clone();
                self.leave(&uid);
                self.activate(&uid, POD_UPDATED);
            }
            return;
        }
        self.arrivals += 1;
        let uid = info.uid.clone();
        let entry = Entry {
            info,
            arrival: self.arrivals,
            arrived: Instant::now(),
            attempts: 0,
            place: Place::InFlight,
            held: false,
        };
        self.entries.insert(uid.clone(), entry);
        self.activate(&uid, POD_ADDED);
    }

    fn count(&mut self, queue: &'static str, event: &'static str) {
        *self.incoming.entry((queue, event)).or_default() += 1;
    }

    fn activate(&mut self, uid: &str, event: &'static str) {
        match self.entries.get_mut(uid) {
            Some(entry) if entry.held => entry.place = Place::Held,
            Some(entry) => {
                *self.incoming.entry((ACTIVE, event)).or_default() += 1;
                let rank = entry.rank();
                entry.place = Place::Active(rank);
                self.active.insert(rank, uid.to_owned());
            }
            None => {}
        }
    }

    /// Keeps a pod from being tried, until [`Queue::release`].
    pub fn hold(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.held = true;
        }
    }

    /// Has a pod tried again that was held, if anything would have had it tried meanwhile.
    pub fn release(&mut self, uid: &str) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.held = false;
            if matches!(entry.place, Place::Held) {
                self.activate(uid, FORCED);
            }
        }
    }

    /// Whether a pod is being tried: it was taken, and is still to be placed.
    pub fn is_tried(&self, uid: &str) -> bool {
        let entry = self.entries.get(uid);
        entry.is_some_and(|entry| matches!(entry.place, Place::InFlight))
    }

    /// Has a pod tried again at once. Whether it waits.
    pub fn retry(&mut self, uid: &str) -> bool {
        let entry = self.entries.get(uid);
        let waits = |e: &Entry| matches!(e.place, Place::BackingOff { .. } | Place::Aside { .. });
        let waits = entry.is_some_and(waits);
        if waits {
            self.leave(uid);
            self.activate(uid, FORCED);
        }
        waits
    }

    /// Takes a pod out of the place it is in; it is in flight then.
    fn leave(&mut self, uid: &str) {
        let Some(entry) = self.entries.get_mut(uid) else {
            return;
        };
        match std::mem::replace(&mut entry.place, Place::InFlight) {
            Place::Active(rank) => {
                self.active.remove(&rank);
            }
            Place::BackingOff { until, woken } => {
                self.waiting.remove(&(until, uid.to_owned()));
                if let Some(rank) = woken {
                    self.woken.remove(&rank);
                }
            }
            Place::Aside { failed, rejectors } => {
                let until = failed + UNSCHEDULABLE_MAX;
                self.waiting.remove(&(until, uid.to_owned()));
                if let Some(uids) = self.aside.get_mut(&rejectors) {
                    uids.remove(uid);
                    if uids.is_empty() {
                        self.aside.remove(&rejectors);
                    }
                }
            }
            Place::InFlight | Place::Held => {}
        }
    }

    pub fn remove(&mut self, uid: &str) {
        self.leave(uid);
        self.entries.remove(uid);
    }

    /// The next pod to try, or the time at which one becomes ready.
    pub fn pop(&mut self, now: Instant) -> Result<Attempt, Option<Instant>> {
        while let Some((until, uid)) = self.waiting.first()
            && *until <= now
        {
            let uid = uid.clone();
            let aside = |entry: &Entry| matches!(entry.place, Place::Aside { .. });
            let event = match self.entries.get(&uid).is_some_and(aside) {
                true => TIMED_OUT,
                false => BACKED_OFF,
            };
            self.leave(&uid);
            self.activate(&uid, event);
        }
        let next = match self.active.pop_first() {
            Some((_, uid)) => Some(uid),
            None => self.pop_woken(),
        };
        let Some(uid) = next else {
            return Err(self.waiting.first().map(|(until, _)| *until));
        };
        let changes = self.changes;
        let Some(entry) = self.entries.get_mut(&uid) else {
            return Err(None);
        };
        entry.place = Place::InFlight;
        Ok(Attempt {
            info: entry.info.clone(),
            timing: Timing {
                arrived: entry.arrived,
                started: Instant::now(),
                attempts: entry.attempts + 1,
            },
            changes,
        })
    }

    /// Where nothing else is to be tried a pod that something may help need not wait out its back-off (upstream's
    /// `SchedulerPopFromBackoffQ`).
    fn pop_woken(&mut self) -> Option<String> {
        loop {
            let (_, uid) = self.woken.first_key_value()?;
            let uid = uid.clone();
            self.leave(&uid);
            match self.entries.get_mut(&uid) {
                Some(entry) if entry.held => entry.place = Place::Held,
                _ => {
                    self.count(ACTIVE, POPPED_EARLY);
                    return Some(uid);
                }
            }
        }
    }

    /// Puts a pod back that found no node. It waits for a change that `rejectors` wait for, at most five minutes; if any
    /// change came while it was being tried, only for its back-off.
    pub fn unschedulable(&mut self, attempt: &Attempt, rejectors: Rejectors, now: Instant) {
        let unchanged = attempt.changes == self.changes;
        let place = unchanged.then_some(Place::Aside {
            failed: now,
            rejectors,
        });
        self.park(&attempt.info.uid, now, place);
    }

    /// Puts a pod back that is not to be tried yet: that it was looked at is no attempt.
    pub fn not_ready(&mut self, attempt: &Attempt, rejectors: Rejectors, now: Instant) {
        self.unschedulable(attempt, rejectors, now);
        if let Some(entry) = self.entries.get_mut(&attempt.info.uid) {
            entry.attempts = entry.attempts.saturating_sub(1);
        }
    }

    /// Puts a pod back whose binding failed: only its back-off is waited for.
    pub fn failed(&mut self, info: &PodInfo, now: Instant) {
        self.park(&info.uid, now, None);
    }

    /// After a failed attempt: into `place`, or backing off.
    fn park(&mut self, uid: &str, now: Instant, place: Option<Place>) {
        self.leave(uid);
        let Some(entry) = self.entries.get_mut(uid) else {
            return;
        };
        entry.attempts += 1;
        let place = place.unwrap_or_else(|| Place::BackingOff {
            until: now + self.backoff.after(entry.attempts),
            woken: None,
        });
        self.enter(uid, place, ATTEMPT_FAILED);
    }

    fn enter(&mut self, uid: &str, place: Place, event: &'static str) {
        let until = match place {
            Place::Aside { failed, rejectors } => {
                let uids = self.aside.entry(rejectors).or_default();
                uids.insert(uid.to_owned());
                self.count(UNSCHEDULABLE, event);
                failed + UNSCHEDULABLE_MAX
            }
            Place::BackingOff { until, woken } => {
                self.count(BACKOFF, event);
                if let Some(rank) = woken {
                    self.woken.insert(rank, uid.to_owned());
                }
                until
            }
            Place::Active(_) | Place::InFlight | Place::Held => return,
        };
        self.waiting.insert((until, uid.to_owned()));
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.place = place;
        }
    }

    /// Something changed on a node: of the pods set aside those that it helps are tried again, after their back-off. The others
    /// are left alone, so that their next attempt is not put off further. Whether it helps any.
    pub fn wake(&mut self, profiles: &Profiles, event: &ClusterEvent<'_>) -> bool {
        self.wake_those(
            event.change.label(),
            |rejectors| profiles.may_help(rejectors, event.change),
            |rejectors, pod| profiles.helps(rejectors, pod, event),
        )
    }

    /// As above, for a change of claims, volumes or classes.
    pub fn wake_by_volume(&mut self, profiles: &Profiles, event: &VolumeEvent<'_>) -> bool {
        self.wake_those(
            event.label(),
            |_| true,
            |rejectors, pod| profiles.volumes_help(rejectors, pod, event),
        )
    }

    /// As above, for a change of claims of devices, slices or classes.
    pub fn wake_by_device(&mut self, profiles: &Profiles, event: &DeviceEvent<'_>) -> bool {
        self.wake_those(
            event.label(),
            |_| true,
            |rejectors, pod| profiles.devices_help(rejectors, pod, event),
        )
    }

    fn wake_those(
        &mut self,
        event: &'static str,
        may_help: impl Fn(Rejectors) -> bool,
        helps: impl Fn(Rejectors, &PodInfo) -> bool,
    ) -> bool {
        self.changes += 1;
        let mut helped = Vec::new();
        for (rejectors, uids) in &self.aside {
            if !may_help(*rejectors) {
                continue;
            }
            let helps = |uid: &&String| {
                let entry = self.entries.get(*uid);
                entry.is_some_and(|entry| helps(*rejectors, &entry.info))
            };
            helped.extend(uids.iter().filter(helps).cloned());
        }
        for uid in &helped {
            if let Some(entry) = self.entries.get(uid)
                && let Place::Aside { failed, .. } = entry.place
            {
                let until = failed + self.backoff.after(entry.attempts);
                let woken = Some(entry.rank());
                self.leave(uid);
                self.enter(uid, Place::BackingOff { until, woken }, event);
            }
        }
        !helped.is_empty()
    }

    /// Pods that came to each queue, by what brought them there.
    pub fn incoming(&self) -> &BTreeMap<(&'static str, &'static str), u64> {
        &self.incoming
    }

    /// How many wait in each queue.
    pub fn pending(&self) -> Pending {
        let unschedulable = self.aside.values().map(HashSet::len).sum();
        Pending {
            active: self.active.len(),
            backoff: self.waiting.len().saturating_sub(unschedulable),
            unschedulable,
        }
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests;
