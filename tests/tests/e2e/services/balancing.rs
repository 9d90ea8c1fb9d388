//! TCP: which endpoint answers, and from which address it is asked.

use std::{collections::BTreeSet, time::Instant};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::{NODE_IP, Raw, eventually};
use serde_json::{Value, json};

use super::{call, cluster_ip, manifest, pod_ip, program};
use crate::support::{SOON, Shell, block_on, field};

/// Requests by which both of two pods are met: missing one has a chance of 2^-40.
const REQUESTS: usize = 40;
/// Requests that would not all meet the same of two pods by chance.
const SAME: usize = 12;
const CLIENT_IP: &str = "192.0.2.2";
const BALANCER_IP: &str = "198.51.100.7";
const DOCUMENTATION_RANGE: &str = "198.51.100.0/24";

fn host(shell: &Shell<'_>, url: &str) -> Result<String> {
    let page = shell.cluster.curl(&[url])?;
    Ok(field(&page, "host").to_owned())
}

/// Asks until both pods have answered.
pub fn meet_both(shell: &Shell<'_>, url: &str) -> Result<()> {
    let mut met = BTreeSet::new();
    for _ in 0..REQUESTS {
        met.insert(host(shell, url)?);
        if met.len() == 2 {
            return Ok(());
        }
    }
    bail!("{url}: met {met:?} only")
}

/// That curl fails with a code, soon enough.
pub fn fails(result: Result<String>, code: u32) -> Result<()> {
    match result {
        Ok(page) => bail!("it answers: {page}"),
        Err(error) => {
            ensure!(
                format!("{error:#}").contains(&format!("curl: ({code})")),
                "{error:#}"
            );
            Ok(())
        }
    }
}

pub fn named_ports(shell: &Shell<'_>) -> Result<()> {
    meet_both(shell, &format!("http://{}/", cluster_ip(shell, "pair")?))?;
    let slices = shell.get("endpointslices -l kubernetes.io/service-name=pair")?;
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    let ports: BTreeSet<u64> = slices
        .iter()
        .filter_map(|slice| slice["ports"][0]["port"].as_u64())
        .collect();
    ensure!(ports == BTreeSet::from([8080, 8081]), "{slices:?}");
    Ok(())
}

pub fn affinity(shell: &Shell<'_>) -> Result<()> {
    let url = format!("http://{}/", cluster_ip(shell, "sticky")?);
    let first = host(shell, &url)?;
    for _ in 0..SAME {
        let other = host(shell, &url)?;
        ensure!(other == first, "{other} after {first}");
    }
    let pages = call(
        shell,
        &format!("for i in $(seq {SAME}); do wget -q -O - http://sticky/ | grep host; done"),
    )?;
    let hosts: BTreeSet<&str> = pages.lines().collect();
    ensure!(hosts.len() == 1, "a pod meets {pages}");
    // Once the time is over, either may answer; a request begins a new time.
    eventually(SOON, "another pod answers after the time", || {
        eventually(SOON, "nothing is remembered", || {
            let ruleset = program(shell.cluster.command("nft"), &["list", "ruleset"])?;
            ensure!(!ruleset.contains("expires"), "{ruleset}");
            Ok(())
        })?;
        let other = host(shell, &url)?;
        ensure!(other != first, "{first} again");
        Ok(())
    })
}

pub fn policies(shell: &Shell<'_>) -> Result<()> {
    let cluster = shell.cluster;
    let seen = |port: u16| -> Result<String> {
        let page = cluster.client_curl(&[&format!("http://{NODE_IP}:{port}/clientip")])?;
        Ok(page.trim().to_owned())
    };
    let kept = seen(manifest::LOCAL_PORT)?;
    ensure!(kept == CLIENT_IP, "policy Local: {kept}");
    let hidden = seen(manifest::CLUSTER_PORT)?;
    ensure!(
        !hidden.is_empty() && hidden != CLIENT_IP,
        "policy Cluster: {hidden}"
    );
    for port in [manifest::LOCAL_PORT, manifest::CLUSTER_PORT] {
        meet_both(shell, &format!("http://{NODE_IP}:{port}/"))?;
        let page = call(shell, &format!("wget -q -O - http://{NODE_IP}:{port}/"))?;
        ensure!(page.contains("host: "), "{page}");
    }
    // A pod keeps its address on its way to a service.
    let own = pod_ip(shell, "caller")?;
    let seen = call(shell, "wget -q -O - http://pair/clientip")?;
    ensure!(seen.trim() == own, "{seen} is not {own}");
    Ok(())
}

