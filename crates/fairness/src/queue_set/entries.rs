//! The requests of a queue set, by ticket. Places are used again, so that a request costs no allocation.

use crate::{
    Nanos,
    work::{SeatTime, Work},
};

/// The guess of how long a request takes.
pub const ESTIMATE: Nanos = 3_000_000;

/// Stands for a request from its arrival to its end. Who holds it hands it back once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Waiting {
        /// Its place in the order of arrivals.
        order: u64,
    },
    Running,
    /// It was its turn when nobody waited any more.
    Gone,
}

pub struct Entry<R> {
    pub request: R,
    pub queue: Option<u32>,
    pub flow: u64,
    pub work: Work,
    /// What it is expected to cost.
    pub total: SeatTime,
    pub arrived: Nanos,
    /// In virtual time.
    pub arrived_at: SeatTime,
    pub started: Nanos,
    pub state: State,
}

impl<R> Entry<R> {
    pub fn new(request: R, flow: u64, work: Work, now: Nanos, arrived_at: SeatTime) -> Entry<R> {
        Entry {
            request,
            queue: None,
            flow,
            work,
            total: work.total(ESTIMATE),
            arrived: now,
            arrived_at,
            started: now,
            state: State::Running,
        }
    }
}

pub struct Entries<R> {
    all: Vec<Option<Entry<R>>>,
    free: Vec<usize>,
}

impl<R> Default for Entries<R> {
    fn default() -> Self {
        Entries {
            all: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<R> Entries<R> {
    pub fn insert(&mut self, entry: Entry<R>) -> Ticket {
        if let Some(index) = self.free.pop()
            && let Some(place) = self.all.get_mut(index)
        {
            *place = Some(entry);
            return Ticket(index);
        }
        self.all.push(Some(entry));
        Ticket(self.all.len().saturating_sub(1))
    }

    pub fn get(&self, ticket: Ticket) -> Option<&Entry<R>> {
        self.all.get(ticket.0)?.as_ref()
    }

    pub fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Entry<R>> {
        self.all.get_mut(ticket.0)?.as_mut()
    }

    pub fn remove(&mut self, ticket: Ticket) -> Option<Entry<R>> {
        let entry = self.all.get_mut(ticket.0)?.take()?;
        self.free.push(ticket.0);
        Some(entry)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Entry<R>> {
        self.all.iter().flatten()
    }
}
