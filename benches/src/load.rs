//! The closed loop: a number of connections, each with one request in flight, until a count or a time is reached.

use std::{
    cell::{Cell, RefCell},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::try_join_all, stream::FuturesUnordered};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use nix::sys::{
    resource::{UsageWho, getrusage},
    time::TimeVal,
};
use tokio::time::timeout;

use crate::{
    http::{Connection, Endpoint, drain, refusal},
    stats::Latencies,
};

/// What the last requests of a run may take longer than the run.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Handshakes at the same time; more would only wait for the server's CPU.
const HANDSHAKES: usize = 32;
/// A run of which more than this share was refused measured something else.
const REFUSED_MAX: f64 = 0.01;

/// The bounds of a run, whichever is met first.
#[derive(Clone, Copy)]
pub struct Plan {
    pub connections: usize,
    pub requests: u64,
    pub time: Duration,
}

/// What a run did.
#[derive(Default)]
pub struct Load {
    pub done: u64,
    /// Bytes of bodies received.
    pub bytes: u64,
    pub elapsed: Duration,
    pub latencies: Latencies,
    /// CPU that this process used meanwhile.
    pub generator_cpu: Duration,
}

impl Load {
    /// What several runs did, as one after the other.
    pub fn together(runs: impl IntoIterator<Item = Load>) -> Load {
        let mut sum = Load::default();
        let mut latencies = Vec::new();
        for run in runs {
            sum.done += run.done;
            sum.bytes += run.bytes;
            sum.elapsed += run.elapsed;
            sum.generator_cpu += run.generator_cpu;
            latencies.extend(run.latencies.all());
        }
        sum.latencies = Latencies::new(latencies);
        sum
    }

    pub fn per_second(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64()
    }

    /// `generator 8 us/request`.
    pub fn generator_note(&self) -> String {
        let micros = self.generator_cpu.as_secs_f64() * 1e6 / self.done.max(1) as f64;
        format!("generator {} us/request", crate::stats::number(micros))
    }
}

struct Run<'a, F> {
    endpoint: &'a Endpoint,
    expected: StatusCode,
    make: F,
    plan: Plan,
    started: Instant,
    next: Cell<u64>,
    bytes: Cell<u64>,
    refused: Cell<u64>,
    refusal: RefCell<Option<String>>,
    latencies: RefCell<Vec<Duration>>,
}

/// Opens `count` connections.
pub async fn connect(endpoint: &Endpoint, count: usize) -> Result<Vec<Connection>> {
    futures::stream::iter(0..count)
        .map(|_| endpoint.connect())
        .buffer_unordered(HANDSHAKES)
        .try_collect()
        .await
}

/// Sends what `make` gives for 0, 1, 2 … and measures from the request to the last byte of its answer.
pub async fn run<F>(endpoint: &Endpoint, plan: Plan, expected: StatusCode, make: F) -> Result<Load>
where
    F: Fn(u64) -> Result<Request<Full<Bytes>>>,
{
    let connections = connect(endpoint, plan.connections).await?;
    let cpu = own_cpu();
    let run = Run {
        endpoint,
        expected,
        make,
        plan,
        started: Instant::now(),
        next: Cell::new(0),
        bytes: Cell::new(0),
        refused: Cell::new(0),
        refusal: RefCell::new(None),
        latencies: RefCell::new(Vec::new()),
    };
    let loops: FuturesUnordered<_> = connections.into_iter().map(|c| run.serve(c)).collect();
    timeout(plan.time + DRAIN_TIMEOUT, loops.try_collect::<()>())
        .await
        .context("requests are left without an answer")??;
    let elapsed = run.started.elapsed();
    let latencies = run.latencies.into_inner();
    let done = latencies.len() as u64;
    if let Some(refusal) = run.refusal.into_inner() {
        let refused = run.refused.get();
        ensure!(
            (refused as f64) < REFUSED_MAX * (done + refused) as f64,
            "{refused} of {} requests were refused; the first: {refusal}",
            done + refused
        );
    }
    Ok(Load {
        done,
        bytes: run.bytes.get(),
        elapsed,
        latencies: Latencies::new(latencies),
        generator_cpu: own_cpu().saturating_sub(cpu),
    })
}

impl<F> Run<'_, F>
where
    F: Fn(u64) -> Result<Request<Full<Bytes>>>,
{
    async fn serve(&self, mut connection: Connection) -> Result<()> {
        loop {
            let number = self.next.get();
            if number >= self.plan.requests || self.started.elapsed() >= self.plan.time {
                return Ok(());
            }
            self.next.set(number + 1);
            let request = (self.make)(number)?;
            let sent = Instant::now();
            let response = connection
                .send(request)
                .await
                .context("the request was cut off")?;
            if response.status() != self.expected {
                let status = response.status();
                let body = response.into_body().collect().await?.to_bytes();
                self.refused.set(self.refused.get() + 1);
                self.refusal
                    .borrow_mut()
                    .get_or_insert_with(|| refusal(status, &body));
                // A server that refuses may close as well.
                connection = self.endpoint.connect().await?;
                continue;
            }
            let bytes = drain(response.into_body())
                .await
                .context("the answer was cut off")?;
            self.latencies.borrow_mut().push(sent.elapsed());
            self.bytes.set(self.bytes.get() + bytes);
        }
    }
}

/// Sends all of `requests` at once, each on a connection of its own that is open before the first is sent.
/// Gives the moment at which the first was answered.
pub async fn burst(
    endpoint: &Endpoint,
    requests: Vec<Request<Full<Bytes>>>,
    expected: StatusCode,
) -> Result<Instant> {
    let connections = connect(endpoint, requests.len()).await?;
    let calls = connections
        .into_iter()
        .zip(requests)
        .map(|(mut connection, request)| async move {
            let (status, body) = connection.call(request).await?;
            if status != expected {
                bail!("{}", refusal(status, &body));
            }
            Ok(Instant::now())
        });
    let answered = try_join_all(calls).await?;
    answered.into_iter().min().context("nothing was sent")
}

/// CPU that this process has used so far.
pub fn own_cpu() -> Duration {
    let span = |time: TimeVal| {
        Duration::new(
            time.tv_sec().unsigned_abs(),
            1000 * u32::try_from(time.tv_usec()).unwrap_or(0),
        )
    };
    getrusage(UsageWho::RUSAGE_SELF)
        .map(|usage| span(usage.user_time()) + span(usage.system_time()))
        .unwrap_or_default()
}
