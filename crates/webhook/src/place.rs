//! The place of who waits for a webhook: what only few requests may have at once is given back meanwhile.
//!
//! A request may hold a place of a semaphore for the work that it does (the server lets few requests with large objects run at
//! once). While it waits for somebody else's webhook it does none: with the place kept, a webhook that hangs would hold up
//! everybody.

use std::{cell::RefCell, future::Future, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

tokio::task_local! {
    static PLACE: RefCell<Place>;
}

struct Place {
    semaphore: Arc<Semaphore>,
    permit: Option<OwnedSemaphorePermit>,
    /// How many calls are waited for.
    aside: usize,
}

/// Does work with a place of a semaphore, once there is one. The semaphore is never closed.
pub async fn with_place<T>(semaphore: Arc<Semaphore>, work: impl Future<Output = T>) -> T {
    let permit = semaphore.clone().acquire_owned().await.ok();
    let place = Place {
        semaphore,
        permit,
        aside: 0,
    };
    PLACE.scope(RefCell::new(place), work).await
}

/// Waits for somebody else, without the place that the caller may have; it has one again afterwards.
pub async fn aside<T>(waiting: impl Future<Output = T>) -> T {
    let result = {
        let _away = Away::new();
        waiting.await
    };
    let wanted = PLACE.try_with(|place| {
        let place = place.borrow();
        (place.aside == 0 && place.permit.is_none()).then(|| place.semaphore.clone())
    });
    if let Ok(Some(semaphore)) = wanted {
        let permit = semaphore.acquire_owned().await.ok();
        let _ = PLACE.try_with(|place| place.borrow_mut().permit = permit);
    }
    result
}

/// One call that is waited for; the place is given back with the first.
struct Away;

impl Away {
    fn new() -> Away {
        let _ = PLACE.try_with(|place| {
            let mut place = place.borrow_mut();
            place.aside = place.aside.saturating_add(1);
            place.permit = None;
        });
        Away
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let _ = PLACE.try_with(|place| {
            let mut place = place.borrow_mut();
            place.aside = place.aside.saturating_sub(1);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::{sleep, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_while_its_holder_waits_for_others() {
        let semaphore = Arc::new(Semaphore::new(1));
        let hour = Duration::from_secs(3600);
        let waiting = with_place(semaphore.clone(), async {
            tokio::join!(aside(sleep(hour)), aside(sleep(Duration::from_secs(1))));
            semaphore.available_permits()
        });
        let other = async {
            sleep(Duration::from_secs(2)).await;
            let worked = with_place(semaphore.clone(), async { semaphore.available_permits() });
            timeout(Duration::from_secs(1), worked).await
        };
        let (after, during) = tokio::join!(waiting, other);
        assert_eq!(during, Ok(0), "it was free, and then taken");
        assert_eq!(after, 0, "it is taken again");
        assert_eq!(semaphore.available_permits(), 1);
    }

    #[tokio::test]
    async fn who_has_no_place_waits_all_the_same() {
        assert_eq!(aside(async { 5 }).await, 5);
    }
}
