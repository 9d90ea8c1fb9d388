//! Lists: a page of 500 of 15 000 ConfigMaps, consistent, and all of them from the cache.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{Method, StatusCode};

use crate::{
    http::{Endpoint, refusal},
    limit::Limit,
    load::{self, Load, Plan},
    rows::{Effort, Measured},
    seed::OBJECTS,
    stats::{millis, number},
    target::Target,
};

const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(5);
const TIME_QUICK: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);
const REQUESTS_MAX: u64 = 1_000_000;
const PAGE: usize = 500;

pub fn page(target: &Target, effort: Effort) -> Result<Measured> {
    let query = format!("limit={PAGE}");
    measure(
        target,
        effort,
        &query,
        PAGE as u64,
        ["list-page", "list-page-p99"],
    )
}

pub fn all(target: &Target, effort: Effort) -> Result<Measured> {
    measure(
        target,
        effort,
        "resourceVersion=0",
        OBJECTS,
        ["list-all", "list-all-p99"],
    )
}

fn measure(
    target: &Target,
    effort: Effort,
    query: &str,
    items: u64,
    [rate, p99]: [&'static str; 2],
) -> Result<Measured> {
    let path = format!("{}?{query}", target.seeded()?);
    let (body, load) = target.block_on(|| async {
        let body = fetch(&target.endpoint, &path, items).await?;
        Ok((body, run(&target.endpoint, &path, effort).await?))
    })?;
    let mut measured = Measured::default();
    measured.value(rate, load.per_second());
    measured.value(p99, millis(load.latencies.p99()));
    measured.note(format!(
        "{rate}: {} KB each, {} MB/s, {}",
        number(body.len() as f64 / 1e3),
        number(load.bytes as f64 / 1e6 / load.elapsed.as_secs_f64()),
        load.generator_note()
    ));
    if effort.limit {
        let bare = target.block_on(|| async {
            let limit = Limit::start(&body, target.protocol)?;
            run(&limit.endpoint, &path, effort).await
        })?;
        measured.limits.push((rate, bare.per_second()));
        measured.limits.push((p99, millis(bare.latencies.p99())));
    }
    Ok(measured)
}

/// One answer, which must hold at least `items` items.
async fn fetch(endpoint: &Endpoint, path: &str, items: u64) -> Result<Bytes> {
    let (status, body) = endpoint.call(Method::GET, path, Bytes::new()).await?;
    ensure!(
        status == StatusCode::OK,
        "GET {path}: {}",
        refusal(status, &body)
    );
    let list: serde_json::Value = serde_json::from_slice(&body)?;
    let got = list["items"].as_array().map_or(0, Vec::len) as u64;
    ensure!(
        got >= items,
        "GET {path}: {got} items where {items} were expected"
    );
    Ok(body)
}

async fn run(endpoint: &Endpoint, path: &str, effort: Effort) -> Result<Load> {
    let make = |_| endpoint.request(Method::GET, path, Bytes::new());
    let plan = Plan {
        connections: CONNECTIONS,
        requests: REQUESTS_MAX,
        time: WARM_UP,
    };
    load::run(endpoint, plan, StatusCode::OK, make).await?;
    let time = effort.pick(TIME, TIME_QUICK);
    load::run(endpoint, Plan { time, ..plan }, StatusCode::OK, make).await
}