/// Services whose only endpoint is said to be on another node.
pub fn elsewhere(shell: &Shell<'_>) -> Result<()> {
    let address = pod_ip(shell, "alpha")?;
    let services = ["far", "remote", "inside"];
    let slices = services.map(|service| manifest::slice(service, &address, Some("elsewhere")));
    shell.apply(&json!({"apiVersion": "v1", "kind": "List", "items": slices}).to_string())?;
    let cluster = shell.cluster;
    // Inside, the policy for outside does not count.
    eventually(SOON, "the endpoint answers", || {
        call(shell, "timeout 2 wget -q -O - http://far/")
    })?;
    let far = format!("http://{NODE_IP}:{}/", manifest::FAR_PORT);
    cluster.curl(&[&far])?;
    call(shell, &format!("timeout 2 wget -q -O - {far}"))?;
    // A load balancer is to look elsewhere: dropped, not refused.
    fails(cluster.client_curl(&["--max-time", "0.5", &far]), 28)?;

    let inside = format!("http://{}/", cluster_ip(shell, "inside")?);
    // So are those of this node's pods and programs, by the policy for inside.
    fails(cluster.curl(&["--max-time", "0.5", &inside]), 28)?;
    let dropped = call(
        shell,
        "timeout 1 wget -O - http://inside/ 2>&1; echo ended $?",
    )?;
    ensure!(dropped.contains("ended 143"), "{dropped}");
    Ok(())
}

/// Code, header fields and body of a health check.
fn check(shell: &Shell<'_>, port: u16) -> Result<(String, Value)> {
    let url = format!("http://{NODE_IP}:{port}/");
    let answer = program(
        shell.cluster.client_command("curl"),
        &[
            "--silent",
            "--show-error",
            "--include",
            "--max-time",
            "5",
            &url,
        ],
    )?;
    let (head, body) = answer.split_once("\r\n\r\n").context(answer.clone())?;
    Ok((head.to_lowercase(), serde_json::from_str(body)?))
}

/// Waits until a health check says so of so many endpoints.
pub fn healthy(
    shell: &Shell<'_>,
    service: &str,
    port: u16,
    count: u64,
    status: &str,
) -> Result<()> {
    eventually(SOON, &format!("{service} has {count} endpoints"), || {
        let (head, body) = check(shell, port)?;
        let wanted = json!({
            "service": {"namespace": "default", "name": service}, "localEndpoints": count, "serviceProxyHealthy": true,
        });
        ensure!(body == wanted, "{body}");
        for text in [
            format!("http/1.1 {status}"),
            "content-type: application/json".to_owned(),
            "x-content-type-options: nosniff".to_owned(),
            format!("x-load-balancing-endpoint-weight: {count}"),
        ] {
            ensure!(head.contains(&text), "no {text} in {head}");
        }
        Ok(())
    })
}

pub fn load_balancer(shell: &Shell<'_>) -> Result<()> {
    let cluster = shell.cluster;
    let status =
        json!({"status": {"loadBalancer": {"ingress": [{"ip": BALANCER_IP}]}}}).to_string();
    // Old kubectls cannot write a status.
    block_on(async {
        let client = cluster.client().await?;
        let path = format!(
            "/api/v1/namespaces/{}/services/near/status",
            shell.namespace
        );
        let merge = [("content-type", "application/merge-patch+json")];
        let answer = Raw::send(&client, "PATCH", &path, &merge, &status).await?;
        ensure!(answer.code == 200, "{}", answer.text);
        Ok(())
    })?;
    let route = ["route", "replace", DOCUMENTATION_RANGE, "via", NODE_IP];
    program(cluster.client_command("ip"), &route)?;
    let url = format!("http://{BALANCER_IP}/clientip");
    eventually(SOON, "the balancer's address answers", || {
        let seen = cluster.client_curl(&["--max-time", "1", &url])?;
        ensure!(seen.trim() == CLIENT_IP, "{seen}");
        Ok(())
    })?;
    let own = pod_ip(shell, "caller")?;
    let seen = call(shell, &format!("timeout 2 wget -q -O - {url}"))?;
    ensure!(seen.trim() == own, "{seen} is not {own}");

    source_ranges(shell, &url)?;
    healthy(shell, "near", manifest::NEAR_CHECK, 2, "200")?;
    healthy(shell, "remote", manifest::REMOTE_CHECK, 0, "503")?;
    // With the policy goes the server.
    let policy = json!({"spec": {"externalTrafficPolicy": "Cluster"}}).to_string();
    shell.words(&["patch", "service", "remote", "--patch", &policy])?;
    eventually(SOON, "the server ends", || {
        match check(shell, manifest::REMOTE_CHECK) {
            Ok((head, _)) => bail!("it answers: {head}"),
            Err(_) => Ok(()),
        }
    })
}

