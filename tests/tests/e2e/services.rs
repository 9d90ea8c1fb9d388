//! Services with traffic: which endpoint answers whom, under which name and from which address, and what becomes of
//! clients when endpoints come and go.

mod balancing;
mod flows;
mod loopback;
mod manifest;
mod mirroring;
mod names;
mod node_addresses;
mod ranges;

use std::process::Command;

use anyhow::{Result, ensure};
use knarr_testkit::{Cluster, eventually, run};

use crate::support::{SOON, Shell, newest, step, with_running_cluster};

/// Looks at one thing; the pods are there already.
type Check = fn(&Shell<'_>) -> Result<()>;

#[test]
fn services_lead_to_their_endpoints() {
    with_running_cluster(|cluster| {
        step("apply", || shell(cluster)?.apply(&manifest::text()))?;
        step("ready", || ready(&shell(cluster)?))?;
        let checks: [(&str, Check); 22] = [
            ("ports by name", balancing::named_ports),
            ("session affinity", balancing::affinity),
            ("the client's address", balancing::policies),
            ("endpoints of another node", balancing::elsewhere),
            (
                "load balancer and its health check",
                balancing::load_balancer,
            ),
            (
                "load balancers on the node's address",
                node_addresses::shared,
            ),
            ("an external address without endpoints", balancing::void),
            ("an external address of two services", balancing::twins),
            ("endpoints made by hand", balancing::manual),
            ("an Endpoints object made by hand", mirroring::mirrored),
            ("headless services", names::headless),
            ("names of ports and addresses", names::ports_and_addresses),
            ("names over TCP", names::over_tcp),
            ("pods that are not ready", names::not_ready),
            ("external names", names::external),
            ("UDP", flows::udp),
            ("the first endpoint", flows::first_endpoint),
            ("connections outlive changes", flows::established),
            ("another range of addresses", ranges::another_range),
            ("ports of 127.0.0.1", loopback::own_programs),
            ("127.0.0.1 from elsewhere", loopback::others),
            // The last: it deletes a pod.
            ("UDP clients of a deleted pod", flows::deleted_pod),
        ];
        let mut failures = Vec::new();
        for (name, check) in checks {
            if let Err(error) = step(name, || check(&shell(cluster)?)) {
                failures.push(format!("{error:#}"));
            }
        }
        ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn ready(shell: &Shell<'_>) -> Result<()> {
    shell.wait_ready("app=pair", 2)?;
    shell.wait_ready("app=caller", 1)?;
    // It is never ready. Old kubectls cannot wait for a phase.
    eventually(SOON, "pod shy is running", || {
        let phase = shell.path("pod shy", "{.status.phase}")?;
        ensure!(phase == "Running", "{phase:?}");
        Ok(())
    })
}

/// What a script prints in the calling pod.
fn call(shell: &Shell<'_>, script: &str) -> Result<String> {
    shell.words(&["exec", "caller", "--", "sh", "-c", script])
}

fn cluster_ip(shell: &Shell<'_>, service: &str) -> Result<String> {
    shell.path(&format!("service {service}"), "{.spec.clusterIP}")
}

fn pod_ip(shell: &Shell<'_>, pod: &str) -> Result<String> {
    shell.path(&format!("pod {pod}"), "{.status.podIP}")
}

/// Runs a program that takes a moment.
fn program(mut command: Command, arguments: &[&str]) -> Result<String> {
    command.args(arguments);
    run(command, SOON)?.success()
}
