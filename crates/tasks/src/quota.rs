//! How many of something there may be at a time: in all, and of one owner.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// The places; clones share them.
#[derive(Clone, Debug)]
pub struct Quota {
    each: usize,
    all: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Of owners that have any.
    by_owner: HashMap<String, usize>,
}

/// One of the places, until it is dropped.
#[derive(Debug)]
pub struct Place {
    owner: String,
    taken: Arc<Mutex<Taken>>,
}

/// There is no place: how many there are, and whether of the owner or in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    Owner(usize),
    All(usize),
}

impl Quota {
    /// `each` for an owner, `all` together.
    pub fn new(each: usize, all: usize) -> Self {
        Self {
            each,
            all,
            taken: Arc::default(),
        }
    }

    /// Takes a place, or says why there is none; nobody waits.
    pub fn take(&self, owner: &str) -> Result<Place, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken
            .by_owner
            .get(owner)
            .is_some_and(|count| *count >= self.each)
        {
            return Err(Full::Owner(self.each));
        }
        if taken.all >= self.all {
            return Err(Full::All(self.all));
        }
        taken.all += 1;
        *taken.by_owner.entry(owner.to_owned()).or_default() += 1;
        Ok(Place {
            owner: owner.to_owned(),
            taken: Arc::clone(&self.taken),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        if let Some(count) = taken.by_owner.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                taken.by_owner.remove(&self.owner);
            }
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(limit) => write!(f, "{limit} of it are open, and no more may be"),
            Self::All(limit) => write!(f, "{limit} of this node are open, and no more may be"),
        }
    }
}

impl std::error::Error for Full {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_and_all_have_a_limit() {
        let quota = Quota::new(2, 3);
        let first = quota.take("a").unwrap();
        let second = quota.take("a").unwrap();
        assert_eq!(quota.take("a").unwrap_err(), Full::Owner(2));
        let third = quota.take("b").unwrap();
        assert_eq!(quota.take("c").unwrap_err(), Full::All(3));
        drop(first);
        let again = quota.take("a").unwrap();
        drop((second, third, again));
        assert_eq!(quota.taken.lock().unwrap().by_owner.len(), 0);
        assert_eq!(quota.taken.lock().unwrap().all, 0);
    }
}
