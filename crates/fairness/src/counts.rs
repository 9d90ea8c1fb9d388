//! What is counted of the requests of a schema.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::{
    histogram::{Bounds, Histogram},
    queue_set::{Refusal, Transition},
};

const QUEUE_LENGTHS: Bounds = &[0.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0];
const SECONDS: Bounds = &[
    0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0,
];
const WATCHES: Bounds = &[0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0];
const SEATS: Bounds = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 100.0];

/// Refusals with upstream's reasons.
const REASONS: [(Refusal, &str); 3] = [
    (Refusal::ConcurrencyLimit, "concurrency-limit"),
    (Refusal::QueueFull, "queue-full"),
    (Refusal::TimeOut, "time-out"),
];

/// Requests of one schema at one level.
#[derive(Debug)]
pub struct Counts {
    /// As labels: `priority_level="…",flow_schema="…"`.
    labels: String,
    dispatched: AtomicU64,
    refused: [AtomicU64; REASONS.len()],
    no_room: AtomicU64,
    waiting: AtomicI64,
    seats_waiting: AtomicI64,
    executing: AtomicI64,
    seats: AtomicI64,
    queue_lengths: Histogram,
    /// Of those that ran, and of others.
    waits: [Histogram; 2],
    /// Of watches until they have begun, and of others.
    executions: [Histogram; 2],
    watches: Histogram,
    estimated: Histogram,
}

impl Counts {
    pub fn new(level: &str, schema: &str) -> Counts {
        let of = Histogram::new;
        Counts {
            // Names of objects have nothing that would have to be quoted.
            labels: format!("priority_level=\"{level}\",flow_schema=\"{schema}\""),
            dispatched: AtomicU64::new(0),
            refused: Default::default(),
            no_room: AtomicU64::new(0),
            waiting: AtomicI64::new(0),
            seats_waiting: AtomicI64::new(0),
            executing: AtomicI64::new(0),
            seats: AtomicI64::new(0),
            queue_lengths: of(QUEUE_LENGTHS),
            waits: [of(SECONDS), of(SECONDS)],
            executions: [of(SECONDS), of(SECONDS)],
            watches: of(WATCHES),
            estimated: of(SEATS),
        }
    }

