//! Fan-out: 1 000 watchers of one namespace's ConfigMaps, each of which sees every update.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, future::Either, stream::FuturesUnordered};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{sync::Notify, time::timeout};

use crate::{
    http::{Connection, Endpoint, refusal},
    load::{self, Plan},
    rows::{Effort, Measured},
    seed,
    stats::{Latencies, millis},
    target::{self, Target},
};

const WATCHERS: usize = 1_000;
/// Streams on one connection, over HTTP/2.
const STREAMS: usize = 100;
/// Updates one after the other, each waited for at every watcher.
const PACED: u64 = 200;
const PACED_QUICK: u64 = 30;
/// Updates as fast as the server takes them.
const FLOOD: u64 = 1_000;
const FLOOD_QUICK: u64 = 100;
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
    let namespace = target.block_on(|| seed::create_namespace(&target.endpoint, "watch"))?;
    let measured = target.block_on(|| fan_out(&target.endpoint, &namespace, effort));
    target.block_on(|| seed::delete_namespace(&target.endpoint, &namespace))?;
    measured
}

async fn fan_out(endpoint: &Endpoint, namespace: &str, effort: Effort) -> Result<Measured> {
    let path = seed::config_maps(namespace);
    target::create(endpoint, &path, seed::config_map(OBJECT, "")).await?;
    let list = endpoint.get(&format!("{path}?limit=1")).await?;
    let version = list["metadata"]["resourceVersion"]
        .as_str()
        .context("no resourceVersion")?;
    let opened = Instant::now();
    let watch = format!("{path}?watch=1&resourceVersion={version}&timeoutSeconds={WATCH_SECONDS}");
    // The senders keep the connections open.
    let (_senders, bodies) = open_watches(endpoint, &watch).await?;
    eprintln!(
        "  {WATCHERS} watches open after {:.1} s",
        opened.elapsed().as_secs_f64()
    );
    let received = Received::default();
    let readers: FuturesUnordered<_> = bodies
        .into_iter()
        .map(|body| read(body, &received))
        .collect();
    let readers = readers.try_for_each(|()| async { Ok(()) });
    let object = format!("{path}/{OBJECT}");
    let writers = write(endpoint, &object, &received, effort);
    // Each is polled only when one of its own wakes, however many the other has.
    let (readers, writers) = (Box::pin(readers), Box::pin(writers));
    match futures::future::select(writers, readers).await {
        Either::Left((measured, _)) => measured,
        Either::Right((ended, _)) => {
            ended?;
            bail!("all watches ended")
        }
    }
}

async fn open_watches(endpoint: &Endpoint, path: &str) -> Result<(Vec<Connection>, Vec<Incoming>)> {
    let mut senders = Vec::new();
    for connection in load::connect(endpoint, 1).await? {
        let connections = if connection.share().is_some() {
            WATCHERS / STREAMS
        } else {
            WATCHERS
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

async fn write(
    endpoint: &Endpoint,
    path: &str,
    received: &Received,
    effort: Effort,
) -> Result<Measured> {
    let put = |number: u64| {
        let body = seed::config_map(OBJECT, &format!("{number:08}"));
        endpoint.request(Method::PUT, path, body)
    };
    let mut connection = endpoint.connect().await?;
    let mut latencies = Vec::new();
    let paced = effort.pick(PACED, PACED_QUICK);
    for number in 0..paced {
        received.expect(WATCHERS as u64);
        let (status, body) = connection.call(put(number)?).await?;
        ensure!(
            status == StatusCode::OK,
            "PUT {path}: {}",
            refusal(status, &body)
        );
        let answered = Instant::now();
        // Zero where the last watcher heard of it before the writer.
        latencies.push(received.all().await?.saturating_duration_since(answered));
    }
    let latencies = Latencies::new(latencies);
    let flood = effort.pick(FLOOD, FLOOD_QUICK);
    received.expect(flood * WATCHERS as u64);
    let plan = Plan {
        connections: WRITERS,
        requests: flood,
        time: FLOOD_TIME,
    };
    let started = Instant::now();
    let load = load::run(endpoint, plan, StatusCode::OK, |n| put(paced + n)).await?;
    ensure!(
        load.done == flood,
        "only {} of {flood} updates were taken in time",
        load.done
    );
    let elapsed = received.all().await?.duration_since(started);
    let mut measured = Measured::default();
    measured.value(
        "watch",
        (flood * WATCHERS as u64) as f64 / elapsed.as_secs_f64(),
    );
    measured.value("watch-p50", millis(latencies.p50()));
    measured.value("watch-p99", millis(latencies.p99()));
    Ok(measured)
}
