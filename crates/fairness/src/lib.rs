//! Who is served when there are many requests: upstream's API Priority and Fairness.
//!
//! ```text
//! FlowSchemas, PriorityLevelConfigurations -> config -> plan: schemas in order, each with its level
//! request -> plan.classify: schema, flow -> level: queue set -> seat, until it is dropped
//! every ten seconds: what levels have needed -> allocation -> seats of levels
//! ```
//!
//! The core is pure: [`queue_set`] (which of those that wait is next), [`allocation`] (who lends seats to whom), [`schema`] (what
//! matches), [`work`] (how many seats a request needs), [`shuffle`], [`demand`]. [`Fairness`] is what a server holds. A request that
//! finds a seat takes its level's lock twice, for less than a microsecond, and allocates nothing; one that matches the schema
//! `exempt` never waits.
//!
//! Beside upstream: no flow has more than two of three seats of a level with queues ([`queue_set::QueueSet::of_flow`]); flows are
//! hashed with a secret of the process, so that nobody can choose a name that shares another's queues.
//!
//! Rejected: a task for each request that waits (a future is enough), queues as an array (validation allows ten million), SHA-256
//! for flows (nobody sees the hash), an epoch of virtual time that is turned back (128 bits do not overflow).

pub mod allocation;
pub mod config;
mod counts;
pub mod demand;
mod dump;
mod histogram;
mod level;
mod plan;
pub mod queue_set;
mod retry;
pub mod schema;
pub mod shuffle;
mod totals;
pub mod watches;
pub mod work;

