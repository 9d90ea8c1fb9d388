//! Fan-out: 1 000 watchers of one namespace's ConfigMaps, each of which sees every update; and 10 000 of them, as clients come that
//! have many watches each: over HTTP/2, a hundred on a connection.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::Either, stream::FuturesUnordered};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::{sync::Notify, time::timeout};

use crate::{
    http::{Connection, Endpoint, Protocol, refusal},
    load::{self, Plan},
    process,
    rows::{Effort, Measured},
    seed,
    stats::{Latencies, millis, number},
    target::{self, Target},
};

/// How many watchers, and what they are sent.
struct Crowd {
    watchers: usize,
    /// Updates one after the other, each waited for at every watcher.
    paced: u64,
    /// Updates as fast as the server takes them.
    flood: u64,
}

/// Streams on one connection, over HTTP/2.
const STREAMS: usize = 100;
/// Of updates that are waited for; fewer of them are enough.
const PACE_TIME: Duration = Duration::from_secs(15);
const WRITERS: usize = 4;
const FLOOD_TIME: Duration = Duration::from_secs(20);
/// For an update to reach all watchers.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// For the server to end a watch by itself, should the bench not.
const WATCH_SECONDS: u32 = 600;
const OBJECT: &str = "watched";

/// What the watchers have received together.
#[derive(Default)]
struct Received {
    events: Cell<u64>,
    wanted: Cell<u64>,
    reached: Cell<Option<Instant>>,
    wake: Notify,
}

impl Received {
    fn add(&self, events: u64) {
        let total = self.events.get() + events;
        self.events.set(total);
        if total >= self.wanted.get() && self.reached.get().is_none() {
            self.reached.set(Some(Instant::now()));
            self.wake.notify_one();
        }
    }

    fn expect(&self, more: u64) {
        self.wanted.set(self.wanted.get() + more);
        self.reached.set(None);
    }

    /// When the last of the expected events arrived.
    async fn all(&self) -> Result<Instant> {
        let arrived = async {
            loop {
                if let Some(at) = self.reached.get() {
                    return at;
                }
                self.wake.notified().await;
            }
        };
        timeout(DELIVERY_TIMEOUT, arrived).await.with_context(|| {
            let (events, wanted) = (self.events.get(), self.wanted.get());
            format!("{events} of {wanted} events were delivered within {DELIVERY_TIMEOUT:?}")
        })
    }
}

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let crowd = Crowd {
        watchers: 1_000,
        paced: effort.pick(200, 30),
        flood: effort.pick(1_000, 100),
    };
    let namespace = target.block_on(|| seed::create_namespace(&target.endpoint, "watch"))?;
    let sent = target.block_on(|| fan_out(&target.endpoint, &namespace, &crowd, || 0));
    target.block_on(|| seed::delete_namespace(&target.endpoint, &namespace))?;
    let Sent { paced, rate, .. } = sent?;
    let mut measured = Measured::default();
    measured.value("watch", rate);
    measured.value("watch-p50", millis(paced.p50()));
    measured.value("watch-p99", millis(paced.p99()));
    Ok(measured)
}

/// The same for ten times as many, and what each costs the server.
pub fn many(target: &Target, effort: Effort) -> Result<Measured> {
    let crowd = Crowd {
        watchers: effort.pick(10_000, 2_000),
        paced: effort.pick(100, 10),
        flood: effort.pick(50, 10),
    };
    let endpoint = Endpoint::new(&target.access, Protocol::H2)?;
    let namespace = target.block_on(|| seed::create_namespace(&endpoint, "watchers"))?;
    let cluster = target.cluster.as_ref();
    let memory = || cluster.map_or(0, |cluster| process::memory(cluster.pid()).rss);
    let sent = target.block_on(|| fan_out(&endpoint, &namespace, &crowd, memory));
    target.block_on(|| seed::delete_namespace(&endpoint, &namespace))?;
    let sent = sent?;
    let mut measured = Measured::default();
    measured.value("watchers-p50", millis(sent.paced.p50()));
    measured.value("watchers-p99", millis(sent.paced.p99()));
    measured.value("watchers", sent.rate);
    if cluster.is_some() {
        let each = sent.growth as f64 / crowd.watchers as f64 / f64::from(1 << 10);
        measured.value("watchers-memory", each);
    }
    measured.note(format!(
        "watchers: {} over {} connections of HTTP/2; generator {} us/event",
        crowd.watchers,
        crowd.watchers / STREAMS,
        number(sent.generator_micros)
    ));
    Ok(measured)
}

/// What came of it.
struct Sent {
    /// From the answer to an update until the last watcher has it.
    paced: Latencies,
    /// Events a second, of updates as fast as they are taken.
    rate: f64,
    /// Bytes that the server has more with all watches open, by the caller's measure.
    growth: u64,
    /// CPU of this process for one event.
    generator_micros: f64,
}

