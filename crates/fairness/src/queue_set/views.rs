//! What is told of a queue set.

use super::{Discipline, Dispatch, QueueSet, Ticket, Totals, entries::State, queue::Queue};
use crate::{
    Nanos,
    work::{SeatTime, Work},
};

impl<R> QueueSet<R> {
    pub fn is_idle(&self) -> bool {
        self.waiting == 0 && self.executing == 0 && self.lingering.is_empty()
    }

    /// Seats that could be in use.
    pub fn demand(&self) -> u32 {
        self.seats_in_use.saturating_add(self.seats_waiting)
    }

    pub fn seats_in_use(&self) -> u32 {
        self.seats_in_use
    }

    pub fn waiting(&self) -> usize {
        self.waiting
    }

    pub fn executing(&self) -> usize {
        self.executing
    }

    pub fn limit(&self) -> u32 {
        self.limit
    }

    pub fn discipline(&self) -> Discipline {
        self.discipline
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Virtual time, and that of the last dispatch.
    pub fn progress(&self) -> (SeatTime, Dispatch) {
        (self.progress, self.dispatch)
    }

    /// The request of a ticket.
    pub fn request_mut(&mut self, ticket: Ticket) -> Option<&mut R> {
        self.entries.get_mut(ticket).map(|entry| &mut entry.request)
    }

    /// Queues with anything, by number.
    pub fn queues(&self) -> Vec<QueueView> {
        let mut all: Vec<QueueView> = (self.queues.iter())
            .map(|(index, queue)| QueueView {
                index: *index,
                waiting: queue.len(),
                executing: queue.executing,
                seats: queue.seats,
                next: queue.next,
                initial_seats: (queue.tickets())
                    .filter_map(|ticket| self.entries.get(ticket))
                    .map(|entry| entry.work.initial_seats)
                    .fold(0, u32::saturating_add),
                max_seats: queue.seats_waiting,
                work: queue.work,
            })
            .collect();
        all.sort_by_key(|queue| queue.index);
        all
    }

    /// All requests: those that wait in the order of their queues, then those that run.
    pub fn requests(&self) -> Vec<RequestView<'_, R>> {
        let mut all = Vec::new();
        for queue in self.queues() {
            let Some(tickets) = self.queues.get(&queue.index).map(Queue::tickets) else {
                continue;
            };
            let waiting = tickets.filter_map(|ticket| self.entries.get(ticket));
            all.extend(waiting.enumerate().map(|(place, entry)| RequestView {
                queue: Some(queue.index),
                place: Some(place),
                arrived: entry.arrived,
                started: None,
                work: entry.work,
                request: &entry.request,
            }));
        }
        let running = self.entries.iter();
        let running = running.filter(|entry| entry.state == State::Running);
        all.extend(running.map(|entry| RequestView {
            queue: entry.queue,
            place: None,
            arrived: entry.arrived,
            started: Some(entry.started),
            work: entry.work,
            request: &entry.request,
        }));
        all
    }
}

/// One queue as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueView {
    pub index: u32,
    pub waiting: usize,
    pub executing: u32,
    /// In use.
    pub seats: u32,
    pub next: SeatTime,
    /// Of those that wait.
    pub initial_seats: u32,
    pub max_seats: u32,
    pub work: SeatTime,
}

/// One request as it is.
pub struct RequestView<'s, R> {
    pub queue: Option<u32>,
    /// Its place among those that wait in its queue; none where it runs.
    pub place: Option<usize>,
    pub arrived: Nanos,
    pub started: Option<Nanos>,
    pub work: Work,
    pub request: &'s R,
}
