//! A priority level at work: its queue set behind a lock that is held for a microsecond, and what is known of its demand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;
use knarr_auth::UserInfo;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    Nanos,
    allocation::{Claim, Limits},
    config::LevelConfig,
    counts::{Counts, line},
    demand::{Demand, Integrator},
    histogram::{Bounds, Timing},
    queue_set::{Arrival, Discipline, QueueSet, Refusal, Request, Ticket, Transition},
    retry::Refusals,
    schema::Schema,
    totals::{Phase, Totals},
    work::Work,
};

const REQUESTS: Bounds = &[0.0, 0.001, 0.003, 0.01, 0.03, 0.1, 0.25, 0.5, 0.75, 1.0];
const SEATS: Bounds = &[
    0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0,
];
const DEMANDS: Bounds = &[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.7, 2.0, 2.8, 4.0, 6.0];

/// A schema with its level.
pub struct Flow {
    pub schema: Schema,
    pub level: Arc<Level>,
    pub counts: Arc<Counts>,
    /// What answers say of it: the UIDs of the schema and of its level.
    pub uids: (HeaderValue, HeaderValue),
    /// Whether the level tells flows apart.
    pub has_queues: bool,
}

/// What is told of a request while it is there. Its parts are shared with the request itself.
#[derive(Clone, Debug)]
pub struct Description {
    pub user: Arc<UserInfo>,
    pub method: http::Method,
    pub uri: http::Uri,
}

/// A request in a level's queue set.
pub struct Live {
    pub flow: Arc<Flow>,
    pub description: Description,
    pub mutating: bool,
    /// Who is told when it runs, where it waits.
    waiting: Option<oneshot::Sender<()>>,
}

impl Request for Live {
    fn run(&mut self) -> bool {
        match self.waiting.take() {
            Some(waiting) => waiting.send(()).is_ok(),
            // It is about to hear of it.
            None => true,
        }
    }

    fn observe(&self, now: Nanos, transition: Transition) {
        self.flow.counts.observe(transition);
        let totals = &self.flow.level.totals;
        match transition {
            Transition::Queued { .. } => totals.add(now, Phase::Waiting, self.mutating, 1.0),
            Transition::Unqueued { .. } => totals.add(now, Phase::Waiting, self.mutating, -1.0),
            Transition::Seated { .. } => totals.add(now, Phase::Executing, self.mutating, 1.0),
            Transition::Unseated { .. } | Transition::NoRoom => {}
        }
    }
}

/// What is behind the lock.
pub struct State {
    pub set: QueueSet<Live>,
    integrator: Integrator,
    demand: Demand,
    target: f64,
    limits: Limits,
    waiting: Timing,
    executing: Timing,
    seats: Timing,
    demands: Timing,
    /// Somebody will call [`Level::pass`].
    timer: bool,
}

/// A priority level.
pub struct Level {
    pub name: String,
    pub totals: Arc<Totals>,
    pub state: Mutex<State>,
    /// What one request may take; 0: it has no limit of its own.
    seats_of_request: AtomicU32,
    refusals: Mutex<Refusals>,
}

impl Level {
    pub fn new(config: &LevelConfig, limits: Limits, totals: Arc<Totals>) -> Arc<Level> {
        let now = totals.now();
        let seats = match config.discipline {
            Discipline::Exempt => limits.min,
            _ => limits.initial(),
        };
        let state = State {
            set: QueueSet::new(config.discipline, seats, now),
            integrator: Integrator::default(),
            demand: Demand::default(),
            target: 0.0,
            limits,
            waiting: Timing::new(REQUESTS, now),
            executing: Timing::new(REQUESTS, now),
            seats: Timing::new(SEATS, now),
            demands: Timing::new(DEMANDS, now),
            timer: false,
        };
        let level = Arc::new(Level {
            name: config.name.clone(),
            totals,
            state: Mutex::new(state),
            seats_of_request: AtomicU32::new(0),
            refusals: Mutex::default(),
        });
        level.configure(config, limits);
        level
    }

    /// Another configuration. The seats it has stay until all are divided again.
    pub fn configure(self: &Arc<Self>, config: &LevelConfig, limits: Limits) {
        let most = config.seats_of_request(limits.nominal);
        self.seats_of_request.store(most, Ordering::Relaxed);
        self.change(|state, now| {
            state.limits = limits;
            let seats = state.set.limit();
            state.set.configure(config.discipline, seats, now);
            let room = match config.discipline {
                Discipline::Queue(queuing) => {
                    queuing.length.max(1) as f64 * f64::from(queuing.queues)
                }
                _ => 1.0,
            };
            state.waiting.divide_by(now, room);
        });
    }

