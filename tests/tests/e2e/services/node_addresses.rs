//! LoadBalancer Services that get the node's address: who reaches them, and who gets a port that several want.

use anyhow::{Result, ensure};
use knarr_testkit::{NODE_IP, eventually};
use serde_json::json;

use super::{
    balancing::{fails, meet_both},
    call, manifest,
};
use crate::support::{SOON, Shell, field};

const PORT: u16 = 18_080;
const API_PORT: u16 = 6443;
/// curl's code when nobody answers in time.
const TIMEOUT: u32 = 28;

pub fn shared(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&manifest::balanced("first", PORT).to_string())?;
    has_address(shell, "first", NODE_IP)?;
    let url = format!("http://{NODE_IP}:{PORT}/");
    eventually(SOON, "a machine beside the node gets an answer", || {
        shell.cluster.client_curl(&[&url])
    })?;
    // From the node itself, too, and from a pod, which may well be answered by itself.
    meet_both(shell, &url)?;
    let page = call(shell, &format!("wget -q -O - {url}"))?;
    ensure!(!field(&page, "host").is_empty(), "{page}");
    source_ranges(shell, &url)?;
    one_port(shell)?;
    not_the_api(shell)?;
    other_type(shell)
}

fn has_address(shell: &Shell<'_>, service: &str, wanted: &str) -> Result<()> {
    let what = format!("Service {service} has the address {wanted:?}");
    eventually(SOON, &what, || {
        let path = "{.status.loadBalancer.ingress[*].ip}";
        let found = shell.path(&format!("service {service}"), path)?;
        ensure!(found == wanted, "it has {found:?}");
        Ok(())
    })
}

/// A Service that waits says why.
fn waits(shell: &Shell<'_>, service: &str, why: &str) -> Result<()> {
    eventually(SOON, &format!("an event tells why {service} waits"), || {
        let selector = format!("involvedObject.name={service},reason=SyncLoadBalancerFailed");
        let line = format!("get events --field-selector {selector}");
        shell.says(&line, &[why]).map(drop)
    })?;
    has_address(shell, service, "")
}

/// The address is for clients of some ranges only.
fn source_ranges(shell: &Shell<'_>, url: &str) -> Result<()> {
    let restrict = |ranges: &[&str]| {
        let patch = json!({"spec": {"loadBalancerSourceRanges": ranges}}).to_string();
        shell.words(&["patch", "service", "first", "--patch", &patch])
    };
    let ask = || shell.cluster.client_curl(&["--max-time", "1", url]);
    restrict(&["203.0.113.0/24"])?;
    eventually(SOON, "others are not let in", || fails(ask(), TIMEOUT))?;
    restrict(&["192.0.2.2/32"])?;
    eventually(SOON, "the machine beside the node is", || ask().map(drop))?;
    restrict(&[]).map(drop)
}

/// Who has a port keeps it; the other gets it afterwards.
fn one_port(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&manifest::balanced("second", PORT).to_string())?;
    let why = format!("TCP port {PORT} of {NODE_IP} is another Service's");
    waits(shell, "second", &why)?;
    has_address(shell, "first", NODE_IP)?;
    shell.run("delete service first")?;
    has_address(shell, "second", NODE_IP)
}

/// Nobody gets the API server's port, nor a node port.
fn not_the_api(shell: &Shell<'_>) -> Result<()> {
    shell.apply(&manifest::balanced("thief", API_PORT).to_string())?;
    let why = format!("TCP port {API_PORT} of nodes is kept for the API server");
    waits(shell, "thief", &why)?;
    let url = format!("https://{NODE_IP}:{API_PORT}/healthz");
    let health = shell.cluster.client_curl(&["--insecure", &url])?;
    ensure!(health == "ok", "{health}");
    shell.apply(&manifest::balanced("poacher", manifest::CLUSTER_PORT).to_string())?;
    waits(shell, "poacher", "is of the range of node ports")?;
    shell.run("delete service thief poacher").map(drop)
}

/// One that is no load balancer any more has no address.
fn other_type(shell: &Shell<'_>) -> Result<()> {
    let patch = json!({"spec": {"type": "ClusterIP"}}).to_string();
    shell.words(&["patch", "service", "second", "--patch", &patch])?;
    has_address(shell, "second", "")?;
    let url = format!("http://{NODE_IP}:{PORT}/");
    eventually(SOON, "its port is closed", || {
        // Nobody listens there.
        fails(shell.cluster.client_curl(&[&url]), 7)
    })?;
    shell.run("delete service second").map(drop)
}
