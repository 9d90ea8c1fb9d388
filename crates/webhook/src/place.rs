//! The place of who waits for a webhook: what only few requests may have at once is given back meanwhile.
//!
//! A request may hold a place for the work that it does (the server lets few requests with large objects run at once). While it
//! waits for somebody else's webhook it does none: with the place kept, a webhook that hangs would hold up everybody.

use std::{cell::RefCell, future::Future, sync::Arc};

use knarr_tasks::{Turn, Turns};

tokio::task_local! {
    static PLACE: RefCell<Place>;
}

struct Place {
    places: Arc<Turns>,
    turn: Option<Turn>,
    /// How many calls are waited for.
    aside: usize,
}

/// Does work with one of so many places, once it is its owner's turn.
pub async fn with_place<T>(places: Arc<Turns>, work: impl Future<Output = T>) -> T {
    let turn = places.take().await;
    let place = Place {
        places,
        turn,
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
        (place.aside == 0 && place.turn.is_none()).then(|| place.places.clone())
    });
    if let Ok(Some(places)) = wanted {
        let turn = places.take().await;
        let _ = PLACE.try_with(|place| place.borrow_mut().turn = turn);
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
            place.turn = None;
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
        let places = Turns::new(1);
        let hour = Duration::from_secs(3600);
        let waiting = with_place(places.clone(), async {
            tokio::join!(aside(sleep(hour)), aside(sleep(Duration::from_secs(1))));
            places.free()
        });
        let other = async {
            sleep(Duration::from_secs(2)).await;
            let worked = with_place(places.clone(), async { places.free() });
            timeout(Duration::from_secs(1), worked).await
        };
        let (after, during) = tokio::join!(waiting, other);
        assert_eq!(during, Ok(0), "it was free, and then taken");
        assert_eq!(after, 0, "it is taken again");
        assert_eq!(places.free(), 1);
    }

    #[tokio::test]
    async fn who_has_no_place_waits_all_the_same() {
        assert_eq!(aside(async { 5 }).await, 5);
    }
}
