//! What a queue set is told, and what it tells.

use super::entries::Ticket;
use crate::{Nanos, work::SeatTime};

/// What stands for a request in a queue set.
pub trait Request {
    /// Tells one that waits that it runs now. False: nobody waits any more.
    fn run(&mut self) -> bool;
    /// Something has happened to it.
    fn observe(&self, now: Nanos, transition: Transition);
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    /// It waits in a queue that has so many now.
    Queued {
        seats: u32,
        length: usize,
    },
    Unqueued {
        seats: u32,
    },
    Seated {
        seats: u32,
    },
    /// Its seats are free again, which is some time after it has ended where others have to do with its effects.
    Unseated {
        seats: u32,
    },
    /// It was next, and there were not enough seats.
    NoRoom,
}

/// Queues of a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queuing {
    pub queues: u32,
    /// Queues of a flow.
    pub hand: u32,
    /// Requests that wait in a queue.
    pub length: usize,
}

/// How a level treats requests that it has no seats for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// There always are seats.
    Exempt,
    Reject,
    Queue(Queuing),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
}

/// What becomes of a request that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Runs(Ticket),
    Waits(Ticket),
    Refused(Refusal),
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub dispatched: u64,
    pub rejected: u64,
    pub cancelled: u64,
}

/// Virtual times at the last dispatch out of a queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dispatch {
    pub at: SeatTime,
    pub latest: SeatTime,
    /// Least and most, over queues, of where the oldest request begins.
    pub starts: (SeatTime, SeatTime),
    /// The same less what is estimated to be under way.
    pub discounted: (SeatTime, SeatTime),
}