/// The balancer's address is for some clients only; the others are not even refused.
fn source_ranges(shell: &Shell<'_>, url: &str) -> Result<()> {
    let restrict = |ranges: &[&str]| {
        let patch = json!({"spec": {"loadBalancerSourceRanges": ranges}}).to_string();
        shell.words(&["patch", "service", "near", "--patch", &patch])
    };
    let cluster = shell.cluster;
    restrict(&["10.0.0.0/8", "10.42.0.0/16"])?;
    eventually(SOON, "the client is dropped", || {
        fails(cluster.client_curl(&["--max-time", "0.5", url]), 28)
    })?;
    call(shell, &format!("timeout 2 wget -q -O - {url}"))?;
    restrict(&["10.0.0.0/8", "192.0.2.2/32"])?;
    eventually(SOON, "the client may", || {
        cluster.client_curl(&["--max-time", "0.5", url])
    })?;
    Ok(())
}

pub fn void(shell: &Shell<'_>) -> Result<()> {
    let cluster = shell.cluster;
    // With a way to go on, so that it is the rules that refuse.
    let route = ["route", "replace", DOCUMENTATION_RANGE, "dev", "node0"];
    program(cluster.command("ip"), &route)?;
    let route = ["route", "replace", DOCUMENTATION_RANGE, "via", NODE_IP];
    program(cluster.client_command("ip"), &route)?;
    let url = format!("http://{}/", manifest::VOID_IP);
    let started = Instant::now();
    for result in [cluster.curl(&[&url]), cluster.client_curl(&[&url])] {
        fails(result, 7)?;
    }
    let refused = call(shell, &format!("timeout 2 wget -O - {url} 2>&1; true"))?;
    ensure!(refused.contains("refused"), "{refused}");
    ensure!(started.elapsed().as_secs() < 3, "{:?}", started.elapsed());
    Ok(())
}

/// Two Services may name the same address: one has it, and the other when that one goes.
pub fn twins(shell: &Shell<'_>) -> Result<()> {
    let cluster = shell.cluster;
    let route = ["route", "replace", DOCUMENTATION_RANGE, "via", NODE_IP];
    program(cluster.client_command("ip"), &route)?;
    let url = format!("http://{}/", manifest::TWIN_IP);
    let answers = || cluster.client_curl(&["--max-time", "1", &url]);
    for twin in ["twin-a", "twin-b"] {
        answers()?;
        cluster.curl(&[&format!("http://{}/", cluster_ip(shell, twin)?)])?;
        shell.run(&format!("delete service {twin}"))?;
        if twin == "twin-a" {
            eventually(SOON, "the other has the address", answers)?;
        }
    }
    eventually(SOON, "nobody has the address", || match answers() {
        Ok(page) => bail!("it answers: {page}"),
        Err(_) => Ok(()),
    })
}

pub fn manual(shell: &Shell<'_>) -> Result<()> {
    for pod in ["alpha", "shy"] {
        let slice = manifest::slice("manual", &pod_ip(shell, pod)?, None);
        shell.apply(&slice.to_string())?;
        eventually(SOON, &format!("{pod} answers"), || {
            let page = call(shell, "timeout 2 wget -q -O - http://manual/")?;
            ensure!(page.contains(pod), "{page}");
            Ok(())
        })?;
    }
    shell.run("delete endpointslice manual-by-hand")?;
    let url = format!("http://{}/", cluster_ip(shell, "manual")?);
    eventually(SOON, "nobody answers", || {
        fails(shell.cluster.curl(&[&url]), 7)
    })
}
