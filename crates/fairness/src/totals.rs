//! What is counted of all levels together, and the clock that they have in common.

use std::{
    fmt::Write,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use crate::{
    Nanos,
    histogram::{Bounds, Timing},
};

const BOUNDS: Bounds = &[
    0.0, 0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0,
];

/// Whether a request waits or runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Waiting,
    Executing,
}

/// All requests, by whether they wait or run, and whether they write.
pub struct Totals {
    start: Instant,
    wall: SystemTime,
    waiting: [Mutex<Timing>; 2],
    executing: [Mutex<Timing>; 2],
}

impl Totals {
    pub fn new() -> Totals {
        let timings = || [0, 0].map(|now| Mutex::new(Timing::new(BOUNDS, now)));
        Totals {
            start: Instant::now(),
            wall: SystemTime::now(),
            waiting: timings(),
            executing: timings(),
        }
    }

    pub fn now(&self) -> Nanos {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn instant(&self, at: Nanos) -> Instant {
        self.start + Duration::from_nanos(at)
    }

    /// RFC 3339, UTC.
    pub fn timestamp(&self, at: Nanos) -> String {
        let at = jiff::Timestamp::try_from(self.wall + Duration::from_nanos(at));
        at.map(|at| at.to_string()).unwrap_or_default()
    }

    pub fn add(&self, now: Nanos, phase: Phase, mutating: bool, more: f64) {
        let [read, write] = self.of(phase);
        let timing = if mutating { write } else { read };
        timing.lock().add(now, more);
    }

    /// How many may wait and run at once.
    pub fn divide_by(&self, waiting: f64, executing: f64) {
        let now = self.now();
        for (phase, most) in [(Phase::Waiting, waiting), (Phase::Executing, executing)] {
            for timing in self.of(phase) {
                timing.lock().divide_by(now, most);
            }
        }
    }

    fn of(&self, phase: Phase) -> &[Mutex<Timing>; 2] {
        match phase {
            Phase::Waiting => &self.waiting,
            Phase::Executing => &self.executing,
        }
    }

    pub fn render(&self, out: &mut String) {
        let name = "apiserver_flowcontrol_read_vs_write_current_requests";
        let help =
            "Nanoseconds by the requests of a limit that waited or ran, reading and writing.";
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (phase, text) in [(Phase::Executing, "executing"), (Phase::Waiting, "waiting")] {
            for (timing, kind) in self.of(phase).iter().zip(["readOnly", "mutating"]) {
                let labels = format!("phase=\"{text}\",request_kind=\"{kind}\"");
                timing.lock().render(self.now(), out, name, &labels);
            }
        }
    }
}
