use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use super::*;

const MS: Nanos = 1_000_000;

/// What is told of requests.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.borrow_mut()).join(" ")
    }
}

/// A request by name.
struct Named {
    name: &'static str,
    log: Log,
    gone: bool,
}

impl Request for Named {
    fn run(&mut self) -> bool {
        self.log.0.borrow_mut().push(format!("{}!", self.name));
        !self.gone
    }

    fn observe(&self, _: Nanos, _: Transition) {}
}

struct Bench {
    set: QueueSet<Named>,
    log: Log,
}

impl Bench {
    fn new(discipline: Discipline, limit: u32) -> Bench {
        Bench {
            set: QueueSet::new(discipline, limit, 0),
            log: Log::default(),
        }
    }

    fn arrive(&mut self, now: Nanos, name: &'static str, flow: u64, work: Work) -> Arrival {
        let request = Named {
            name,
            log: self.log.clone(),
            gone: name.starts_with("gone"),
        };
        self.set.arrive(now, flow, work, request)
    }

    fn runs(&mut self, now: Nanos, name: &'static str, flow: u64, work: Work) -> Ticket {
        match self.arrive(now, name, flow, work) {
            Arrival::Runs(ticket) => ticket,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn waits(&mut self, now: Nanos, name: &'static str, flow: u64, work: Work) -> Ticket {
        match self.arrive(now, name, flow, work) {
            Arrival::Waits(ticket) => ticket,
            other => panic!("{name}: {other:?}"),
        }
    }
}

fn queues(queues: u32, hand: u32, length: usize) -> Discipline {
    Discipline::Queue(Queuing {
        queues,
        hand,
        length,
    })
}

fn seats(seats: u32) -> Work {
    Work {
        initial_seats: seats,
        ..Work::ONE
    }
}

#[test]
fn without_queues_there_is_room_or_not() {
    let mut bench = Bench::new(Discipline::Reject, 2);
    let first = bench.runs(0, "a", 1, Work::ONE);
    bench.runs(0, "b", 1, Work::ONE);
    let refused = Arrival::Refused(Refusal::ConcurrencyLimit);
    assert_eq!(bench.arrive(0, "c", 1, Work::ONE), refused);
    bench.set.finish(MS, first);
    assert_eq!(bench.arrive(MS, "d", 1, seats(2)), refused);
    bench.runs(MS, "e", 1, Work::ONE);
    let totals = bench.set.totals();
    assert_eq!((totals.dispatched, totals.rejected), (3, 2));

    let mut exempt = Bench::new(Discipline::Exempt, 0);
    let held: Vec<_> = (0..5).map(|_| exempt.runs(0, "a", 1, seats(3))).collect();
    assert_eq!((exempt.set.seats_in_use(), exempt.set.demand()), (15, 15));
    held.into_iter()
        .for_each(|ticket| exempt.set.finish(MS, ticket));
    assert!(exempt.set.is_idle());
}

#[test]
fn requests_wait_in_queues_of_a_length() {
    let mut bench = Bench::new(queues(1, 1, 2), 1);
    let first = bench.runs(0, "a", 1, Work::ONE);
    let second = bench.waits(0, "b", 1, Work::ONE);
    let third = bench.waits(0, "c", 1, Work::ONE);
    let full = Arrival::Refused(Refusal::QueueFull);
    assert_eq!(bench.arrive(0, "d", 1, Work::ONE), full);
    assert!(!bench.set.withdraw(MS, second), "it has waited long enough");
    bench.waits(MS, "e", 1, Work::ONE);
    bench.set.finish(2 * MS, first);
    assert_eq!(bench.log.take(), "c!");
    assert!(bench.set.withdraw(2 * MS, third), "too late");
    bench.set.finish(3 * MS, third);
    assert_eq!(bench.log.take(), "e!");
    let totals = bench.set.totals();
    assert_eq!(
        (totals.dispatched, totals.rejected, totals.cancelled),
        (3, 2, 1)
    );
}

#[test]
fn who_has_gone_takes_no_seat() {
    let mut bench = Bench::new(queues(1, 1, 9), 1);
    let first = bench.runs(0, "a", 1, Work::ONE);
    let gone = bench.waits(0, "gone", 1, Work::ONE);
    bench.waits(0, "c", 1, Work::ONE);
    bench.set.finish(MS, first);
    assert_eq!(bench.log.take(), "gone! c!");
    assert!(!bench.set.withdraw(MS, gone));
    assert_eq!((bench.set.executing(), bench.set.waiting()), (1, 0));
}

#[test]
fn wide_requests_wait_for_room_and_hold_others_up_meanwhile() {
    let mut bench = Bench::new(queues(1, 1, 9), 4);
    let first = bench.runs(0, "a", 1, seats(2));
    bench.waits(0, "wide", 1, seats(3));
    bench.waits(0, "b", 1, Work::ONE);
    assert_eq!(bench.log.take(), "");
    bench.set.finish(MS, first);
    assert_eq!(bench.log.take(), "wide! b!");
    // More than there is runs alone.
    let mut bench = Bench::new(queues(1, 1, 9), 2);
    let first = bench.runs(0, "a", 1, Work::ONE);
    let vast = bench.waits(0, "vast", 1, seats(9));
    bench.set.finish(MS, first);
    assert_eq!(bench.log.take(), "vast!");
    bench.waits(MS, "b", 1, Work::ONE);
    bench.set.finish(2 * MS, vast);
    assert_eq!(bench.log.take(), "b!");
}

#[test]
fn seats_are_kept_after_writes_that_many_watch() {
    let mut bench = Bench::new(queues(1, 1, 9), 2);
    let work = Work {
        initial_seats: 1,
        final_seats: 2,
        extra: 5 * MS,
    };
    let write = bench.runs(0, "write", 1, work);
    bench.waits(0, "b", 1, Work::ONE);
    bench.set.finish(MS, write);
    assert_eq!(
        (bench.log.take(), bench.set.next()),
        (String::new(), Some(6 * MS))
    );
    bench.set.pass(5 * MS);
    assert_eq!(bench.log.take(), "");
    bench.set.pass(6 * MS);
    assert_eq!(
        (bench.log.take(), bench.set.next()),
        ("b!".to_owned(), None)
    );
    // More of them than there are seats: fewer for longer.
    let mut narrow = Bench::new(queues(1, 1, 9), 1);
    let first = narrow.runs(0, "a", 1, Work::ONE);
    let write = narrow.waits(0, "write", 1, work);
    narrow.set.finish(MS, first);
    narrow.set.finish(MS, write);
    narrow.waits(MS, "b", 1, Work::ONE);
    assert_eq!(narrow.set.next(), Some(11 * MS));
}

#[test]
fn another_number_of_seats_counts_at_once() {
    let mut bench = Bench::new(queues(4, 1, 9), 0);
    bench.waits(0, "a", 1, Work::ONE);
    bench.waits(0, "b", 2, Work::ONE);
    bench.set.set_limit(2, MS);
    assert_eq!(bench.log.take(), "a! b!");
    bench.set.configure(Discipline::Reject, 2, MS);
    let refused = Arrival::Refused(Refusal::ConcurrencyLimit);
    assert_eq!(bench.arrive(MS, "c", 1, Work::ONE), refused);
}

/// Clients of a flow: each sends its next request when the last one has ended.
#[derive(Clone, Copy)]
struct Clients {
    flow: u64,
    number: usize,
    /// Time that a request takes.
    took: Nanos,
    /// Time from an answer to the next request.
    pause: Nanos,
    seats: u32,
}

/// What clients have got.
#[derive(Clone, Copy, Debug, Default)]
struct Got {
    served: u64,
    refused: u64,
    seat_nanos: u64,
    longest_wait: Nanos,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Ends(usize),
    Sends(usize),
}

/// A simulated while.
fn simulate(discipline: Discipline, limit: u32, until: Nanos, all: &[Clients]) -> Vec<Got> {
    /// The number of the client, to whom it is told.
    struct Numbered(usize, Rc<RefCell<Vec<usize>>>);
    impl Request for Numbered {
        fn run(&mut self) -> bool {
            self.1.borrow_mut().push(self.0);
            true
        }
        fn observe(&self, _: Nanos, _: Transition) {}
    }
    let kinds: Vec<usize> = (all.iter().enumerate())
        .flat_map(|(kind, clients)| std::iter::repeat_n(kind, clients.number))
        .collect();
    let mut set = QueueSet::new(discipline, limit, 0);
    let mut got = vec![Got::default(); all.len()];
    let mut events: BTreeMap<(Nanos, Event), ()> = BTreeMap::new();
    let mut sent = vec![(0, None::<Ticket>); kinds.len()];
    let begun = Rc::new(RefCell::new(Vec::new()));
    events.extend((0..kinds.len()).map(|client| ((0, Event::Sends(client)), ())));
    while let Some(((now, event), ())) = events.pop_first() {
        if now > until {
            break;
        }
        let (Event::Ends(client) | Event::Sends(client)) = event;
        let kind = all[kinds[client]];
        match event {
            Event::Ends(_) => {
                set.finish(now, sent[client].1.take().expect("a ticket"));
                events.insert((now + kind.pause, Event::Sends(client)), ());
            }
            Event::Sends(_) => {
                let request = Numbered(client, begun.clone());
                let arrival = set.arrive(now, kind.flow, seats(kind.seats), request);
                sent[client] = match arrival {
                    Arrival::Runs(ticket) => {
                        begun.borrow_mut().push(client);
                        (now, Some(ticket))
                    }
                    Arrival::Waits(ticket) => (now, Some(ticket)),
                    Arrival::Refused(_) => {
                        got[kinds[client]].refused += 1;
                        events.insert((now + 10 * MS, Event::Sends(client)), ());
                        continue;
                    }
                };
            }
        }
        let mut began = begun.take();
        began.sort_unstable();
        began.dedup();
        for client in began {
            let kind = &all[kinds[client]];
            let of_kind = &mut got[kinds[client]];
            of_kind.served += 1;
            of_kind.seat_nanos += kind.took * u64::from(kind.seats);
            of_kind.longest_wait = of_kind.longest_wait.max(now - sent[client].0);
            events.insert((now + kind.took, Event::Ends(client)), ());
        }
        assert!(set.seats_in_use() <= limit.max(1) * kind.seats.max(1));
    }
    got
}

const FLOOD: Clients = Clients {
    flow: 0x9E37_79B9_7F4A_7C15,
    number: 200,
    took: 10 * MS,
    pause: 0,
    seats: 1,
};
const QUIET: Clients = Clients {
    flow: 0x0123_4567_89AB_CDEF,
    number: 2,
    took: 10 * MS,
    pause: 50 * MS,
    seats: 1,
};

#[test]
fn a_flood_does_not_hold_up_who_is_quiet() {
    let got = simulate(queues(64, 6, 50), 10, 5_000 * MS, &[FLOOD, QUIET]);
    assert!(got[1].longest_wait <= 10 * MS, "{got:?}");
    assert_eq!(got[1].refused, 0);
    assert!(got[0].served > 2_500, "{got:?}");
    // One queue for all does.
    let shared = simulate(queues(1, 1, 500), 10, 5_000 * MS, &[FLOOD, QUIET]);
    assert!(shared[1].longest_wait > 100 * MS, "{shared:?}");
}

#[test]
fn flows_that_want_more_than_there_is_have_the_same() {
    let wide = Clients {
        seats: 2,
        number: 60,
        took: 20 * MS,
        flow: 0x5555_1234_0000_9999,
        ..FLOOD
    };
    let got = simulate(queues(64, 1, 500), 12, 20_000 * MS, &[FLOOD, wide]);
    let (a, b) = (got[0].seat_nanos as f64, got[1].seat_nanos as f64);
    assert!(a / b > 0.8 && a / b < 1.25, "{got:?}");
}

#[test]
fn requests_of_one_flow_that_last_do_not_take_all_seats() {
    let stuck = Clients {
        took: 60_000 * MS,
        number: 300,
        ..FLOOD
    };
    let got = simulate(queues(64, 6, 50), 12, 10_000 * MS, &[stuck, QUIET]);
    assert_eq!(got[0].served, 8, "two of three");
    assert_eq!((got[1].longest_wait, got[1].refused), (0, 0));
    assert!(got[1].served > 300);
}