    pub fn seats_of_request(&self) -> u32 {
        self.seats_of_request.load(Ordering::Relaxed)
    }

    pub fn nominal(&self) -> u32 {
        self.state.lock().limits.nominal
    }

    /// Takes a period's demand in and says what the level claims.
    pub fn claim(&self) -> Claim {
        let mut state = self.state.lock();
        let observed = state.integrator.take(self.totals.now());
        state.demand.update(observed);
        let claim = Claim {
            exempt: state.set.discipline() == Discipline::Exempt,
            limits: state.limits,
            high_watermark: state.demand.high_watermark,
            smoothed: state.demand.smoothed,
            current: state.set.limit(),
        };
        state.target = claim.target();
        claim
    }

    /// Gives the level so many seats, of a server that has `server`.
    pub fn give(self: &Arc<Self>, seats: u32, server: u32) {
        self.change(|state, now| {
            state.set.set_limit(seats, now);
            let part = match seats {
                0 => (f64::from(server) / 10.0).round().max(1.0),
                seats => f64::from(seats),
            };
            for timing in [&mut state.executing, &mut state.seats, &mut state.demands] {
                timing.divide_by(now, part);
            }
        });
    }

    /// A request. The receiver, if any, hears when it runs.
    pub fn arrive(
        self: &Arc<Self>,
        hash: u64,
        work: Work,
        live: Live,
    ) -> (Arrival, Option<oneshot::Receiver<()>>) {
        self.change(|state, now| {
            let arrival = state.set.arrive(now, hash, work, live);
            let receiver = match arrival {
                Arrival::Waits(ticket) => state.set.request_mut(ticket).map(|live| {
                    let (sender, receiver) = oneshot::channel();
                    live.waiting = Some(sender);
                    receiver
                }),
                _ => None,
            };
            (arrival, receiver)
        })
    }

    /// A request has ended.
    pub fn finish(self: &Arc<Self>, ticket: Ticket) {
        self.change(|state, now| state.set.finish(now, ticket));
    }

    /// A request waits no longer; whether it runs.
    pub fn withdraw(self: &Arc<Self>, ticket: Ticket) -> bool {
        self.change(|state, now| state.set.withdraw(now, ticket))
    }

    /// One more refusal; seconds after which to try again.
    pub fn refused(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let second = since.map_or(0, |since| since.as_secs());
        self.refusals.lock().refused(second)
    }

    pub fn is_idle(&self) -> bool {
        self.state.lock().set.is_idle()
    }

    /// Changes the state, and sees to it that requests which wait for seats that become free by themselves get them.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State, Nanos) -> T) -> T {
        let mut state = self.state.lock();
        let now = self.totals.now();
        let changed = change(&mut state, now);
        state.observe(now);
        let due = state.set.next().filter(|_| !state.timer);
        state.timer |= due.is_some();
        drop(state);
        if let Some(due) = due {
            self.wake_at(due);
        }
        changed
    }

    fn wake_at(self: &Arc<Self>, due: Nanos) {
        let level = self.clone();
        knarr_tasks::spawn("seats of a priority level", async move {
            tokio::time::sleep_until(level.totals.instant(due).into()).await;
            level.change(|state, now| {
                state.timer = false;
                state.set.pass(now);
            });
        });
    }
}

impl State {
    fn observe(&mut self, now: Nanos) {
        let demand = f64::from(self.set.demand());
        self.integrator.set(now, demand);
        self.demands.set(now, demand);
        self.waiting.set(now, self.set.waiting() as f64);
        self.executing.set(now, self.set.executing() as f64);
        self.seats.set(now, f64::from(self.set.seats_in_use()));
    }
}

impl Live {
    pub fn new(flow: Arc<Flow>, description: Description, mutating: bool) -> Live {
        Live {
            flow,
            description,
            mutating,
            waiting: None,
        }
    }
}

/// A metric of levels: name, kind, what it is, and how one is appended.
pub struct Metric {
    pub name: &'static str,
    pub kind: &'static str,
    pub help: &'static str,
    pub render: fn(&mut State, Nanos, &mut String, (&str, &str)),
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    render: fn(&mut State, Nanos, &mut String, (&str, &str)),
) -> Metric {
    Metric {
        name,
        kind: "gauge",
        help,
        render,
    }
}

