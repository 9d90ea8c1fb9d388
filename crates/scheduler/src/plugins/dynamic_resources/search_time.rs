//! How long devices are looked for, at whose expense.
//!
//! One pod after the other is scheduled, so whoever makes the search for devices long keeps all others waiting, and a pod that waits is
//! tried again and again. An ordinary search is over within a fraction of what is free. What is longer is taken from the account of
//! the pod's namespace and from one of all; both fill up slowly. Who has none left still has what is free: what has been found out
//! about selectors is kept, so that a search goes on where the last one ended.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use lru::LruCache;
use parking_lot::Mutex;

/// A search on one node that is as short costs nothing.
const FREE: Duration = Duration::from_millis(2);
/// All searches for one attempt of a pod (upstream's filterTimeout, which it has for each node).
const LONGEST_ATTEMPT: Duration = Duration::from_secs(10);
/// Namespaces whose accounts are kept: those that had long searches last.
const NAMESPACES: NonZeroUsize = match NonZeroUsize::new(1_024) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};

/// How much an account holds, and how long it takes to fill up by a second.
struct Terms {
    most: Duration,
    fills_in: u32,
}

const OF_NAMESPACE: Terms = Terms {
    most: Duration::from_secs(2),
    fills_in: 20,
};
const OF_ALL: Terms = Terms {
    most: Duration::from_secs(5),
    fills_in: 4,
};

/// Time that may be spent.
#[derive(Clone, Copy, Debug)]
struct Account {
    left: Duration,
    at: Instant,
}

impl Account {
    fn new(terms: &Terms, now: Instant) -> Self {
        Self {
            left: terms.most,
            at: now,
        }
    }

    fn left(&mut self, terms: &Terms, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.at);
        let filled = passed.checked_div(terms.fills_in).unwrap_or(passed);
        self.left = self.left.saturating_add(filled).min(terms.most);
        self.at = now;
        self.left
    }

    fn spend(&mut self, terms: &Terms, time: Duration, now: Instant) {
        self.left = self.left(terms, now).saturating_sub(time);
    }
}

/// All accounts.
pub(super) struct SearchTime(Mutex<Accounts>);

struct Accounts {
    all: Account,
    namespaces: LruCache<String, Account>,
}

/// The attempt of a pod.
pub(super) struct Attempt {
    namespace: String,
    ends: Instant,
}

impl SearchTime {
    pub fn new(now: Instant) -> Self {
        Self(Mutex::new(Accounts {
            all: Account::new(&OF_ALL, now),
            namespaces: LruCache::new(NAMESPACES),
        }))
    }

    /// Begins an attempt.
    pub fn attempt(namespace: &str, now: Instant) -> Attempt {
        Attempt {
            namespace: namespace.to_owned(),
            ends: now.checked_add(LONGEST_ATTEMPT).unwrap_or(now),
        }
    }

    /// Until when a search may go on that begins now.
    pub fn until(&self, attempt: &Attempt, now: Instant) -> Instant {
        let mut accounts = self.0.lock();
        let left = match accounts.namespaces.get_mut(&attempt.namespace) {
            Some(own) => own.left(&OF_NAMESPACE, now),
            None => OF_NAMESPACE.most,
        };
        let left = left.min(accounts.all.left(&OF_ALL, now));
        let until = now.checked_add(FREE.saturating_add(left)).unwrap_or(now);
        until.min(attempt.ends)
    }

    /// A search that began at `began` is over.
    pub fn ended(&self, attempt: &Attempt, began: Instant, now: Instant) {
        let time = now.saturating_duration_since(began).saturating_sub(FREE);
        if time.is_zero() {
            return;
        }
        let mut accounts = self.0.lock();
        accounts.all.spend(&OF_ALL, time, now);
        let new = || Account::new(&OF_NAMESPACE, now);
        let own = accounts
            .namespaces
            .get_or_insert_mut(attempt.namespace.clone(), new);
        own.spend(&OF_NAMESPACE, time, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// A pod of the namespace whose searches never end by themselves; how long they held up others until `end`, and that moment.
    fn attack(
        time: &SearchTime,
        namespace: &str,
        mut now: Instant,
        end: Instant,
    ) -> (Duration, Instant) {
        let mut spent = Duration::ZERO;
        while now < end {
            let attempt = SearchTime::attempt(namespace, now);
            let until = time.until(&attempt, now);
            assert!(until > now, "something is always free");
            time.ended(&attempt, now, until);
            spent += until - now;
            // Others are scheduled, and it is tried again.
            now = until + 100 * MILLI;
        }
        (spent, now)
    }

    #[test]
    fn long_searches_have_a_part_of_the_time() {
        let start = Instant::now();
        let time = SearchTime::new(start);
        let (spent, now) = attack(&time, "a", start, start + Duration::from_secs(120));
        // What the account held, what came in, and what is free.
        assert!(spent >= OF_NAMESPACE.most, "{spent:?}");
        assert!(spent < Duration::from_secs(12), "{spent:?}");
        // Another one has its own.
        let attempt = SearchTime::attempt("b", now);
        assert!(time.until(&attempt, now) - now >= OF_NAMESPACE.most);
    }

    #[test]
    fn many_namespaces_have_no_more_than_all() {
        let start = Instant::now();
        let time = SearchTime::new(start);
        let mut now = start;
        let mut spent = Duration::ZERO;
        for n in 0..2_000 {
            let attempt = SearchTime::attempt(&format!("n{n}"), now);
            let until = time.until(&attempt, now);
            time.ended(&attempt, now, until);
            spent += until - now;
            now = until + 10 * MILLI;
        }
        let most = OF_ALL.most * 2 + (now - start) * 2 / 5;
        assert!(spent < most, "{spent:?} of {:?}", now - start);
    }

    #[test]
    fn short_searches_cost_nothing() {
        let start = Instant::now();
        let time = SearchTime::new(start);
        let attempt = SearchTime::attempt("a", start);
        for n in 0..10_000 {
            let began = start + MILLI * n;
            time.ended(&attempt, began, began + MILLI);
        }
        assert_eq!(time.0.lock().namespaces.len(), 0);
        let late = start + LONGEST_ATTEMPT;
        assert_eq!(time.until(&attempt, late), late, "an attempt has an end");
    }
}