use std::{
    fmt::Write,
    hash::RandomState,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::HeaderValue;
use knarr_auth::{UserInfo, request::RequestInfo};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use self::{
    config::Config,
    level::{Flow, Level, Live},
    plan::{Class, Plan},
    queue_set::{Arrival, Refusal, Ticket},
    totals::{Phase, Totals},
    work::Work,
};

pub use self::{dump::Dump, level::Description, level::Refused};

/// Nanoseconds since some moment.
pub type Nanos = u64;

/// How often seats are divided anew.
pub const ADJUST_PERIOD: Duration = Duration::from_secs(10);
/// Longest that a request waits in a queue, whatever deadline it has.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// The part of its deadline that a request may wait in a queue: a quarter, a minute at most.
#[must_use]
pub fn longest_wait(deadline: Duration) -> Duration {
    (deadline / 4).min(MAX_WAIT)
}

/// Seats for requests.
pub struct Fairness {
    seats: u32,
    plan: ArcSwap<Plan>,
    /// One at a time makes a plan or divides seats.
    planning: Mutex<()>,
    totals: Arc<Totals>,
    hasher: RandomState,
}

/// A request's schema and flow.
#[derive(Clone)]
pub struct Classified(Class);

impl Classified {
    /// What an answer says of it: the UIDs of the schema and of the level.
    pub fn uids(&self) -> (&HeaderValue, &HeaderValue) {
        let (schema, level) = &self.0.flow.uids;
        (schema, level)
    }

    /// The most seats that the request may be reckoned to need; 0: there is no limit of its level's own.
    pub fn most_seats(&self) -> u32 {
        self.0.flow.level.seats_of_request()
    }

    /// Names of schema and level.
    pub fn names(&self) -> (&str, &str) {
        (self.0.flow.schema.name(), &self.0.flow.level.name)
    }

    /// How many watch what the request changes.
    pub fn watched(&self, watches: u32) {
        self.0.flow.counts.watched(watches);
    }
}

/// What a request says of itself when it wants seats.
pub struct Wanted {
    pub work: Work,
    pub mutating: bool,
    pub watch: bool,
    /// How long it may wait.
    pub wait: Duration,
    pub description: Description,
}

impl Fairness {
    /// One for a server with so many seats, at least one. Until objects are [read](Self::configure) only what is mandatory is there.
    pub fn new(seats: u32, mandatory: impl Fn(&str) -> Option<serde_json::Value>) -> Fairness {
        let fairness = Fairness {
            seats: seats.max(1),
            plan: ArcSwap::default(),
            planning: Mutex::default(),
            totals: Arc::new(Totals::new()),
            hasher: RandomState::new(),
        };
        fairness.configure(&Config::new(&[], &[], mandatory));
        fairness
    }

    /// Acts upon another configuration from now on.
    pub fn configure(&self, config: &Config) {
        let _planning = self.planning.lock();
        let plan = Plan::new(config, &self.plan.load(), self.seats, &self.totals);
        self.plan.store(Arc::new(plan));
    }

    /// Divides the seats by what levels have needed since the last time. True: a level that is gone is used no more, so that it can
    /// be forgotten by another [configuration](Self::configure).
    pub fn adjust(&self) -> bool {
        let _planning = self.planning.lock();
        let plan = self.plan.load_full();
        let fair_fraction = plan.adjust(self.seats);
        let leftovers = plan.has_leftovers();
        self.plan.store(Arc::new(Plan {
            flows: plan.flows.clone(),
            levels: plan.levels.clone(),
            fair_fraction,
        }));
        leftovers
    }

    /// Which schema a request is of. `None` never comes to be: the last schema is for everything.
    pub fn classify(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Option<Classified> {
        let plan = self.plan.load();
        plan.classify(user, request, &self.hasher).map(Classified)
    }

    /// Seats for a request, once it is its turn.
    ///
    /// # Errors
    /// There are none, the queue is full, or it has waited for too long.
    pub async fn enter(&self, class: &Classified, wanted: Wanted) -> Result<Seat, Refused> {
        let Class { flow, hash } = &class.0;
        flow.counts.estimated(wanted.work.seats());
        let (mutating, watch) = (wanted.mutating, wanted.watch);
        let live = Live::new(flow.clone(), wanted.description, mutating);
        let (arrival, told) = flow.level.arrive(*hash, wanted.work, live);
        let ticket = match arrival {
            Arrival::Runs(ticket) => {
                if flow.has_queues {
                    flow.counts.waited(true, 0.0);
                }
                return Ok(Seat::new(flow.clone(), ticket, mutating, watch));
            }
            Arrival::Waits(ticket) => ticket,
            Arrival::Refused(why) => return Err(refused(flow, why)),
        };
        let place = Place {
            flow: flow.clone(),
            ticket: Some(ticket),
            mutating,
            watch,
        };
        Box::pin(wait(place, told, wanted.wait)).await
    }

    /// What is there now, for people.
    pub fn dump(&self) -> Dump {
        Dump::new(self.plan.load_full(), self.totals.clone())
    }

    /// Appends all metrics in Prometheus' text form.
    pub fn render(&self, out: &mut String) {
        let plan = self.plan.load_full();
        let head = |out: &mut String, name: &str, kind: &str, help: &str| {
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        };
        for metric in counts::METRICS {
            let name = format!("apiserver_flowcontrol_{}", metric.name);
            head(out, &name, metric.kind, metric.help);
            for flow in &plan.flows {
                (metric.render)(&flow.counts, out, &name);
            }
        }
        for metric in level::METRICS {
            let name = format!("apiserver_flowcontrol_{}", metric.name);
            head(out, &name, metric.kind, metric.help);
            for planned in plan.levels.values() {
                let labels = format!("priority_level=\"{}\"", planned.level.name);
                let mut state = planned.level.state.lock();
                (metric.render)(&mut state, self.totals.now(), out, (&name, &labels));
            }
        }
        let name = "apiserver_flowcontrol_seat_fair_frac";
        head(
            out,
            name,
            "gauge",
            "The part of its target that each level has.",
        );
        counts::line(out, name, "", plan.fair_fraction);
        self.totals.render(out);
    }
}

/// Waits until it is the request's turn.
async fn wait(
    mut place: Place,
    told: Option<oneshot::Receiver<()>>,
    longest: Duration,
) -> Result<Seat, Refused> {
    let began = Instant::now();
    let told = async {
        match told {
            Some(told) => told.await.is_ok(),
            None => false,
        }
    };
    let runs = tokio::time::timeout(longest, told).await;
    // Its turn may have come at the last moment.
    let runs = matches!(runs, Ok(true)) || place.runs();
    let waited = began.elapsed().as_secs_f64();
    place.flow.counts.waited(runs, waited);
    match place.ticket.take().filter(|_| runs) {
        Some(ticket) => Ok(Seat::new(
            place.flow.clone(),
            ticket,
            place.mutating,
            place.watch,
        )),
        None => Err(refused(&place.flow, Refusal::TimeOut)),
    }
}

fn refused(flow: &Flow, why: Refusal) -> Refused {
    flow.counts.refused(why);
    Refused {
        why,
        retry_after: flow.level.refused(),
    }
}

/// A request's place in its queue. Who is dropped while it waits has gone.
struct Place {
    flow: Arc<Flow>,
    ticket: Option<Ticket>,
    mutating: bool,
    watch: bool,
}

impl Place {
    /// It waits no longer; whether it runs.
    fn runs(&mut self) -> bool {
        let Some(ticket) = self.ticket else {
            return false;
        };
        let runs = self.flow.level.withdraw(ticket);
        if !runs {
            self.ticket = None;
        }
        runs
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.runs()
            && let Some(ticket) = self.ticket.take()
        {
            // It was its turn, and it is not there.
            drop(Seat::new(
                self.flow.clone(),
                ticket,
                self.mutating,
                self.watch,
            ));
        }
    }
}

/// The seats of a request, until dropped.
pub struct Seat {
    flow: Arc<Flow>,
    ticket: Ticket,
    mutating: bool,
    watch: bool,
    began: Nanos,
}

impl Seat {
    fn new(flow: Arc<Flow>, ticket: Ticket, mutating: bool, watch: bool) -> Seat {
        Seat {
            began: flow.level.totals.now(),
            flow,
            ticket,
            mutating,
            watch,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let level: &Arc<Level> = &self.flow.level;
        let totals = &level.totals;
        let now = totals.now();
        let took = now.saturating_sub(self.began) as f64 / 1e9;
        self.flow.counts.ended(self.watch, took);
        totals.add(now, Phase::Executing, self.mutating, -1.0);
        level.finish(self.ticket);
    }
}

#[cfg(test)]
mod tests;
