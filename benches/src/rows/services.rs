//! What the service proxy takes to bring a change into the kernel, among few Services and among many, and to bring all.
//!
//! The proxy itself, in a network namespace of its own and without a cluster: informers are filled here. A change is there when
//! the kernel's ruleset has another generation.

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use knarr_client::Informer;
use knarr_nft::Connection;
use knarr_proxy::{Config, Proxy};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    netns::{self, Namespace},
    rows::{Effort, Measured},
    stats::{Latencies, millis, number},
    target::{Target, interrupted},
};

const FEW: u32 = 10;
const MANY: u32 = 10_000;
const ENDPOINTS: u32 = 10;
const CHANGES: u32 = 500;
const CHANGES_QUICK: u32 = 50;
/// Steps through the Services so that neighbours in time are not neighbours in the kernel; shares no factor with their number.
const STRIDE: u32 = 7_919;
const DEADLINE: Duration = Duration::from_secs(60);
/// Between looks at the kernel, which are part of what is measured.
const LOOK: Duration = Duration::from_micros(10);
const WORKERS: usize = 2;

pub fn measure(target: &Target, effort: Effort) -> Result<Measured> {
    if target.cluster.is_none() {
        bail!("measures the proxy of this build, which another cluster has not");
    }
    let mut measured = Measured::default();
    let (_, few) = within_namespace(FEW, effort)?;
    let (start, many) = within_namespace(MANY, effort)?;
    measured.value("services-10", millis(few.p50()));
    measured.value("services-10000", millis(many.p50()));
    measured.value("services-10000-p99", millis(many.p99()));
    measured.value("services-start", start.as_secs_f64());
    measured.note(format!(
        "services: p50 of {} changes of one of {ENDPOINTS} endpoints or of their number, one after the other; p99 of {FEW} \
         Services {} ms",
        effort.pick(CHANGES, CHANGES_QUICK),
        number(millis(few.p99())),
    ));
    Ok(measured)
}

/// Until all Services are there, and for each change.
fn within_namespace(count: u32, effort: Effort) -> Result<(Duration, Latencies)> {
    let name = format!("knarr-bench-services-{}", std::process::id());
    let namespace = Namespace::create(&name)?;
    netns::within(Some(namespace.path()), || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .context("cannot start the async runtime")?;
        let stop = CancellationToken::new();
        let _stopped = stop.clone().drop_guard();
        let _inside = runtime.enter();
        run(count, effort.pick(CHANGES, CHANGES_QUICK), &stop)
    })
}

fn run(count: u32, changes: u32, stop: &CancellationToken) -> Result<(Duration, Latencies)> {
    let (services, slices, nodes) = (Informer::new(), Informer::new(), Informer::new());
    nodes.replace(Vec::new());
    let config = Config {
        reserved_ports: Vec::new(),
        table: "knarr-bench".to_owned(),
        node_name: "node".to_owned(),
        cluster_cidrs: vec!["10.64.0.0/10".parse()?],
        service_cidrs: vec!["10.43.0.0/16".parse()?],
        node_local_dns: Vec::new(),
    };
    let proxy = Proxy::with(config, services.clone(), slices.clone(), nodes);
    services.replace((0..count).map(service).collect::<Result<Vec<_>>>()?);
    let whole = (0..count).map(|number| slice(number, ENDPOINTS, 0));
    slices.replace(whole.collect::<Result<Vec<_>>>()?);
    let mut kernel = Connection::open()?;
    let before = kernel.generation()?;
    let started = Instant::now();
    tokio::spawn(proxy.run(stop.clone()));
    let mut generation = next(&mut kernel, before)?;
    let start = started.elapsed();
    let mut latencies = Vec::new();
    for change in 0..changes {
        let number = change.wrapping_mul(STRIDE) % count;
        // Another endpoint, or one less and one more.
        let changed = match change % 4 {
            0 | 2 => slice(number, ENDPOINTS, change + 1)?,
            _ => slice(number, ENDPOINTS - 1, change + 1)?,
        };
        let started = Instant::now();
        slices.apply(changed);
        generation = next(&mut kernel, generation)?;
        latencies.push(started.elapsed());
    }
    Ok((start, Latencies::new(latencies)))
}

/// Waits for a generation after `last`.
fn next(kernel: &mut Connection, last: u32) -> Result<u32> {
    let started = Instant::now();
    while started.elapsed() < DEADLINE && !interrupted().is_cancelled() {
        let generation = kernel.generation()?;
        if generation != last {
            return Ok(generation);
        }
        thread::sleep(LOOK);
    }
    bail!("the kernel has no change after {} s", DEADLINE.as_secs())
}

fn service(number: u32) -> Result<Service> {
    let address = Ipv4Addr::from(0x0a2b_0000 + number + 1);
    let service = json!({
        "metadata": {"name": format!("service-{number}"), "namespace": "default"},
        "spec": {"clusterIP": address, "clusterIPs": [address], "ports": [{"port": 80}]},
    });
    serde_json::from_value(service).context("a Service")
}

/// Addresses are of one Service only; that of one endpoint changes with `version`.
fn slice(number: u32, endpoints: u32, version: u32) -> Result<EndpointSlice> {
    let own = 0x0a40_0000 + number * 64;
    let address = |place: u32| match place == 0 {
        true => Ipv4Addr::from(own + 32 + version % 32),
        false => Ipv4Addr::from(own + place),
    };
    let endpoints: Vec<_> = (0..endpoints)
        .map(|place| json!({"addresses": [address(place)], "conditions": {"ready": true}}))
        .collect();
    let name = format!("service-{number}");
    let slice = json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4", "ports": [{"port": 8080, "protocol": "TCP"}], "endpoints": endpoints,
    });
    serde_json::from_value(slice).context("an EndpointSlice")
}
