//! Fair queuing for requests: which of those that wait is next, and how many run.
//!
//! As upstream's `fairqueuing/queueset`, whose documentation derives the arithmetic. Virtual time goes on by the seats in use a
//! second, divided by the queues that have anything. A queue's next request begins, in virtual time, where the work of those before
//! it ends; the request whose own end would be first is next. How long it takes is guessed before, and set right after it.
//!
//! Nothing here knows clocks, locks or tasks: the caller says what time it is.
//!
//! Beside upstream: queues are there while they have something; and no flow has more than a part of the seats
//! ([`QueueSet::of_flow`]), so that requests that wait for something else (a webhook) keep one flow from others, not all.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod dispatch;
mod entries;
mod lingering;
mod queue;
mod terms;
#[cfg(test)]
mod tests;
mod views;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map},
};

use self::{
    entries::{ESTIMATE, Entries, Entry, State},
    lingering::Lingering,
    queue::Queue,
};
use crate::{
    Nanos,
    shuffle::Dealer,
    work::{SeatTime, Work},
};

pub use self::{
    entries::Ticket,
    terms::{Arrival, Discipline, Dispatch, Queuing, Refusal, Request, Totals, Transition},
    views::{QueueView, RequestView},
};

/// The requests of a level.
pub struct QueueSet<R> {
    discipline: Discipline,
    dealer: Dealer,
    /// Seats.
    limit: u32,
    /// Those that have something.
    queues: HashMap<u32, Queue>,
    entries: Entries<R>,
    lingering: BinaryHeap<Reverse<Lingering<R>>>,
    /// Seats in use by flow; only where there are queues.
    flows: HashMap<u64, u32>,
    clock: Nanos,
    /// Virtual time.
    progress: SeatTime,
    /// The queue that was dispatched from last.
    robin: u32,
    /// Queues with a request that waits or runs.
    active: u32,
    waiting: usize,
    executing: usize,
    seats_in_use: u32,
    seats_waiting: u32,
    arrivals: u64,
    totals: Totals,
    dispatch: Dispatch,
}

impl<R: Request> QueueSet<R> {
    /// An empty one.
    pub fn new(discipline: Discipline, limit: u32, now: Nanos) -> QueueSet<R> {
        let mut set = QueueSet {
            discipline,
            dealer: Dealer::new(1, 1),
            limit,
            queues: HashMap::new(),
            entries: Entries::default(),
            lingering: BinaryHeap::new(),
            flows: HashMap::new(),
            clock: now,
            progress: 0,
            robin: 0,
            active: 0,
            waiting: 0,
            executing: 0,
            seats_in_use: 0,
            seats_waiting: 0,
            arrivals: 0,
            totals: Totals::default(),
            dispatch: Dispatch::default(),
        };
        set.configure(discipline, limit, now);
        set
    }

    /// Another configuration. What waits goes on to wait where it does.
    pub fn configure(&mut self, discipline: Discipline, limit: u32, now: Nanos) {
        self.advance(now);
        self.discipline = discipline;
        self.limit = limit;
        if let Discipline::Queue(queuing) = discipline {
            self.dealer = Dealer::new(queuing.queues, queuing.hand);
        }
        self.dispatch_all();
    }

    /// Another number of seats.
    pub fn set_limit(&mut self, limit: u32, now: Nanos) {
        self.configure(self.discipline, limit, now);
    }

    /// A request of a flow.
    pub fn arrive(&mut self, now: Nanos, flow: u64, work: Work, request: R) -> Arrival {
        self.advance(now);
        let entry = Entry::new(request, flow, work, now, self.progress);
        let Discipline::Queue(queuing) = self.discipline else {
            return self.arrive_without_queue(entry);
        };
        let index = self.choose(flow);
        let length = self.queues.get(&index).map_or(0, Queue::len);
        let seats = work.seats();
        let held_back = self.is_held_back(flow, seats);
        if length >= queuing.length && (self.seats_in_use >= self.limit || held_back) {
            self.totals.rejected = self.totals.rejected.saturating_add(1);
            return Arrival::Refused(Refusal::QueueFull);
        }
        let at_once = self.waiting == 0
            && self.seats_in_use < self.limit
            && self.has_room(seats)
            && !held_back;
        if at_once {
            return Arrival::Runs(self.run_at_once(index, entry));
        }
        let ticket = self.enqueue(index, entry);
        self.dispatch_all();
        match self.entries.get(ticket).map(|entry| entry.state) {
            Some(State::Running) => Arrival::Runs(ticket),
            _ => Arrival::Waits(ticket),
        }
    }

    /// A request that runs has ended.
    pub fn finish(&mut self, now: Nanos, ticket: Ticket) {
        self.advance(now);
        self.end(ticket);
        self.dispatch_all();
    }

