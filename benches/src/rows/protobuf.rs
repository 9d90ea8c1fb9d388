//! Reads in protobuf: GETs of single ConfigMaps over 32 connections, and pages of 500 of 15 000 over 8; each beside the same in
//! JSON, at which rate it is to be answered at least.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;

use crate::{
    http::Endpoint,
    load::{self, Load, Plan},
    rows::{Effort, Measured},
    seed::OBJECTS,
    stats::millis,
    target::Target,
};

const GET_CONNECTIONS: usize = 32;
const LIST_CONNECTIONS: usize = 8;
/// Both in turn, so many times: a machine that is slow for a second is slow for both.
const ROUNDS: usize = 6;
const ROUNDS_QUICK: usize = 1;
const TIME: Duration = Duration::from_secs(1);
/// Before the time that counts: what is read for the first time becomes a message then.
const WARM_UP: Duration = Duration::from_millis(500);
const REQUESTS_MAX: u64 = 10_000_000;
const STRIDE: u64 = 7_919;
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/vnd.kubernetes.protobuf");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let path = target.seeded()?;
    let endpoint = &target.endpoint;
    let mut measured = Measured::default();
    target.block_on(|| answers_in_protobuf(endpoint, &path))?;
    let one = |number: u64| format!("{path}/cm-{}", number.wrapping_mul(STRIDE) % OBJECTS);
    let (load, share) = target.block_on(|| both(endpoint, GET_CONNECTIONS, effort, &one))?;
    measured.value("gets-protobuf", load.per_second());
    measured.value("gets-protobuf-share", share);
    measured.value("gets-protobuf-p99", millis(load.latencies.p99()));
    let page = |_| format!("{path}?limit=500");
    let (load, share) = target.block_on(|| both(endpoint, LIST_CONNECTIONS, effort, &page))?;
    measured.value("list-page-protobuf", load.per_second());
    measured.value("list-page-protobuf-share", share);
    measured.value("list-page-protobuf-p99", millis(load.latencies.p99()));
    Ok(measured)
}

fn request(endpoint: &Endpoint, path: &str, accept: &HeaderValue) -> Result<Request<Full<Bytes>>> {
    let mut request = endpoint.request(Method::GET, path, Bytes::new())?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, accept.clone());
    Ok(request)
}

/// A server that answers with something else is not what is measured.
async fn answers_in_protobuf(endpoint: &Endpoint, path: &str) -> Result<()> {
    let mut connection = endpoint.connect().await?;
    let request = request(endpoint, &format!("{path}/cm-0"), &PROTOBUF)?;
    let (status, body) = connection.call(request).await?;
    ensure!(
        status == StatusCode::OK && body.starts_with(b"k8s\0"),
        "GET {path}/cm-0: no protobuf"
    );
    Ok(())
}

/// Reads in JSON and in protobuf: the latter, and its rate in percent of the former's.
async fn both(
    endpoint: &Endpoint,
    connections: usize,
    effort: Effort,
    path: &impl Fn(u64) -> String,
) -> Result<(Load, f64)> {
    let run = async |accept: &HeaderValue, time: Duration| {
        let make = |number| request(endpoint, &path(number), accept);
        let plan = Plan {
            connections,
            requests: REQUESTS_MAX,
            time,
        };
        load::run(endpoint, plan, StatusCode::OK, make).await
    };
    let (mut json, mut protobuf) = (Vec::new(), Vec::new());
    for accept in [&JSON, &PROTOBUF] {
        run(accept, WARM_UP).await?;
    }
    for _ in 0..effort.pick(ROUNDS, ROUNDS_QUICK) {
        json.push(run(&JSON, TIME).await?);
        protobuf.push(run(&PROTOBUF, TIME).await?);
    }
    let (json, protobuf) = (Load::together(json), Load::together(protobuf));
    let share = 100.0 * protobuf.per_second() / json.per_second();
    Ok((protobuf, share))
}
