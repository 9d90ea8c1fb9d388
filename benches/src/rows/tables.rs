//! Lists of 15 000 pods as kubectl asks for them, as a table, beside the same lists as objects.

use std::time::Duration;

use anyhow::{Result, ensure};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde_json::Value;

use crate::{
    http::{Endpoint, refusal},
    load::{self, Load, Plan},
    rows::{Effort, Measured, memory},
    seed,
    stats::{millis, number},
    target::Target,
};

const PODS: u64 = 15_000;
const PODS_QUICK: u64 = 1_000;
const CONNECTIONS: usize = 8;
const TIME: Duration = Duration::from_secs(5);
const TIME_QUICK: Duration = Duration::from_secs(1);
const WARM_UP: Duration = Duration::from_millis(300);
const REQUESTS_MAX: u64 = 1_000_000;
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// As kubectl has it.
const TABLE: HeaderValue =
    HeaderValue::from_static("application/json;as=Table;v=v1;g=meta.k8s.io,application/json");

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let count = effort.pick(PODS, PODS_QUICK);
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "tables"))?;
    let path = format!("/api/v1/namespaces/{namespace}/pods?resourceVersion=0");
    let loads = target.block_on(|| async {
        memory::create_node(endpoint).await?;
        memory::bind_elsewhere(endpoint, &namespace, count).await?;
        let items = |body: Value| body["items"].as_array().map_or(0, Vec::len);
        let rows = |body: Value| body["rows"].as_array().map_or(0, Vec::len);
        ensure!(
            items(fetch(endpoint, &path, &JSON).await?) as u64 == count,
            "not all {count} pods were listed"
        );
        ensure!(
            rows(fetch(endpoint, &path, &TABLE).await?) as u64 == count,
            "not all {count} pods had a row"
        );
        let json = run(endpoint, &path, &JSON, effort).await?;
        Ok((json, run(endpoint, &path, &TABLE, effort).await?))
    });
    target.block_on(|| memory::clean_up(endpoint, &namespace))?;
    let (json, table) = loads?;
    let mut measured = Measured::default();
    measured.value("tables", table.per_second());
    measured.value("tables-p99", millis(table.latencies.p99()));
    measured.value("tables-bytes", 100.0 * rate(&table) / rate(&json));
    let each = |load: &Load| number(load.bytes as f64 / 1e6 / load.done.max(1) as f64);
    measured.note(format!(
        "tables: {} MB each, {} MB/s; as objects {} MB each, {} MB/s; {}",
        each(&table),
        number(rate(&table) / 1e6),
        each(&json),
        number(rate(&json) / 1e6),
        table.generator_note()
    ));
    Ok(measured)
}

/// Bytes a second.
fn rate(load: &Load) -> f64 {
    load.bytes as f64 / load.elapsed.as_secs_f64()
}

async fn fetch(endpoint: &Endpoint, path: &str, accept: &HeaderValue) -> Result<Value> {
    let mut connection = endpoint.connect().await?;
    let (status, body) = connection.call(request(endpoint, path, accept)?).await?;
    ensure!(
        status == StatusCode::OK,
        "GET {path}: {}",
        refusal(status, &body)
    );
    Ok(serde_json::from_slice(&body)?)
}

fn request(endpoint: &Endpoint, path: &str, accept: &HeaderValue) -> Result<Request<Full<Bytes>>> {
    let mut request = endpoint.request(Method::GET, path, Bytes::new())?;
    let headers = request.headers_mut();
    headers.insert(header::ACCEPT, accept.clone());
    Ok(request)
}

async fn run(
    endpoint: &Endpoint,
    path: &str,
    accept: &HeaderValue,
    effort: Effort,
) -> Result<Load> {
    let make = |_| request(endpoint, path, accept);
    let plan = Plan {
        connections: CONNECTIONS,
        requests: REQUESTS_MAX,
        time: WARM_UP,
    };
    load::run(endpoint, plan, StatusCode::OK, make).await?;
    let time = effort.pick(TIME, TIME_QUICK);
    load::run(endpoint, Plan { time, ..plan }, StatusCode::OK, make).await
}