    /// A request waits no longer. True: it runs, and is to be [finished](Self::finish).
    pub fn withdraw(&mut self, now: Nanos, ticket: Ticket) -> bool {
        self.advance(now);
        let Some(entry) = self.entries.get(ticket) else {
            return false;
        };
        let (state, queue) = (entry.state, entry.queue);
        match state {
            State::Running => return true,
            State::Gone => {
                self.entries.remove(ticket);
            }
            State::Waiting { order } => {
                if let Some(queue) = queue {
                    self.leave(queue, order, ticket);
                }
                self.entries.remove(ticket);
                self.totals.rejected = self.totals.rejected.saturating_add(1);
                self.totals.cancelled = self.totals.cancelled.saturating_add(1);
                if let Some(queue) = queue {
                    self.bound(queue);
                    self.tidy(queue);
                }
                // Others may fit where it did not.
                self.dispatch_all();
            }
        }
        false
    }

    /// Lets time pass.
    pub fn pass(&mut self, now: Nanos) {
        self.advance(now);
        self.dispatch_all();
    }

    /// When [`Self::pass`] is to be called where nothing else happens: requests wait, and seats become free by themselves.
    pub fn next(&self) -> Option<Nanos> {
        let next = self.lingering.peek().map(|Reverse(next)| next.until);
        next.filter(|_| self.waiting > 0)
    }

    /// Most seats of a flow, where others may want some, too: two of three.
    pub fn of_flow(&self) -> u32 {
        let part = u64::from(self.limit).saturating_mul(2).div_ceil(3);
        u32::try_from(part).unwrap_or(u32::MAX).max(1)
    }

    fn arrive_without_queue(&mut self, mut entry: Entry<R>) -> Arrival {
        let now = self.clock;
        let seats = entry.work.seats();
        if self.discipline != Discipline::Exempt && !self.has_room(seats) {
            self.totals.rejected = self.totals.rejected.saturating_add(1);
            return Arrival::Refused(Refusal::ConcurrencyLimit);
        }
        entry.state = State::Running;
        self.executing = self.executing.saturating_add(1);
        self.seats_in_use = self.seats_in_use.saturating_add(seats);
        self.totals.dispatched = self.totals.dispatched.saturating_add(1);
        entry.request.observe(now, Transition::Seated { seats });
        Arrival::Runs(self.entries.insert(entry))
    }

    /// The queue of the flow's hand with the least work waiting; those with the same come in turn.
    fn choose(&mut self, flow: u64) -> u32 {
        let hand = self.dealer.deal(flow);
        let cards = hand.cards();
        let turn = self.arrivals.checked_rem(cards.len() as u64).unwrap_or(0) as usize;
        self.arrivals = self.arrivals.wrapping_add(1);
        let in_turn = || cards.iter().cycle().skip(turn).take(cards.len()).copied();
        if self.waiting == 0 {
            return in_turn().next().unwrap_or(0);
        }
        let work = |index: &u32| self.queues.get(index).map_or(0, |queue| queue.work);
        in_turn().min_by_key(work).unwrap_or(0)
    }

    /// Whether a flow has as many seats as it may have. One that has none may run, however much it asks for.
    fn is_held_back(&self, flow: u64, seats: u32) -> bool {
        // A level of one queue does not tell flows apart.
        if !matches!(self.discipline, Discipline::Queue(queuing) if queuing.queues > 1) {
            return false;
        }
        let used = self.flows.get(&flow).copied().unwrap_or(0);
        used > 0 && used.saturating_add(seats) > self.of_flow()
    }

    fn has_room(&self, seats: u32) -> bool {
        match seats > self.limit {
            // It is more than there ever is: it runs alone.
            true => self.executing == 0,
            false => self.seats_in_use.saturating_add(seats) <= self.limit,
        }
    }

    /// What [`Self::enqueue`] and a dispatch do where nobody waits.
    fn run_at_once(&mut self, index: u32, entry: Entry<R>) -> Ticket {
        let now = self.clock;
        let (at, total) = (self.progress, entry.total);
        let queue = self.queues.entry(index).or_default();
        queue.next = match queue.is_active() {
            true => queue.next.max(at),
            false => at,
        };
        let next = queue.next;
        self.dispatch = Dispatch {
            at,
            latest: next,
            starts: (next, next),
            discounted: (next, next),
        };
        queue.next = next.saturating_add(total);
        self.robin = index;
        let seats = entry.work.seats();
        let length = queue.len().saturating_add(1);
        entry
            .request
            .observe(now, Transition::Queued { seats, length });
        entry.request.observe(now, Transition::Unqueued { seats });
        let ticket = self.entries.insert(entry);
        self.seat(index, ticket);
        ticket
    }

    fn enqueue(&mut self, index: u32, mut entry: Entry<R>) -> Ticket {
        let now = self.clock;
        let queue = self.queues.entry(index).or_default();
        if !queue.is_active() {
            queue.next = self.progress;
            self.active = self.active.saturating_add(1);
        }
        let order = self.arrivals;
        entry.queue = Some(index);
        entry.state = State::Waiting { order };
        let (seats, total) = (entry.work.seats(), entry.total);
        let ticket = self.entries.insert(entry);
        queue.push(order, ticket, (seats, total));
        let length = queue.len();
        self.waiting = self.waiting.saturating_add(1);
        self.seats_waiting = self.seats_waiting.saturating_add(seats);
        if let Some(entry) = self.entries.get(ticket) {
            entry
                .request
                .observe(now, Transition::Queued { seats, length });
        }
        self.bound(index);
        ticket
    }

