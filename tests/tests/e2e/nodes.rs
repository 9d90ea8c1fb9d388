//! Several nodes on one machine: pods of one reach pods of another, a node's process that dies is started again, one that is cut
//! off loses its pods, and nothing of any node is left in the end.

mod joining;
mod manifest;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually, kill_process, run};
use nix::{sys::signal::kill, unistd::Pid};
use serde_json::Value;

use crate::support::{SOON, Shell, name, newest, restarts, step, with_cluster};

const NODES: [&str; 3] = ["node", "node-2", "node-3"];
const COUNT: u8 = 3;
/// A node that says nothing for upstream's 50 seconds is lost; then its pods are deleted and others made.
const LOST: Duration = Duration::from_secs(150);

#[test]
fn nodes_of_one_machine_are_a_cluster() {
    let options = Options {
        nodes: COUNT,
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        let took = step("up", || cluster.up())?;
        println!("        ready in {took:?}");
        step("all are Ready", || all_ready(cluster))?;
        step("apply", || {
            shell(cluster)?.apply(&manifest::pods())?;
            spread(cluster)
        })?;
        step("pods reach each other", || reach(cluster))?;
        step("logs", || logs(cluster))?;
        step("node ports", || node_ports(cluster))?;
        step("a killed agent is started again", || killed(cluster))?;
        step("kill -9 of the whole", || all_killed(cluster))?;
        step("a stopped agent", || stopped(cluster))?;
        step("a node that is cut off", || cut_off(cluster))?;
        step("one node less", || fewer(cluster))?;
        step("one node more", || more(cluster))?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

fn shell(cluster: &Cluster) -> Result<Shell<'_>> {
    Ok(Shell::new(cluster, newest()?, "default"))
}

/// Names of nodes that are Ready.
fn ready_nodes(shell: &Shell<'_>) -> Result<BTreeSet<String>> {
    let list = shell.get("nodes")?;
    let nodes = list["items"].as_array().cloned().unwrap_or_default();
    let is_ready = |node: &&Value| {
        let conditions = node["status"]["conditions"].as_array();
        let mut conditions = conditions.into_iter().flatten();
        conditions.any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    let ready = nodes.iter().filter(is_ready);
    Ok(ready.map(|node| name(node).to_owned()).collect())
}

fn wait_for_nodes(shell: &Shell<'_>, wanted: &[&str]) -> Result<()> {
    let wanted: BTreeSet<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    eventually(SOON, "the nodes that are wanted are Ready", || {
        let ready = ready_nodes(shell)?;
        ensure!(ready == wanted, "Ready: {ready:?}");
        Ok(())
    })
}

/// At once: `knarr up` has waited for it.
fn all_ready(cluster: &Cluster) -> Result<()> {
    let ready = ready_nodes(&shell(cluster)?)?;
    ensure!(ready.iter().eq(NODES.iter()), "Ready: {ready:?}");
    let printed = cluster.printed();
    for node in NODES {
        let line = format!("node {node} ");
        ensure!(printed.contains(&line), "no {line:?} in:\n{printed}");
    }
    Ok(())
}

/// A server and a caller on each node.
fn spread(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    for app in ["server", "caller"] {
        let pods = shell.wait_ready(&format!("app={app}"), NODES.len())?;
        let nodes: BTreeSet<&str> = pods.iter().map(node_of).collect();
        ensure!(nodes.iter().eq(NODES.iter()), "{app}: {nodes:?}");
    }
    Ok(())
}

fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

fn pod_ip(pod: &Value) -> &str {
    pod["status"]["podIP"].as_str().unwrap_or_default()
}

/// From every node to every pod, by address, by Service and by name; each keeps its own address.
fn reach(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    let servers = shell.wait_ready("app=server", NODES.len())?;
    for caller in shell.wait_ready("app=caller", NODES.len())? {
        let from = node_of(&caller);
        let call = |url: &str| -> Result<String> {
            let words = [
                "exec",
                name(&caller),
                "--",
                "timeout",
                "5",
                "wget",
                "-q",
                "-O",
                "-",
                url,
            ];
            shell.words(&words).with_context(|| format!("from {from}"))
        };
        for server in &servers {
            let url = format!("http://{}:8080/clientip", pod_ip(server));
            let seen = eventually(SOON, &format!("{from} reaches {}", node_of(server)), || {
                call(&url)
            })?;
            ensure!(seen.trim() == pod_ip(&caller), "{seen} from {caller}");
        }
        let mut met = BTreeSet::new();
        eventually(SOON, "the Service leads to all nodes", || {
            let page = call("http://server.default.svc.cluster.local/")?;
            met.insert(crate::support::field(&page, "host").to_owned());
            ensure!(met.len() == servers.len(), "met {met:?} from {from}");
            Ok(())
        })?;
    }
    Ok(())
}

fn logs(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    for server in shell.wait_ready("app=server", NODES.len())? {
        shell.says(&format!("logs {}", name(&server)), &["hello: listening"])?;
    }
    Ok(())
}

/// The machine's own address leads to pods of every node, from itself and from its neighbours.
fn node_ports(cluster: &Cluster) -> Result<()> {
    let url = format!("http://{NODE_IP}:{}/", manifest::NODE_PORT);
    type Curl = fn(&Cluster, &[&str]) -> Result<String>;
    let curls: [Curl; 2] = [Cluster::curl, Cluster::client_curl];
    for curl in curls {
        let mut met = BTreeSet::new();
        eventually(SOON, "the node port leads to all nodes", || {
            let page = curl(cluster, &[&url])?;
            met.insert(crate::support::field(&page, "host").to_owned());
            ensure!(met.len() == NODES.len(), "met {met:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// Uid, restarts and address of pods: the same as long as no container notices.
type Identities = BTreeSet<(String, u64, String)>;

fn identities(pods: &[Value]) -> Identities {
    let uid = |pod: &Value| {
        let uid = pod["metadata"]["uid"].as_str();
        uid.unwrap_or_default().to_owned()
    };
    pods.iter()
        .map(|pod| (uid(pod), restarts(pod), pod_ip(pod).to_owned()))
        .collect()
}

/// The pods that are there, and the processes in them.
fn state(cluster: &Cluster) -> Result<(Identities, Vec<i32>)> {
    let pods = shell(cluster)?.wait_ready("app=server", NODES.len())?;
    let mut processes = cluster.container_processes("/hello ");
    processes.sort_unstable();
    ensure!(processes.len() == NODES.len(), "{processes:?}");
    Ok((identities(&pods), processes))
}

fn killed(cluster: &Cluster) -> Result<()> {
    let before = state(cluster)?;
    let pid = cluster.node_pid("node-2")?;
    kill_process(pid)?;
    eventually(SOON, "another process has the node", || {
        let now = cluster.node_pid("node-2")?;
        ensure!(now != pid, "{now}");
        Ok(())
    })?;
    let shell = shell(cluster)?;
    wait_for_nodes(&shell, &NODES)?;
    // It serves what its pods have said before.
    eventually(SOON, "it has its pods", || logs(cluster))?;
    let after = state(cluster)?;
    ensure!(after == before, "{before:?} became {after:?}");
    reach(cluster)
}

/// Agents end with the first process, however it ends; pods do not.
fn all_killed(cluster: &mut Cluster) -> Result<()> {
    let before = state(cluster)?;
    let agents = ["node-2", "node-3"].map(|node| cluster.node_pid(node));
    cluster.kill()?;
    for agent in agents {
        let agent = Pid::from_raw(agent?);
        eventually(SOON, "the agents end", || {
            ensure!(kill(agent, None).is_err(), "{agent} runs");
            Ok(())
        })?;
    }
    for (_, _, address) in &before.0 {
        cluster.curl(&[&format!("http://{address}:8080/")])?;
    }
    cluster.up()?;
    let after = eventually(SOON, "the same pods are Ready", || {
        let after = state(cluster)?;
        ensure!(after == before, "{before:?} became {after:?}");
        Ok(after)
    });
    after?;
    reach(cluster)
}

/// `knarr node` with these words.
fn node_command(cluster: &Cluster, words: &[&str]) -> Result<String> {
    let mut command = cluster.knarr(&["node", "--data-dir"])?;
    command.arg(cluster.data_dir()).args(words);
    run(command, SOON)?.success()
}

/// Somebody stops a node's process and starts it again; pods do not notice.
fn stopped(cluster: &Cluster) -> Result<()> {
    let before = state(cluster)?;
    node_command(cluster, &["stop", "node-2"])?;
    let list = node_command(cluster, &["list"])?;
    let wanted = ["node-2  stopped", "node-3  runs"];
    ensure!(wanted.iter().all(|text| list.contains(text)), "{list}");
    node_command(cluster, &["start", "node-2"])?;
    let after = state(cluster)?;
    ensure!(after == before, "{before:?} became {after:?}");
    let unknown = node_command(cluster, &["stop", "node-9"]);
    ensure!(unknown.is_err(), "there is no node-9");
    Ok(())
}

/// Nobody reaches it. What can move does; it comes back, gives up what has moved, and is used again.
fn cut_off(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    shell.apply(manifest::MOVER)?;
    let pods = shell.wait_ready("app=mover", 1)?;
    let node = node_of(&pods[0]).to_owned();
    ensure!(node == "node-3", "{node}");
    node_command(cluster, &["cut", &node])?;
    let list = node_command(cluster, &["list"])?;
    ensure!(list.contains("cut off"), "{list}");
    let url = format!("http://{}:8080/", pod_ip(&pods[0]));
    let answer = cluster.curl(&["--connect-timeout", "1", &url]);
    ensure!(answer.is_err(), "it answers");
    let moved = eventually(LOST, "a pod elsewhere is Ready", || {
        let pods = shell.ready_pods("app=mover")?;
        let elsewhere = pods.iter().any(|pod| node_of(pod) != node);
        ensure!(elsewhere, "{pods:?}");
        Ok(())
    });
    node_command(cluster, &["heal", &node])?;
    moved?;
    wait_for_nodes(&shell, &NODES)?;
    shell.wait_ready("app=mover", 1)?;
    shell.run("delete deployment mover")?;
    spread(cluster)?;
    reach(cluster)
}

/// A node that is wanted no more goes with its pods.
fn fewer(cluster: &mut Cluster) -> Result<()> {
    cluster.stop()?;
    cluster.set_nodes(COUNT - 1);
    cluster.up()?;
    let shell = shell(cluster)?;
    wait_for_nodes(&shell, &NODES[..2])?;
    shell.wait_ready("app=server", 2)?;
    eventually(SOON, "its processes are gone", || {
        let left = cluster.container_processes("/hello ");
        ensure!(left.len() == 2, "{left:?}");
        Ok(())
    })?;
    let namespace = cluster.node_namespace("node-3")?;
    ensure!(!namespace.exists(), "{} is there", namespace.display());
    Ok(())
}

fn more(cluster: &mut Cluster) -> Result<()> {
    cluster.stop()?;
    cluster.set_nodes(COUNT);
    cluster.up()?;
    all_ready(cluster)?;
    spread(cluster)?;
    reach(cluster)
}

/// A command of the node that must succeed.
fn program(mut command: std::process::Command, arguments: &[&str]) -> Result<String> {
    command.args(arguments);
    run(command, SOON)?.success()
}