const fn timing(
    name: &'static str,
    help: &'static str,
    render: fn(&mut State, Nanos, &mut String, (&str, &str)),
) -> Metric {
    Metric {
        name,
        kind: "histogram",
        help,
        render,
    }
}

/// Virtual times are told in seat-seconds.
fn virtual_time(out: &mut String, (name, labels): (&str, &str), time: i128) {
    line(out, name, labels, time as f64 / 1e9);
}

fn bounds(out: &mut String, (name, labels): (&str, &str), (least, most): (i128, i128)) {
    virtual_time(out, (name, &format!("{labels},bound=\"min\"")), least);
    virtual_time(out, (name, &format!("{labels},bound=\"max\"")), most);
}

pub const METRICS: [Metric; 18] = [
    gauge("current_r", "Virtual time.", |state, _, out, at| {
        virtual_time(out, at, state.set.progress().0);
    }),
    gauge(
        "dispatch_r",
        "Virtual time of the last dispatch.",
        |state, _, out, at| {
            virtual_time(out, at, state.set.progress().1.at);
        },
    ),
    gauge(
        "latest_s",
        "Where the request of the last dispatch began.",
        |state, _, out, at| {
            virtual_time(out, at, state.set.progress().1.latest);
        },
    ),
    gauge(
        "next_s_bounds",
        "Where the oldest requests of queues begin.",
        |state, _, out, at| {
            bounds(out, at, state.set.progress().1.starts);
        },
    ),
    gauge(
        "next_discounted_s_bounds",
        "Where the oldest requests of queues begin, less the estimated work under way.",
        |state, _, out, at| bounds(out, at, state.set.progress().1.discounted),
    ),
    gauge(
        "nominal_limit_seats",
        "Nominal seats.",
        |state, _, out, (name, labels)| {
            line(out, name, labels, state.limits.nominal);
        },
    ),
    gauge(
        "lower_limit_seats",
        "Least seats.",
        |state, _, out, (name, labels)| {
            line(out, name, labels, state.limits.min);
        },
    ),
    gauge(
        "upper_limit_seats",
        "Most seats.",
        |state, _, out, (name, labels)| {
            line(out, name, labels, state.limits.max);
        },
    ),
    gauge(
        "current_limit_seats",
        "Seats for now.",
        |state, _, out, (name, labels)| {
            line(out, name, labels, state.set.limit());
        },
    ),
    gauge(
        "demand_seats_high_watermark",
        "Most seats that could have been used, in the last period.",
        |state, _, out, (name, labels)| line(out, name, labels, state.demand.high_watermark),
    ),
    gauge(
        "demand_seats_average",
        "Seats that could have been used, in the last period.",
        |state, _, out, (name, labels)| line(out, name, labels, state.demand.average),
    ),
    gauge(
        "demand_seats_stdev",
        "Standard deviation of the seats that could have been used.",
        |state, _, out, (name, labels)| line(out, name, labels, state.demand.deviation),
    ),
    gauge(
        "demand_seats_smoothed",
        "Demand that falls slowly.",
        |state, _, out, (name, labels)| line(out, name, labels, state.demand.smoothed),
    ),
    gauge(
        "target_seats",
        "Seats that the level would have if there were enough.",
        |state, _, out, (name, labels)| line(out, name, labels, state.target),
    ),
    timing(
        "priority_level_request_utilization",
        "Nanoseconds by the requests of a limit that waited or ran.",
        |state, now, out, (name, labels)| {
            let labels = |phase: &str| format!("phase=\"{phase}\",{labels}");
            state.executing.render(now, out, name, &labels("executing"));
            state.waiting.render(now, out, name, &labels("waiting"));
        },
    ),
    timing(
        "priority_level_seat_utilization",
        "Nanoseconds by the seats of a limit that were in use.",
        |state, now, out, (name, labels)| {
            let labels = format!("phase=\"executing\",{labels}");
            state.seats.render(now, out, name, &labels);
        },
    ),
    timing(
        "demand_seats",
        "Nanoseconds by the seats of a limit that could have been used.",
        |state, now, out, (name, labels)| state.demands.render(now, out, name, labels),
    ),
    gauge(
        "flow_limit_seats",
        "Most seats of one flow while others may want some.",
        |state, _, out, (name, labels)| {
            if let Discipline::Queue(_) = state.set.discipline() {
                line(out, name, labels, state.set.of_flow());
            }
        },
    ),
];

/// Why a request does not run, and when to try again, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    pub why: Refusal,
    pub retry_after: u64,
}