    /// Takes a request out of its queue.
    fn leave(&mut self, index: u32, order: u64, ticket: Ticket) {
        let now = self.clock;
        let Some(entry) = self.entries.get(ticket) else {
            return;
        };
        let (seats, total) = (entry.work.seats(), entry.total);
        let Some(queue) = self.queues.get_mut(&index) else {
            return;
        };
        queue.remove(order, (seats, total));
        if !queue.is_active() {
            self.active = self.active.saturating_sub(1);
        }
        self.waiting = self.waiting.saturating_sub(1);
        self.seats_waiting = self.seats_waiting.saturating_sub(seats);
        entry.request.observe(now, Transition::Unqueued { seats });
    }

    /// A request has its seats from now on.
    fn seat(&mut self, index: u32, ticket: Ticket) {
        let now = self.clock;
        let Some(entry) = self.entries.get_mut(ticket) else {
            return;
        };
        entry.queue = Some(index);
        entry.state = State::Running;
        entry.started = now;
        let (seats, flow) = (entry.work.seats(), entry.flow);
        entry.request.observe(now, Transition::Seated { seats });
        let queue = self.queues.entry(index).or_default();
        if !queue.is_active() {
            self.active = self.active.saturating_add(1);
        }
        queue.executing = queue.executing.saturating_add(1);
        queue.seats = queue.seats.saturating_add(seats);
        let of_flow = self.flows.entry(flow).or_default();
        *of_flow = of_flow.saturating_add(seats);
        self.executing = self.executing.saturating_add(1);
        self.seats_in_use = self.seats_in_use.saturating_add(seats);
        self.totals.dispatched = self.totals.dispatched.saturating_add(1);
    }

    /// In virtual time nobody runs before it has come: a queue saves nothing up.
    fn bound(&mut self, index: u32) {
        let Some(queue) = self.queues.get_mut(&index) else {
            return;
        };
        if let Some((_, ticket)) = queue.oldest()
            && let Some(entry) = self.entries.get(ticket)
        {
            queue.next = queue.next.max(entry.arrived_at);
        }
    }

    /// Forgets a queue that has nothing.
    fn tidy(&mut self, index: u32) {
        if let hash_map::Entry::Occupied(queue) = self.queues.entry(index)
            && !queue.get().is_active()
            && queue.get().seats == 0
        {
            queue.remove();
        }
    }

    fn end(&mut self, ticket: Ticket) {
        let Some(entry) = self.entries.remove(ticket) else {
            return;
        };
        self.executing = self.executing.saturating_sub(1);
        let (seats, work) = (entry.work.seats(), entry.work);
        if let Some(index) = entry.queue
            && let Some(queue) = self.queues.get_mut(&index)
        {
            let took = SeatTime::from(self.clock.saturating_sub(entry.started));
            let more = took.saturating_sub(SeatTime::from(ESTIMATE));
            queue.executing = queue.executing.saturating_sub(1);
            queue.next = (queue.next)
                .saturating_add(more.saturating_mul(SeatTime::from(work.initial_seats)));
            if !queue.is_active() {
                self.active = self.active.saturating_sub(1);
            }
            self.bound(index);
        }
        let lingering = Lingering {
            until: self.clock.saturating_add(work.extra),
            seats,
            flow: entry.flow,
            queue: entry.queue,
            request: entry.request,
        };
        match work.extra {
            0 => self.release(lingering),
            _ => self.lingering.push(Reverse(lingering)),
        }
    }

    fn release(&mut self, lingering: Lingering<R>) {
        let now = self.clock;
        let seats = lingering.seats;
        self.seats_in_use = self.seats_in_use.saturating_sub(seats);
        lingering
            .request
            .observe(now, Transition::Unseated { seats });
        let Some(index) = lingering.queue else {
            return;
        };
        if let Some(queue) = self.queues.get_mut(&index) {
            queue.seats = queue.seats.saturating_sub(seats);
        }
        if let hash_map::Entry::Occupied(mut used) = self.flows.entry(lingering.flow) {
            *used.get_mut() = used.get().saturating_sub(seats);
            if *used.get() == 0 {
                used.remove();
            }
        }
        self.tidy(index);
    }

    /// Goes on to a time, with what happens by itself until then.
    fn advance(&mut self, now: Nanos) {
        while let Some(Reverse(first)) = self.lingering.peek()
            && first.until <= now
        {
            self.tick(first.until);
            if let Some(Reverse(first)) = self.lingering.pop() {
                self.release(first);
            }
        }
        self.tick(now);
    }

    fn tick(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.clock);
        self.clock = self.clock.max(now);
        if self.active == 0 {
            return;
        }
        let wanted = self.seats_in_use.saturating_add(self.seats_waiting);
        let rate = f64::from(wanted.min(self.limit)) / f64::from(self.active);
        let gone = (rate * passed as f64).round() as SeatTime;
        self.progress = self.progress.saturating_add(gone);
    }
}