async fn fan_out(
    endpoint: &Endpoint,
    namespace: &str,
    crowd: &Crowd,
    memory: impl Fn() -> u64,
) -> Result<Sent> {
    let path = seed::config_maps(namespace);
    target::create(endpoint, &path, seed::config_map(OBJECT, "")).await?;
    let list = endpoint.get(&format!("{path}?limit=1")).await?;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .context("no resourceVersion")?;
    let before = memory();
    let opened = Instant::now();
    let watch = format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}");
    // The senders keep the connections open.
    let (_senders, bodies) = open_watches(endpoint, &watch, crowd.watchers).await?;
    eprintln!(
        "  {} watches open after {:.1} s",
        crowd.watchers,
        opened.elapsed().as_secs_f64()
    );
    let received = Received::default();
    let readers: FuturesUnordered<_> = bodies
        .into_iter()
        .map(|body| read(body, &received))
        .collect();
    let readers = readers.try_for_each(|()| async { Ok(()) });
    let object = format!("{path}/{OBJECT}");
    let writers = async {
        let (paced, generator_micros) = pace(endpoint, &object, &received, crowd).await?;
        let growth = memory().saturating_sub(before);
        let rate = flood(endpoint, &object, &received, crowd).await?;
        Ok(Sent {
            paced,
            rate,
            growth,
            generator_micros,
        })
    };
    // Each is polled only when one of its own wakes, however many the other has.
    let (readers, writers) = (Box::pin(readers), Box::pin(writers));
    match futures::future::select(writers, readers).await {
        Either::Left((sent, _)) => sent,
        Either::Right((ended, _)) => {
            ended?;
            bail!("all watches ended")
        }
    }
}

async fn open_watches(
    endpoint: &Endpoint,
    path: &str,
    watchers: usize,
) -> Result<(Vec<Connection>, Vec<Incoming>)> {
    let mut senders = Vec::new();
    for connection in load::connect(endpoint, 1).await? {
        let connections = if connection.share().is_some() {
            watchers / STREAMS
        } else {
            watchers
        };
        for connection in load::connect(endpoint, connections).await? {
            let shared = (1..STREAMS)
                .map_while(|_| connection.share())
                .collect::<Vec<_>>();
            senders.extend(shared);
            senders.push(connection);
        }
    }
    let opened: Vec<(Connection, Incoming)> = futures::stream::iter(senders)
        .map(|mut sender| async move {
            let request = endpoint.request(Method::GET, path, Bytes::new())?;
            let response = sender.send(request).await?;
            let status = response.status();
            if status != StatusCode::OK {
                let body = response.into_body().collect().await?.to_bytes();
                bail!("watch: {}", refusal(status, &body));
            }
            Ok((sender, response.into_body()))
        })
        .buffer_unordered(STREAMS)
        .try_collect()
        .await?;
    Ok(opened.into_iter().unzip())
}

/// Counts events: each is a line.
async fn read(mut body: Incoming, received: &Received) -> Result<()> {
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref() {
            let lines = data.iter().filter(|byte| **byte == b'\n').count();
            received.add(lines as u64);
        }
    }
    bail!("the server ended a watch")
}

/// An update of the object that is watched.
fn put(endpoint: &Endpoint, path: &str, number: u64) -> Result<Request<Full<Bytes>>> {
    let body = seed::config_map(OBJECT, &format!("{number:08}"));
    endpoint.request(Method::PUT, path, body)
}

/// Updates one after the other, and this process' CPU for an event in microseconds.
async fn pace(
    endpoint: &Endpoint,
    path: &str,
    received: &Received,
    crowd: &Crowd,
) -> Result<(Latencies, f64)> {
    let mut connection = endpoint.connect().await?;
    let mut latencies = Vec::new();
    let (started, cpu) = (Instant::now(), load::own_cpu());
    for number in 0..crowd.paced {
        if started.elapsed() > PACE_TIME {
            break;
        }
        received.expect(crowd.watchers as u64);
        let (status, body) = connection.call(put(endpoint, path, number)?).await?;
        ensure!(
            status == StatusCode::OK,
            "PUT {path}: {}",
            refusal(status, &body)
        );
        let answered = Instant::now();
        // Zero where the last watcher heard of it before the writer.
        latencies.push(received.all().await?.saturating_duration_since(answered));
    }
    let events = latencies.len() as f64 * crowd.watchers as f64;
    let micros = load::own_cpu().saturating_sub(cpu).as_secs_f64() * 1e6 / events;
    Ok((Latencies::new(latencies), micros))
}

/// Updates as fast as they are taken: events a second.
async fn flood(endpoint: &Endpoint, path: &str, received: &Received, crowd: &Crowd) -> Result<f64> {
    let events = crowd.flood * crowd.watchers as u64;
    received.expect(events);
    let plan = Plan {
        connections: WRITERS,
        requests: crowd.flood,
        time: FLOOD_TIME,
    };
    let started = Instant::now();
    let make = |number| put(endpoint, path, crowd.paced + number);
    let load = load::run(endpoint, plan, StatusCode::OK, make).await?;
    ensure!(
        load.done == crowd.flood,
        "only {} of {} updates were taken in time",
        load.done,
        crowd.flood
    );
    let elapsed = received.all().await?.duration_since(started);
    Ok(events as f64 / elapsed.as_secs_f64())
}
