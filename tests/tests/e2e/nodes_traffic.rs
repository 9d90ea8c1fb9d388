//! Traffic between nodes: who reaches what by which kind of Service and under which address, and what network policies make of it.

mod manifest;
mod policies;
mod services;

use std::{collections::BTreeMap, ffi::OsStr, process::Command, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, run};

use crate::support::{Shell, newest, step, with_cluster};

const COUNT: u8 = 3;
/// How long an answer is waited for that may never come.
const PATIENCE_SECONDS: &str = "2";
/// What a pod says that has waited in vain.
const FAILED: &str = "in vain";
/// Longest wait for a program.
const DEADLINE: Duration = Duration::from_secs(30);
/// Exit codes of curl: nobody listens, and nobody answers.
const REFUSED: i32 = 7;
const SILENT: i32 = 28;

#[test]
fn traffic_between_nodes() {
    let options = Options {
        nodes: COUNT,
        ..Options::default()
    };
    with_cluster(options, |cluster| {
        step("up", || cluster.up())?;
        let site = step("apply", || Site::prepare(cluster))?;
        step("Services", || services::reached(&site))?;
        step("network policies", || policies::kept(&site))?;
        // Last: a pod is made anew, with another address.
        step("traffic that stays near", || services::near(&site))?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

/// Pods and addresses of a cluster, by short names: `p1` to `p3` are pods of the nodes `n1` to `n3`, `q` one of another namespace on
/// the third; `h1` to `h3` are programs of the nodes themselves, and `client` is a machine beside the first.
struct Site<'a> {
    cluster: &'a Cluster,
    addresses: BTreeMap<&'static str, String>,
    namespaces: BTreeMap<&'static str, std::path::PathBuf>,
}

/// What becomes of a call.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// What the one that answers says.
    Page(String),
    Refused,
    Silent,
}

impl<'a> Site<'a> {
    fn prepare(cluster: &'a Cluster) -> Result<Self> {
        let shell = Shell::new(cluster, newest()?, "default");
        shell.apply(&manifest::text())?;
        shell.wait_ready("app=web", 3)?;
        let other = Shell::new(cluster, newest()?, manifest::OTHER);
        other.apply(&manifest::other())?;
        other.wait_ready("app=web", 1)?;
        for (service, address) in manifest::BALANCERS {
            let status =
                format!(r#"{{"status":{{"loadBalancer":{{"ingress":[{{"ip":"{address}"}}]}}}}}}"#);
            let patch = [
                "patch",
                "service",
                service,
                "--subresource=status",
                "--type=merge",
                "-p",
                &status,
            ];
            shell.words(&patch)?;
        }
        // Addresses of load balancers lead to the first node.
        let range = ["route", "replace", manifest::BALANCERS_RANGE];
        let ways = [
            (cluster.command("ip"), ["dev", "node0"]),
            (cluster.client_command("ip"), ["via", NODE_IP]),
        ];
        for (mut command, way) in ways {
            command.args(range).args(way);
            run(command, DEADLINE)?.success()?;
        }
        let mut site = Self {
            cluster,
            addresses: BTreeMap::from([("client", "192.0.2.2".to_owned())]),
            namespaces: BTreeMap::new(),
        };
        for (pod, shell) in [
            ("p1", &shell),
            ("p2", &shell),
            ("p3", &shell),
            ("q", &other),
        ] {
            site.addresses
                .insert(pod, shell.path(&format!("pod {pod}"), "{.status.podIP}")?);
        }
        for (node, name) in [("n1", "node"), ("n2", "node-2"), ("n3", "node-3")] {
            let path = "{.status.addresses[?(@.type==\"InternalIP\")].address}";
            site.addresses
                .insert(node, shell.path(&format!("node {name}"), path)?);
        }
        for (host, node) in [("h2", "node-2"), ("h3", "node-3")] {
            site.namespaces.insert(host, cluster.node_namespace(node)?);
        }
        for service in ["web", "inner"] {
            let address = shell.path(&format!("service {service}"), "{.spec.clusterIP}")?;
            site.addresses.insert(service, address);
        }
        Ok(site)
    }

    fn address(&self, name: &str) -> Result<&str> {
        let address = self.addresses.get(name);
        address
            .map(String::as_str)
            .with_context(|| format!("nothing is called {name}"))
    }

    /// What somebody is told who asks for a URL.
    fn ask(&self, from: &str, url: &str) -> Result<Answer> {
        let cluster = self.cluster;
        match from {
            "h1" => answer(cluster.command("curl"), url),
            "client" => answer(cluster.client_command("curl"), url),
            host if host.starts_with('h') => {
                let namespace = self.namespaces.get(host).context("no such node")?;
                answer(enter(namespace, "curl"), url)
            }
            pod => {
                let namespace = if pod == "q" {
                    manifest::OTHER
                } else {
                    "default"
                };
                let shell = Shell::new(cluster, newest()?, namespace);
                let script = format!(
                    "timeout {PATIENCE_SECONDS} wget -q -O - '{url}' 2>&1 || echo {FAILED}"
                );
                let said = shell.words(&["exec", pod, "-c", "shell", "--", "sh", "-c", &script])?;
                Ok(match said {
                    said if said.contains("refused") || said.contains("reset") => Answer::Refused,
                    said if said.contains(FAILED) => Answer::Silent,
                    said => Answer::Page(said.trim().to_owned()),
                })
            }
        }
    }
}

fn answer(mut curl: Command, url: &str) -> Result<Answer> {
    curl.args(["--silent", "--max-time", PATIENCE_SECONDS, url]);
    let output = run(curl, DEADLINE)?;
    match output.status.code() {
        Some(0) => Ok(Answer::Page(output.stdout.trim().to_owned())),
        Some(REFUSED) => Ok(Answer::Refused),
        Some(SILENT) => Ok(Answer::Silent),
        _ => bail!("{output}"),
    }
}

/// A program in a network namespace.
fn enter(namespace: &std::path::Path, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net={}", namespace.display()))
        .arg(program);
    command
}

/// All that went wrong, together.
fn none_of(wrong: Vec<String>, cells: usize) -> Result<()> {
    ensure!(
        wrong.is_empty(),
        "{} of {cells} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    println!("        {cells} cells");
    Ok(())
}
