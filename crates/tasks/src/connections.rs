//! Who holds a server's connections.
//!
//! Whoever reaches its port may connect. A connection is unknown until a caller who may do what it asks has used it, which takes
//! milliseconds; where there are too many unknown ones the oldest is closed, so that those who only hold theirs keep nobody out.
//! From then on it is one of its caller's, who has not all of them.
//!
//! Rejected: so many for each address, since a tenant has as many addresses as pods, and a proxy has one for all its clients.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::quota::{Full, Place, Quota};

/// All connections of a server.
#[derive(Debug)]
pub struct Connections {
    most_unknown: usize,
    unknown: Mutex<Unknown>,
    known: Quota,
}

/// In the order in which they came.
#[derive(Debug, Default)]
struct Unknown {
    next: u64,
    open: BTreeMap<u64, CancellationToken>,
}

/// One connection, until it is dropped.
#[derive(Debug)]
pub struct Connection {
    all: Arc<Connections>,
    number: u64,
    token: CancellationToken,
    known: OnceLock<Place>,
}

impl Connections {
    /// So many of callers that are not known yet, and of those that are what `known` says.
    pub fn new(most_unknown: usize, known: Quota) -> Arc<Self> {
        Arc::new(Self {
            most_unknown,
            unknown: Mutex::default(),
            known,
        })
    }

    /// Takes in a connection, which ends with `token` at the latest.
    pub fn open(self: &Arc<Self>, token: &CancellationToken) -> Connection {
        let token = token.child_token();
        let mut unknown = self.unknown();
        if unknown.open.len() >= self.most_unknown
            && let Some((_, oldest)) = unknown.open.pop_first()
        {
            oldest.cancel();
        }
        let number = unknown.next;
        unknown.next = number.wrapping_add(1);
        unknown.open.insert(number, token.clone());
        Connection {
            all: Arc::clone(self),
            number,
            token,
            known: OnceLock::new(),
        }
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Cancelled when it is to be closed.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// A caller may do what it asks for: from the first one on the connection is that caller's.
    ///
    /// # Errors
    /// The caller has too many of them.
    pub fn is_of(&self, caller: &str) -> Result<(), Full> {
        if self.known.get().is_some() {
            return Ok(());
        }
        let place = self.all.known.take(caller)?;
        // Of two requests at once one is first; the other's place is given back.
        let _first = self.known.set(place);
        self.all.unknown().open.remove(&self.number);
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.all.unknown().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 4;

    #[test]
    fn who_only_holds_connections_keeps_nobody_out() {
        let all = Connections::new(MOST, Quota::new(1, 2));
        let token = CancellationToken::new();
        let known = all.open(&token);
        known.is_of("api").expect("a place");
        let held: Vec<Connection> = (0..3 * MOST).map(|_| all.open(&token)).collect();
        let open = held.iter().filter(|one| !one.token().is_cancelled());
        assert_eq!(open.count(), MOST);
        assert!(!known.token().is_cancelled(), "it is somebody's");
        let new = all.open(&token);
        assert!(!new.token().is_cancelled());
        new.is_of("prometheus").expect("a place");
        drop(held);
        assert!(all.unknown().open.is_empty());
    }

    #[test]
    fn a_caller_has_not_all_connections() {
        let all = Connections::new(MOST, Quota::new(2, 3));
        let token = CancellationToken::new();
        let open = |caller: &str| {
            let connection = all.open(&token);
            connection.is_of(caller).map(|()| connection)
        };
        let held = [open("a"), open("a")];
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(open("a").err(), Some(Full::Owner(2)));
        let other = open("b").expect("a place");
        other.is_of("a").expect("it has a place");
        drop(held);
        assert!(open("a").is_ok());
    }
}
