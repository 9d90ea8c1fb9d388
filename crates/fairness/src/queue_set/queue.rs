//! One queue: those that wait in it, and how many run.

use std::collections::BTreeMap;

use super::Ticket;
use crate::work::SeatTime;

#[derive(Default)]
pub struct Queue {
    /// By order of arrival.
    waiting: BTreeMap<u64, Ticket>,
    pub seats_waiting: u32,
    /// Of those that wait.
    pub work: SeatTime,
    /// Where the next one begins, in virtual time.
    pub next: SeatTime,
    pub executing: u32,
    /// In use.
    pub seats: u32,
}

impl Queue {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether any request waits or runs.
    pub fn is_active(&self) -> bool {
        self.executing > 0 || !self.waiting.is_empty()
    }

    pub fn oldest(&self) -> Option<(u64, Ticket)> {
        let (order, ticket) = self.waiting.first_key_value()?;
        Some((*order, *ticket))
    }

    /// In order.
    pub fn tickets(&self) -> impl Iterator<Item = Ticket> {
        self.waiting.values().copied()
    }

    pub fn push(&mut self, order: u64, ticket: Ticket, (seats, work): (u32, SeatTime)) {
        self.waiting.insert(order, ticket);
        self.seats_waiting = self.seats_waiting.saturating_add(seats);
        self.work = self.work.saturating_add(work);
    }

    pub fn remove(&mut self, order: u64, (seats, work): (u32, SeatTime)) {
        if self.waiting.remove(&order).is_some() {
            self.seats_waiting = self.seats_waiting.saturating_sub(seats);
            self.work = self.work.saturating_sub(work);
        }
    }
}
