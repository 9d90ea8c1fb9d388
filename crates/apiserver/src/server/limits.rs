//! How much there may be at all of requests, bodies, watches and streams. Which requests run is flow control's business
//! ([`knarr_fairness`]); these keep what waits for it within bounds.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use knarr_audit::Ending;
use knarr_meta::status::Status;
use knarr_tasks::{Connections, Quota};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::body::BODY_BYTES;

/// Requests that are there at once, waiting or not: of one [`flow`], and of all clients.
const READ_ONLY_OF_FLOW: usize = 400;
const MUTATING_OF_FLOW: usize = 200;
const READ_ONLY: usize = 16_384;
const MUTATING: usize = 16_384;
/// Bodies of theirs, bytes, counted as large as they may become.
const BODIES_OF_FLOW: usize = MUTATING_OF_FLOW * BODY_BYTES;
const BODIES: usize = 300 * BODY_BYTES;
/// Requests of the components of this process at once, apart from those of clients: neither starves the other.
const COMPONENTS: usize = 200;
/// More of them wait this long, this many at most: a controller that makes thousands of pods is no reason to fail.
const COMPONENT_WAIT: Duration = Duration::from_secs(30);
const COMPONENT_QUEUE: usize = 16_384;
/// Watches of clients: of all, and of one user.
const WATCHES: usize = 65_536;
const WATCHES_OF_USER: usize = 16_384;
/// Streams to kubelets, pods and nodes (exec, attach, port-forward, logs, proxied requests): of all, and of one user. Each holds two
/// connections and their buffers, some hundred KiB.
const STREAMS: usize = 4_096;
const STREAMS_OF_USER: usize = 1_024;
/// Open connections: of callers that are not known yet, of one user, of all users.
const UNKNOWN_CONNECTIONS: usize = 2_048;
const CONNECTIONS_OF_USER: usize = 10_000;
const CONNECTIONS: usize = 20_000;
/// When to try again where there is no place.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Whose requests share what one may have: a user's, or those of all service accounts of a namespace, of which its tenant makes as
/// many as it likes.
pub fn flow(user: &str) -> &str {
    const ACCOUNT: &str = "system:serviceaccount:";
    let namespace = user
        .strip_prefix(ACCOUNT)
        .and_then(|name| name.find(':'))
        .and_then(|end| user.get(..ACCOUNT.len().saturating_add(end)));
    namespace.unwrap_or(user)
}

/// Requests in flight (long-running ones do not count), open watches and streams.
#[derive(Debug)]
pub struct Limits {
    read_only: Arc<Shares>,
    mutating: Arc<Shares>,
    bodies: Arc<Shares>,
    components: Arc<Semaphore>,
    waiting: AtomicUsize,
    watches: Arc<Shares>,
    streams: Arc<Shares>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            read_only: Arc::new(Shares::new(READ_ONLY, READ_ONLY_OF_FLOW)),
            mutating: Arc::new(Shares::new(MUTATING, MUTATING_OF_FLOW)),
            bodies: Arc::new(Shares::new(BODIES, BODIES_OF_FLOW)),
            components: Arc::new(Semaphore::new(COMPONENTS)),
            waiting: AtomicUsize::new(0),
            watches: Arc::new(Shares::new(WATCHES, WATCHES_OF_USER)),
            streams: Arc::new(Shares::new(STREAMS, STREAMS_OF_USER)),
        }
    }
}

/// The places of connections.
pub fn connections() -> Arc<Connections> {
    Connections::new(
        UNKNOWN_CONNECTIONS,
        Quota::new(CONNECTIONS_OF_USER, CONNECTIONS),
    )
}

/// Try again.
pub fn too_many() -> Status {
    too_many_for(RETRY_AFTER_SECONDS)
}

/// Try again in so many seconds.
pub fn too_many_for(seconds: u32) -> Status {
    let why = "Too many requests, please try again later.";
    Status::too_many_requests(why, seconds)
}

impl Limits {
    /// A place for a client's request, given back when dropped; 429 when there is none.
    pub fn enter(&self, user: &str, mutating: bool) -> Result<Place, Status> {
        let places = match mutating {
            true => &self.mutating,
            false => &self.read_only,
        };
        Shares::enter(places, flow(user)).ok_or_else(too_many)
    }

    /// Room for a body of so many bytes; 429 when there is none.
    pub fn body(&self, user: &str, bytes: usize) -> Result<Option<Place>, Status> {
        if bytes == 0 {
            return Ok(None);
        }
        let place = Shares::enter_with(&self.bodies, flow(user), bytes);
        place.map(Some).ok_or_else(too_many)
    }

    /// A place for a request of a component, once there is one; 429 where too many wait or it takes too long.
    pub async fn enter_component(&self) -> Result<OwnedSemaphorePermit, Status> {
        let places = self.components.clone();
        if let Ok(place) = places.clone().try_acquire_owned() {
            return Ok(place);
        }
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= COMPONENT_QUEUE {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(too_many());
        }
        let _waiting = Counted(&self.waiting);
        match tokio::time::timeout(COMPONENT_WAIT, places.acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(too_many()),
        }
    }

    /// A place for a client's watch; 429 when there is none.
    pub fn watch(&self, user: &str) -> Result<Place, Status> {
        Shares::enter(&self.watches, user).ok_or_else(too_many)
    }

