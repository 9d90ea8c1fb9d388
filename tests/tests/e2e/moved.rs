//! A machine that gets another address while the cluster runs, as laptops do, and another name.

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually, image};
use serde_json::json;

use crate::support::{SOON, Shell, newest, restarts, step, with_cluster};

const NEXT_IP: &str = "192.0.2.77";

#[test]
fn a_node_follows_its_machines_address_and_keeps_its_name() {
    let options = Options {
        finds_node: true,
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        step("knarr up", || cluster.up())?;
        let name = shell(cluster)?.path("nodes", "{.items[*].metadata.name}")?;
        step("pods run", || pods(&shell(cluster)?))?;
        let before = restarted(cluster)?;
        step(
            "without any address pods are reached from the machine",
            || {
                address(cluster, "del", NODE_IP)?;
                eventually(SOON, "the address stands in", || on_loopback(cluster, true))?;
                reached(&shell(cluster)?)?;
                services_route(cluster)
            },
        )?;
        step("knarr starts without any address", || {
            cluster.stop()?;
            address_of(cluster, "del", &format!("{NODE_IP}/32"), "lo")?;
            cluster.up()?;
            on_loopback(cluster, true)?;
            follows(cluster, NODE_IP)?;
            reached(&shell(cluster)?)
        })?;
        step("it comes back", || {
            address(cluster, "add", NODE_IP)?;
            eventually(SOON, "nothing stands in", || on_loopback(cluster, false))?;
            reached(&shell(cluster)?)?;
            services_route(cluster)
        })?;
        step("the address changes", || {
            address(cluster, "del", NODE_IP)?;
            address(cluster, "add", NEXT_IP)
        })?;
        step("the node has it", || follows(cluster, NEXT_IP))?;
        step("and is reached by it", || reached(&shell(cluster)?))?;
        ensure!(
            restarted(cluster)? == before,
            "containers were started again"
        );
        step("knarr stops as before", || cluster.stop())?;
        // It would be the node's name if the machine got another one.
        let file = cluster.data_dir().join("node-name");
        let noted = std::fs::read_to_string(&file).context("the name is noted")?;
        ensure!(noted.trim() == name, "{noted:?} is not {name:?}");
        step("the machine is as it was", || {
            address(cluster, "del", NEXT_IP)?;
            address(cluster, "add", NODE_IP)
        })?;
        step("down", || cluster.down(&["--purge"]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

fn address(cluster: &Cluster, change: &str, address: &str) -> Result<()> {
    address_of(cluster, change, &format!("{address}/24"), "node0")
}

fn address_of(cluster: &Cluster, change: &str, address: &str, link: &str) -> Result<()> {
    let mut command = cluster.network().command("ip");
    command.args(["address", change, address, "dev", link]);
    let status = command.status().context("cannot run ip")?;
    ensure!(status.success(), "ip address {change} {address}: {status}");
    Ok(())
}

fn on_loopback(cluster: &Cluster, wanted: bool) -> Result<()> {
    let mut command = cluster.network().command("ip");
    let listed = command.args(["address", "show", "dev", "lo"]).output()?;
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(text.contains(NODE_IP) == wanted, "{text}");
    Ok(())
}

/// A connection from the machine to a Service has a way, also without a default route.
fn services_route(cluster: &Cluster) -> Result<()> {
    eventually(SOON, "the route of Services", || {
        let mut command = cluster.network().command("ip");
        let listed = command.args(["route", "show", "10.43.0.0/16"]).output()?;
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        ensure!(text.contains("dev lo"), "{text}");
        Ok(())
    })
}

fn pods(shell: &Shell<'_>) -> Result<()> {
    for (name, on_host) in [("inside", false), ("outside", true)] {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "moved"}},
            "spec": {
                "hostNetwork": on_host,
                "terminationGracePeriodSeconds": 0,
                "containers": [{
                    "name": "main", "image": image::BUSYBOX, "imagePullPolicy": "IfNotPresent",
                    "command": ["sleep", "100000"],
                }],
            },
        });
        shell.apply(&pod.to_string())?;
    }
    shell.wait_ready("app=moved", 2).map(drop)
}

fn restarted(cluster: &Cluster) -> Result<Vec<u64>> {
    let pods = shell(cluster)?.wait_ready("app=moved", 2)?;
    Ok(pods.iter().map(restarts).collect())
}

fn follows(cluster: &Cluster, wanted: &str) -> Result<()> {
    eventually(SOON, "the node tells its new address", || {
        let shell = shell(cluster)?;
        let internal = r#"{.items[0].status.addresses[?(@.type=="InternalIP")].address}"#;
        let told = shell.path("nodes", internal)?;
        ensure!(told == wanted, "{told}");
        let host = shell.path("pod outside", "{.status.podIP}")?;
        ensure!(host == wanted, "the pod on the host's network has {host}");
        let slices = "endpointslices -l kubernetes.io/service-name=kubernetes";
        let server = shell.path(slices, "{.items[0].endpoints[0].addresses[0]}")?;
        ensure!(server == wanted, "Service kubernetes leads to {server}");
        Ok(())
    })
}

/// Through the kubelet's port at the node's address.
fn reached(shell: &Shell<'_>) -> Result<()> {
    for pod in ["inside", "outside"] {
        shell.says(&format!("exec {pod} -- echo here"), &["here"])?;
        shell.run(&format!("logs {pod}"))?;
    }
    Ok(())
}
