//! GETs of single ConfigMaps over 32 connections.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use http::{Method, StatusCode};

use crate::{
    http::Endpoint,
    limit::Limit,
    load::{self, Load, Plan},
    rows::{Effort, Measured},
    seed::{self, OBJECTS},
    stats::millis,
    target::Target,
};

const CONNECTIONS: usize = 32;
const TIME: Duration = Duration::from_secs(4);
const TIME_QUICK: Duration = Duration::from_secs(1);
/// Before the time that counts, on connections of its own.
const WARM_UP: Duration = Duration::from_millis(300);
/// More than any machine does in that time.
const REQUESTS_MAX: u64 = 10_000_000;
/// Steps through the objects so that neighbours in time are not neighbours in the store; shares no factor with 15 000.
const STRIDE: u64 = 7_919;

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let path = target.seeded()?;
    let load = target.block_on(|| run(&target.endpoint, &path, effort))?;
    let mut measured = Measured::default();
    measured.value("gets", load.per_second());
    measured.value("gets-p99", millis(load.latencies.p99()));
    measured.note(format!("gets: {}", load.generator_note()));
    if effort.limit {
        let bare = target.block_on(|| async {
            let one = target
                .endpoint
                .get(&format!("{path}/cm-0"))
                .await?
                .to_string();
            let limit = Limit::start(one.as_bytes(), target.protocol)?;
            run(&limit.endpoint, &path, effort).await
        })?;
        measured.limits.push(("gets", bare.per_second()));
        measured
            .limits
            .push(("gets-p99", millis(bare.latencies.p99())));
    }
    Ok(measured)
}

async fn run(endpoint: &Endpoint, path: &str, effort: Effort) -> Result<Load> {
    let make = |number: u64| {
        let object = number.wrapping_mul(STRIDE) % OBJECTS;
        endpoint.request(Method::GET, &format!("{path}/cm-{object}"), Bytes::new())
    };
    let plan = Plan {
        connections: CONNECTIONS,
        requests: REQUESTS_MAX,
        time: WARM_UP,
    };
    load::run(endpoint, plan, StatusCode::OK, make).await?;
    let time = effort.pick(TIME, TIME_QUICK);
    load::run(endpoint, Plan { time, ..plan }, StatusCode::OK, make).await
}

impl Target {
    /// The path of all the ConfigMaps, which are created if need be.
    pub fn seeded(&self) -> Result<String> {
        let seed = self.take_seed();
        let seed = self.block_on(|| seed::complete(&self.endpoint, seed))?;
        let path = seed.path();
        self.keep_seed(seed);
        Ok(path)
    }
}
