//! Until when somebody waits for work.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::time::Instant;

tokio::task_local! {
    static DEADLINE: Deadline;
}

#[derive(Clone)]
struct Deadline {
    at: Instant,
    /// Something was not begun because it was late.
    missed: Arc<AtomicBool>,
}

/// Work was not done by its deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the work was not done in time")]
pub struct Late;

/// Does work that somebody waits for until `at`. A timer alone ends what waits; what reckons asks [`is_late`] before it begins the
/// next piece, and whatever comes of work that had to leave out a piece is [`Late`].
///
/// # Errors
/// [`Late`]
pub async fn until<T>(at: Instant, work: impl Future<Output = T>) -> Result<T, Late> {
    let deadline = Deadline {
        at,
        missed: Arc::default(),
    };
    let missed = deadline.missed.clone();
    let done = tokio::time::timeout_at(at, DEADLINE.scope(deadline, work)).await;
    match missed.load(Ordering::Relaxed) {
        false => done.map_err(|_| Late),
        true => Err(Late),
    }
}

/// Until when this work is waited for; `None` where [`until`] does not say.
pub fn deadline() -> Option<Instant> {
    DEADLINE.try_with(|deadline| deadline.at).ok()
}

/// Whether nobody waits for this work any more. Who asks and is told so does not begin what it was about to do, and fails.
pub fn is_late() -> bool {
    let late = DEADLINE.try_with(|deadline| {
        let late = Instant::now() >= deadline.at;
        if late {
            deadline.missed.store(true, Ordering::Relaxed);
        }
        late
    });
    late.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn work_ends_at_its_deadline() {
        assert!(!is_late(), "nobody has said until when");
        let done = until(Instant::now() + LIMIT, async { is_late() });
        assert_eq!(done.await, Ok(false));
        let waits = until(Instant::now() + LIMIT, std::future::pending::<()>());
        assert_eq!(waits.await, Err(Late));
    }

    /// No timer ends what does not wait: it is told, and what comes of it does not count.
    #[tokio::test(start_paused = true)]
    async fn what_reckons_is_told() {
        let now = Instant::now();
        let reckons = async { is_late() };
        assert_eq!(until(now, reckons).await, Err(Late));
        let unasked = async { deadline() };
        assert_eq!(until(now, unasked).await, Ok(Some(now)));
    }
}