    pub fn observe(&self, transition: Transition) {
        let add = |number: &AtomicI64, more: i64| number.fetch_add(more, Ordering::Relaxed);
        match transition {
            Transition::Queued { seats, length } => {
                add(&self.waiting, 1);
                add(&self.seats_waiting, i64::from(seats));
                self.queue_lengths.observe(length as f64);
            }
            Transition::Unqueued { seats } => {
                add(&self.waiting, -1);
                add(&self.seats_waiting, -i64::from(seats));
            }
            Transition::Seated { seats } => {
                self.dispatched.fetch_add(1, Ordering::Relaxed);
                add(&self.executing, 1);
                add(&self.seats, i64::from(seats));
            }
            Transition::Unseated { seats } => {
                add(&self.seats, -i64::from(seats));
            }
            Transition::NoRoom => {
                self.no_room.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// A request has ended, after so many seconds.
    pub fn ended(&self, watch: bool, seconds: f64) {
        self.executing.fetch_add(-1, Ordering::Relaxed);
        self.executions[usize::from(!watch)].observe(seconds);
    }

    pub fn refused(&self, why: Refusal) {
        let reasons = REASONS.iter().zip(&self.refused);
        for (_, count) in reasons.filter(|((reason, _), _)| *reason == why) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How long a request has waited, and whether it ran then.
    pub fn waited(&self, ran: bool, seconds: f64) {
        self.waits[usize::from(!ran)].observe(seconds);
    }

    pub fn estimated(&self, seats: u32) {
        self.estimated.observe(f64::from(seats));
    }

    pub fn watched(&self, watches: u32) {
        self.watches.observe(f64::from(watches));
    }
}

/// A metric of schemas: name, kind, what it is, and how one is appended.
pub struct Metric {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub render: fn(&Counts, &mut String, &str),
}

fn sample(counts: &Counts, out: &mut String, name: &str, value: i64) {
    line(out, name, &counts.labels, value);
}

pub fn line(out: &mut String, name: &str, labels: &str, value: impl std::fmt::Display) {
    use std::fmt::Write;
    let _ = match labels {
        "" => writeln!(out, "{name} {value}"),
        labels => writeln!(out, "{name}{{{labels}}} {value}"),
    };
}

fn unsigned(value: &AtomicU64) -> i64 {
    i64::try_from(value.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
}

pub const METRICS: [Metric; 12] = [
    Metric {
        name: "rejected_requests_total",
        kind: "counter",
        help: "Requests that were refused, by why.",
        render: |counts, out, name| {
            for ((_, reason), count) in REASONS.iter().zip(&counts.refused) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = format!("{},reason=\"{reason}\"", counts.labels);
                    line(out, name, &labels, count);
                }
            }
        },
    },
    Metric {
        name: "dispatched_requests_total",
        kind: "counter",
        help: "Requests that ran.",
        render: |counts, out, name| sample(counts, out, name, unsigned(&counts.dispatched)),
    },
    Metric {
        name: "current_inqueue_requests",
        kind: "gauge",
        help: "Requests that wait.",
        render: |counts, out, name| {
            sample(counts, out, name, counts.waiting.load(Ordering::Relaxed));
        },
    },
    Metric {
        name: "current_inqueue_seats",
        kind: "gauge",
        help: "Seats that requests wait for.",
        render: |counts, out, name| {
            sample(
                counts,
                out,
                name,
                counts.seats_waiting.load(Ordering::Relaxed),
            );
        },
    },
    Metric {
        name: "current_executing_requests",
        kind: "gauge",
        help: "Requests that run; watches until they have begun.",
        render: |counts, out, name| {
            sample(counts, out, name, counts.executing.load(Ordering::Relaxed));
        },
    },
    Metric {
        name: "current_executing_seats",
        kind: "gauge",
        help: "Seats in use.",
        render: |counts, out, name| {
            sample(counts, out, name, counts.seats.load(Ordering::Relaxed));
        },
    },
    Metric {
        name: "request_queue_length_after_enqueue",
        kind: "histogram",
        help: "Length of the queue that a request came to, with it.",
        render: |counts, out, name| counts.queue_lengths.render(out, name, &counts.labels),
    },
    Metric {
        name: "request_wait_duration_seconds",
        kind: "histogram",
        help: "Time in a queue.",
        render: |counts, out, name| {
            for (waits, ran) in counts.waits.iter().zip([true, false]) {
                waits.render(out, name, &format!("{},execute=\"{ran}\"", counts.labels));
            }
        },
    },
    Metric {
        name: "request_execution_seconds",
        kind: "histogram",
        help: "Time that requests ran; watches until they have begun.",
        render: |counts, out, name| {
            for (times, kind) in counts.executions.iter().zip(["watch", "regular"]) {
                times.render(out, name, &format!("{},type=\"{kind}\"", counts.labels));
            }
        },
    },
    Metric {
        name: "watch_count_samples",
        kind: "histogram",
        help: "How many watch what a request changes.",
        render: |counts, out, name| counts.watches.render(out, name, &counts.labels),
    },
    Metric {
        name: "work_estimated_seats",
        kind: "histogram",
        help: "Seats that requests were expected to need.",
        render: |counts, out, name| counts.estimated.render(out, name, &counts.labels),
    },
    Metric {
        name: "request_dispatch_no_accommodation_total",
        kind: "counter",
        help: "How often the next request found too few seats.",
        render: |counts, out, name| {
            let count = unsigned(&counts.no_room);
            if count > 0 {
                sample(counts, out, name, count);
            }
        },
    },
];
