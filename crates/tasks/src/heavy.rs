//! Work that would hold a thread of the runtime for long.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeFlavor};

/// How long work waits for a place. It is done without one then: who waits has a limit of its own, the requests that a server
/// has at once, and one that is late is better than one that is refused.
const MAX_WAIT: Duration = Duration::from_secs(10);

static PLACES: Places = Places {
    taken: Mutex::new(0),
    given_back: Condvar::new(),
};

/// Does work of milliseconds to seconds that waits for nothing: off the threads that everything else (health, watches, leases)
/// needs, and on as many at once as there are cores.
pub fn heavy<T>(work: impl FnOnce() -> T) -> T {
    let flavor = Handle::try_current().map(|runtime| runtime.runtime_flavor());
    // On a runtime of one thread (tests) there is nowhere else to go, and without one nobody to make way for.
    if !matches!(flavor, Ok(RuntimeFlavor::MultiThread)) {
        return work();
    }
    tokio::task::block_in_place(|| {
        let _place = PLACES.take(cores(), MAX_WAIT);
        work()
    })
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

struct Places {
    taken: Mutex<usize>,
    given_back: Condvar,
}

/// A place, until it is dropped.
struct Taken<'p>(&'p Places);

impl Places {
    fn lock(&self) -> MutexGuard<'_, usize> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of `all`, or none where there has been none for so long.
    fn take(&self, all: usize, wait: Duration) -> Option<Taken<'_>> {
        let until = Instant::now() + wait;
        let mut taken = self.lock();
        while *taken >= all {
            let left = until.checked_duration_since(Instant::now())?;
            let waited = self.given_back.wait_timeout(taken, left);
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *taken = taken.saturating_add(1);
        Some(Taken(self))
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut taken = self.0.lock();
        *taken = taken.saturating_sub(1);
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn places_are_given_back_and_waited_for() {
        let places = Places {
            taken: Mutex::new(0),
            given_back: Condvar::new(),
        };
        let first = places.take(1, Duration::ZERO);
        assert!(first.is_some());
        assert!(places.take(1, Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| places.take(1, Duration::from_secs(60)).is_some());
            drop(first);
            assert!(waiting.join().is_ok_and(|taken| taken));
        });
    }

    /// The other thread of two would have to answer while both are busy.
    #[test]
    fn others_go_on_meanwhile() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (began, begun) = mpsc::channel();
        let (answered, answers) = mpsc::channel();
        let busy = runtime.spawn(async move {
            heavy(|| {
                began.send(()).expect("somebody listens");
                answers.recv_timeout(Duration::from_secs(60)).is_ok()
            })
        });
        begun
            .recv_timeout(Duration::from_secs(60))
            .expect("it begins");
        runtime.spawn(async move { answered.send(()) });
        assert!(runtime.block_on(busy).expect("it ends"), "nobody answered");
    }
}
