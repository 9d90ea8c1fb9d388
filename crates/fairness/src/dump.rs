//! What is there now, in the tables of upstream's `/debug/api_priority_and_fairness`.

use std::sync::Arc;

use knarr_auth::route::{ApiRequest, Decoded};

use crate::{
    level::{Description, Live},
    plan::{Plan, Planned},
    queue_set::{Discipline, QueueView, RequestView},
    totals::Totals,
    work::SeatTime,
};

/// Queues without anything are told up to this many of a level.
const IDLE_QUEUES: u32 = 4096;
/// Narrowest column.
const WIDTH: usize = 8;

const LEVELS: &[&str] = &[
    "PriorityLevelName",
    "ActiveQueues",
    "IsIdle",
    "IsQuiescing",
    "WaitingRequests",
    "ExecutingRequests",
    "DispatchedRequests",
    "RejectedRequests",
    "TimedoutRequests",
    "CancelledRequests",
];
const QUEUES: &[&str] = &[
    "PriorityLevelName",
    "Index",
    "PendingRequests",
    "ExecutingRequests",
    "SeatsInUse",
    "NextDispatchR",
    "InitialSeatsSum",
    "MaxSeatsSum",
    "TotalWorkSum",
];
const REQUESTS: &[&str] = &[
    "PriorityLevelName",
    "FlowSchemaName",
    "QueueIndex",
    "RequestIndexInQueue",
    "FlowDistingsher",
    "ArriveTime",
    "InitialSeats",
    "FinalSeats",
    "AdditionalLatency",
    "StartTime",
];
const DETAILS: &[&str] = &[
    "UserName",
    "Verb",
    "APIPath",
    "Namespace",
    "Name",
    "APIVersion",
    "Resource",
    "SubResource",
];
/// What upstream tells of a time that is not yet.
const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The tables.
pub struct Dump {
    plan: Arc<Plan>,
    totals: Arc<Totals>,
}

impl Dump {
    pub(crate) fn new(plan: Arc<Plan>, totals: Arc<Totals>) -> Dump {
        Dump { plan, totals }
    }

    fn levels(&self) -> impl Iterator<Item = &Planned> {
        self.plan.levels.values()
    }

    /// A row for each level.
    pub fn priority_levels(&self) -> String {
        let rows = self.levels().map(|planned| {
            let state = planned.level.state.lock();
            let active = state
                .set
                .queues()
                .iter()
                .filter(|queue| queue.waiting > 0)
                .count();
            let totals = state.set.totals();
            let (waiting, executing) = (state.set.waiting(), state.set.executing());
            vec![
                planned.level.name.clone(),
                active.to_string(),
                (waiting == 0 && executing == 0).to_string(),
                planned.quiescing.to_string(),
                waiting.to_string(),
                executing.to_string(),
                totals.dispatched.to_string(),
                totals.rejected.to_string(),
                // As upstream, which counts these as cancelled.
                "0".to_owned(),
                totals.cancelled.to_string(),
            ]
        });
        table(LEVELS, rows.collect())
    }

    /// A row for each queue.
    pub fn queues(&self) -> String {
        let mut rows = Vec::new();
        for planned in self.levels() {
            let state = planned.level.state.lock();
            let mut used = state.set.queues().into_iter().peekable();
            let idle = match state.set.discipline() {
                Discipline::Queue(queuing) => queuing.queues.min(IDLE_QUEUES),
                _ => 0,
            };
            for index in 0..idle {
                let queue = used.next_if(|queue| queue.index == index);
                rows.push(queue_row(&planned.level.name, index, queue));
            }
            rows.extend(used.map(|queue| queue_row(&planned.level.name, queue.index, Some(queue))));
        }
        table(QUEUES, rows)
    }

    /// A row for each request.
    pub fn requests(&self, details: bool) -> String {
        let mut rows = Vec::new();
        for planned in self.levels() {
            let state = planned.level.state.lock();
            for request in state.set.requests() {
                rows.push(self.request_row(&planned.level.name, &request, details));
            }
        }
        let mut head = REQUESTS.to_vec();
        if details {
            head.extend(DETAILS);
        }
        table(&head, rows)
    }

