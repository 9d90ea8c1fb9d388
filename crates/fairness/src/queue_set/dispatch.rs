//! Which request is next.

use super::{
    Dispatch, QueueSet, Request, Ticket, Transition,
    entries::{ESTIMATE, State},
};
use crate::work::SeatTime;

/// The oldest request of a queue.
struct Candidate {
    /// When it would end, and how far its queue is behind the last one; the least is the next.
    rank: (SeatTime, u32),
    /// The queue, the request's place in the order of arrival, and its ticket.
    found: (u32, u64, Ticket),
    /// When it would start.
    start: SeatTime,
}

impl<R: Request> QueueSet<R> {
    pub(super) fn dispatch_all(&mut self) {
        while self.waiting > 0 && self.seats_in_use < self.limit && self.dispatch_one() {}
    }

    /// Lets the next request run. False: there is none that may.
    fn dispatch_one(&mut self) -> bool {
        let Some((index, order, ticket)) = self.find() else {
            return false;
        };
        let (limit, now) = (self.limit, self.clock);
        let Some(entry) = self.entries.get_mut(ticket) else {
            return false;
        };
        let seats = entry.work.seats();
        if !self.has_room(seats) {
            if let Some(entry) = self.entries.get(ticket) {
                entry.request.observe(now, Transition::NoRoom);
            }
            return false;
        }
        if let Some(entry) = self.entries.get_mut(ticket) {
            entry.work.reshape(limit);
        }
        self.leave(index, order, ticket);
        self.robin = index;
        let Some(entry) = self.entries.get_mut(ticket) else {
            return false;
        };
        let total = entry.total;
        if entry.request.run() {
            self.seat(index, ticket);
            if let Some(queue) = self.queues.get_mut(&index) {
                queue.next = queue.next.saturating_add(total);
            }
        } else {
            entry.state = State::Gone;
        }
        self.bound(index);
        self.tidy(index);
        true
    }

    /// The queue whose oldest request would be the first to end, with that request; of equal ones the next after the last one.
    fn find(&mut self) -> Option<(u32, u64, Ticket)> {
        let mut starts = (SeatTime::MAX, SeatTime::MIN);
        let mut discounted = starts;
        let mut best: Option<Candidate> = None;
        for (index, queue) in &self.queues {
            let Some((order, ticket)) = queue.oldest() else {
                continue;
            };
            let Some(entry) = self.entries.get(ticket) else {
                continue;
            };
            starts = (starts.0.min(queue.next), starts.1.max(queue.next));
            let less = queue.next.saturating_sub(
                SeatTime::from(queue.seats).saturating_mul(SeatTime::from(ESTIMATE)),
            );
            discounted = (discounted.0.min(less), discounted.1.max(less));
            if self.is_held_back(entry.flow, entry.work.seats()) {
                continue;
            }
            let end = queue.next.saturating_add(entry.total);
            let turn = index.wrapping_sub(self.robin).wrapping_sub(1);
            let rank = (end, turn);
            if best.as_ref().is_none_or(|best| rank < best.rank) {
                let found = (*index, order, ticket);
                best = Some(Candidate {
                    rank,
                    found,
                    start: queue.next,
                });
            }
        }
        let best = best?;
        self.dispatch = Dispatch {
            at: self.progress,
            latest: best.start,
            starts,
            discounted,
        };
        Some(best.found)
    }
}
