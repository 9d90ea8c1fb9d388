//! Places that owners share: so many in all, and fewer for each, so that no owner has all of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places.
#[derive(Debug)]
pub struct Shares {
    each: usize,
    all: Arc<Semaphore>,
    /// Of owners that have a place or wait for one.
    own: Mutex<HashMap<String, Weak<Semaphore>>>,
}

/// A place, until it is dropped. There is none only if the places were closed, which they never are.
#[derive(Debug)]
pub struct Share {
    _own: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Shares {
    /// `each` for an owner, `all` together.
    pub fn new(each: usize, all: usize) -> Self {
        Self {
            each,
            all: Arc::new(Semaphore::new(all)),
            own: Mutex::default(),
        }
    }

    /// `each` for an owner, and any number together.
    pub fn of_each(each: usize) -> Self {
        Self::new(each, Semaphore::MAX_PERMITS)
    }

    /// Waits for one of the owner's own places first: who waits for that takes none of all.
    pub async fn take(&self, owner: &str) -> Share {
        let own = self.own(owner).acquire_owned().await.ok();
        Share {
            _own: own,
            _all: Arc::clone(&self.all).acquire_owned().await.ok(),
        }
    }

    fn own(&self, owner: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.retain(|_, places| places.strong_count() > 0);
        if let Some(places) = own.get(owner).and_then(Weak::upgrade) {
            return places;
        }
        let places = Arc::new(Semaphore::new(self.each));
        own.insert(owner.to_owned(), Arc::downgrade(&places));
        places
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn an_owner_has_not_all_places() {
        let shares = Shares::new(2, 3);
        let (_first, second) = (shares.take("a").await, shares.take("a").await);
        assert!(shares.take("a").now_or_never().is_none());
        let other = shares.take("b").now_or_never();
        assert!(other.is_some());
        assert!(shares.take("c").now_or_never().is_none(), "four of three");
        drop(second);
        assert!(shares.take("a").now_or_never().is_some());
        drop(other);
        assert!(shares.take("c").now_or_never().is_some());
        assert_eq!(
            shares.own.lock().unwrap().len(),
            2,
            "owners that are done are remembered"
        );
    }
}