    fn request_row(
        &self,
        level: &str,
        request: &RequestView<'_, Live>,
        details: bool,
    ) -> Vec<String> {
        let number = |number: Option<usize>| number.map_or("-1".to_owned(), |n| n.to_string());
        let flow = &request.request.flow;
        let description = &request.request.description;
        let started = request.started.map(|at| self.totals.timestamp(at));
        let told = told(description, |asked| {
            let info = &asked.info;
            let distinguisher = flow.schema.distinguisher();
            let version = match info.group {
                "" => info.version.to_owned(),
                group => format!("{group}/{}", info.version),
            };
            let of = |text: &str| text.to_owned();
            (
                of(match flow.has_queues {
                    true => distinguisher.flow(&description.user, info),
                    false => "",
                }),
                vec![
                    of(&description.user.name),
                    of(info.verb),
                    of(info.path),
                    of(info.namespace),
                    of(info.name),
                    version,
                    of(info.resource),
                    of(info.subresource),
                ],
            )
        });
        let (distinguished, more) = told.unwrap_or_else(|| {
            let unknown = vec![String::new(); DETAILS.len()];
            (String::new(), unknown)
        });
        let mut row = vec![
            level.to_owned(),
            flow.schema.name().to_owned(),
            number(request.queue.map(|queue| queue as usize)),
            number(request.place),
            distinguished,
            self.totals.timestamp(request.arrived),
            request.work.initial_seats.to_string(),
            request.work.final_seats.to_string(),
            duration(request.work.extra),
            started.unwrap_or_else(|| NO_TIME.to_owned()),
        ];
        if details {
            row.extend(more);
        }
        row
    }
}

/// What a description says, once it is parsed again.
fn told<T>(description: &Description, tell: impl FnOnce(&ApiRequest<'_>) -> T) -> Option<T> {
    let request = http::Request::builder()
        .method(&description.method)
        .uri(&description.uri);
    let (parts, ()) = request.body(()).ok()?.into_parts();
    let decoded = Decoded::new(&parts).ok()?;
    let asked = ApiRequest::parse(&parts.method, &decoded).ok()?;
    Some(tell(&asked))
}

fn queue_row(level: &str, index: u32, queue: Option<QueueView>) -> Vec<String> {
    let queue = queue.unwrap_or(QueueView {
        index,
        waiting: 0,
        executing: 0,
        seats: 0,
        next: 0,
        initial_seats: 0,
        max_seats: 0,
        work: 0,
    });
    vec![
        level.to_owned(),
        index.to_string(),
        queue.waiting.to_string(),
        queue.executing.to_string(),
        queue.seats.to_string(),
        seat_seconds(queue.next),
        queue.initial_seats.to_string(),
        queue.max_seats.to_string(),
        seat_seconds(queue.work),
    ]
}

/// As Go's `time.Duration`, for what are whole milliseconds mostly.
fn duration(nanos: u64) -> String {
    match nanos {
        0 => "0s".to_owned(),
        nanos if nanos < 1_000_000_000 => format!("{}ms", nanos as f64 / 1e6),
        nanos => format!("{}s", nanos as f64 / 1e9),
    }
}

fn seat_seconds(time: SeatTime) -> String {
    let hundredths = time / 10;
    format!(
        "{}.{:08}ss",
        hundredths / 100_000_000,
        (hundredths % 100_000_000).abs()
    )
}

/// Columns aligned as Go's `tabwriter` does it, with a comma after each cell but the last.
fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        widths.resize(widths.len().max(row.len()), WIDTH);
        for (cell, width) in row.iter().zip(&mut widths) {
            // The comma, and a blank.
            *width = (*width).max(cell.chars().count() + 2);
        }
    }
    let mut out = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            match column + 1 == row.len() {
                true => out.push_str(cell),
                false => out.push_str(&format!("{:width$}", format!("{cell},"))),
            }
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let rows = vec![vec!["a".to_owned(), "long-name".to_owned(), "x".to_owned()]];
        assert_eq!(
            table(&["Name", "B", "C"], rows),
            "Name,   B,         C\na,      long-name, x\n"
        );
        assert_eq!(seat_seconds(1_234_567_890), "1.23456789ss");
        assert_eq!(duration(25_000_000), "25ms");
    }
}