    /// A place for a stream to a kubelet, a pod or a node; 429 when there is none.
    pub fn stream(&self, user: &str) -> Result<Place, Status> {
        Shares::enter(&self.streams, user).ok_or_else(too_many)
    }

    /// Read-only and mutating requests of clients in flight.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.read_only.open.lock().0, self.mutating.open.lock().0)
    }
}

/// Counts down when dropped.
struct Counted<'c>(&'c AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Places that users share, none taking more than its own part.
#[derive(Debug)]
struct Shares {
    all: usize,
    of_user: usize,
    open: Mutex<(usize, HashMap<Box<str>, usize>)>,
}

impl Shares {
    fn new(all: usize, of_user: usize) -> Shares {
        Shares {
            all,
            of_user,
            open: Mutex::default(),
        }
    }

    fn enter(this: &Arc<Shares>, user: &str) -> Option<Place> {
        Shares::enter_with(this, user, 1)
    }

    fn enter_with(this: &Arc<Shares>, user: &str, weight: usize) -> Option<Place> {
        let mut open = this.open.lock();
        let own = open.1.get(user).copied().unwrap_or(0);
        let (all, own) = (open.0.saturating_add(weight), own.saturating_add(weight));
        if all > this.all || own > this.of_user {
            return None;
        }
        open.0 = all;
        open.1.insert(user.into(), own);
        Some(Place {
            shares: this.clone(),
            user: user.into(),
            weight,
            ending: None,
        })
    }
}

/// A place, until dropped.
#[derive(Debug)]
pub struct Place {
    shares: Arc<Shares>,
    user: Box<str>,
    weight: usize,
    /// The end of the place is that of an answer.
    ending: Option<Ending>,
}

impl Place {
    /// The place of an answer whose end is told to auditors.
    #[must_use]
    pub fn with(mut self, ending: Option<Ending>) -> Place {
        self.ending = ending;
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.shares.open.lock();
        open.0 = open.0.saturating_sub(self.weight);
        if let Some(own) = open.1.get_mut(&self.user) {
            *own = own.saturating_sub(self.weight);
            if *own == 0 {
                open.1.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_by_user_and_in_all() {
        let shares = Arc::new(Shares::new(3, 2));
        let first = Shares::enter(&shares, "ann").expect("a place");
        let second = Shares::enter(&shares, "ann").expect("a place");
        assert!(Shares::enter(&shares, "ann").is_none(), "her share");
        let third = Shares::enter(&shares, "ben").expect("a place");
        assert!(Shares::enter(&shares, "cem").is_none(), "all are taken");
        drop((first, third));
        assert!(Shares::enter(&shares, "ann").is_some());
        drop(second);
        assert_eq!(*shares.open.lock(), (0, HashMap::new()));
    }

    #[test]
    fn streams_have_places_of_their_own() {
        let limits = Limits::default();
        let held: Vec<_> = (0..STREAMS_OF_USER)
            .map(|_| limits.stream("ann").expect("a place"))
            .collect();
        let refused = limits.stream("ann").expect_err("her share is taken");
        assert_eq!(refused.code, 429);
        assert_eq!(refused.retry_after_seconds(), RETRY_AFTER_SECONDS);
        assert!(limits.stream("ben").is_ok() && limits.watch("ann").is_ok());
        drop(held);
        assert!(limits.stream("ann").is_ok());
    }

    #[tokio::test]
    async fn components_wait_and_take_no_place_of_clients() {
        let limits = Arc::new(Limits::default());
        let mut held = Vec::new();
        for _ in 0..COMPONENTS {
            held.push(limits.enter_component().await.expect("a place"));
        }
        assert!(
            limits.enter("ann", true).is_ok(),
            "clients have places of their own"
        );
        let more = {
            let limits = limits.clone();
            tokio::spawn(async move { limits.enter_component().await })
        };
        held.pop();
        assert!(more.await.expect("no panic").is_ok());
    }

    #[test]
    fn nobody_has_all_places_of_requests() {
        let limits = Limits::default();
        let all: Vec<_> = std::iter::from_fn(|| limits.enter("ann", true).ok()).collect();
        assert_eq!(all.len(), MUTATING_OF_FLOW);
        assert_eq!(limits.enter("ann", true).expect_err("full").code, 429);
        let others: Vec<_> = ["ben", "system:serviceaccount:a:b"]
            .iter()
            .map(|user| limits.enter(user, true))
            .collect();
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(limits.in_flight(), (0, MUTATING_OF_FLOW + 2));
        assert!(limits.enter("ann", false).is_ok(), "reads have their own");
    }

    #[test]
    fn bodies_are_counted_by_what_they_may_become() {
        let limits = Limits::default();
        let held: Vec<_> = std::iter::from_fn(|| limits.body("ann", BODY_BYTES).ok()).collect();
        assert_eq!(held.len(), MUTATING_OF_FLOW);
        assert_eq!(limits.body("ann", 1).expect_err("full").code, 429);
        assert!(limits.body("ann", 0).is_ok() && limits.body("ben", 1).is_ok());
        drop(held);
        assert!(limits.body("ann", BODY_BYTES).is_ok());
    }

    #[test]
    fn service_accounts_of_a_namespace_are_one_flow() {
        for (user, wanted) in [
            ("ann", "ann"),
            ("system:serviceaccount:a:b", "system:serviceaccount:a"),
            ("system:serviceaccount:a", "system:serviceaccount:a"),
            ("system:node:n", "system:node:n"),
        ] {
            assert_eq!(flow(user), wanted);
        }
    }
}
