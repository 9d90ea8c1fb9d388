//! Another machine becomes a node by one command, and only with what it takes.

use std::{
    fs,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, NODE_IP, Options, eventually, run};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{manifest, pod_ip, program, ready_nodes, shell, wait_for_nodes};
use crate::support::{SOON, Shell, name, newest, step, with_cluster};

const CLIENT_IP: &str = "192.0.2.2";
const TOKEN: &str = "abcdef.0123456789abcdef";

#[test]
fn a_machine_joins_by_one_command() {
    with_cluster(Options::default(), |cluster| {
        step("up", || cluster.up())?;
        step("what does not join", || refused(cluster))?;
        step("a token", || token_secret(cluster))?;
        step("a name that is taken", || name_taken(cluster))?;
        let mut agent = Agent::start(cluster)?;
        step("it joins", || {
            wait_for_nodes(&shell(cluster)?, &["node", "worker"])
        })?;
        step("its pods", || pods(cluster))?;
        step("it stops and starts without a token", || {
            agent.restart(cluster)
        })?;
        step("the server goes and comes back", || away(cluster))?;
        step("it starts while the server is away", || {
            agent.alone(cluster)
        })?;
        step("it is taken down", || agent.down(cluster))?;
        step("knarr down", || cluster.down(&[]))?;
        cluster.assert_gone()
    });
}

/// `knarr agent` on the machine beside the node.
fn command(cluster: &Cluster, flags: &[String]) -> Result<Command> {
    let mut command = cluster.client_command(knarr_testkit::knarr_binary()?);
    command
        .arg("agent")
        .arg(format!("--server=https://{NODE_IP}:6443"))
        .arg("--data-dir")
        .arg(data_dir(cluster))
        .arg(format!("--node-ip={CLIENT_IP}"))
        .arg(format!("--cgroup-root={}", cluster.cgroup_root()))
        .args(flags);
    Ok(command)
}

fn data_dir(cluster: &Cluster) -> std::path::PathBuf {
    cluster.directory().join("agent")
}

/// The hash of the authority's key, as kubeadm's documentation tells to make it.
fn hash(cluster: &Cluster) -> Result<String> {
    let authority = cluster.data_dir().join("pki/ca.crt");
    let script = format!(
        "openssl x509 -pubkey -noout -in {} | openssl pkey -pubin -outform der | openssl dgst -sha256 -hex",
        authority.display()
    );
    let text = program(cluster.command("sh"), &["-c", &script])?;
    let digits = text.trim().rsplit(' ').next();
    Ok(digits.context("no hash")?.to_owned())
}

fn flags(name: &str, token: &str) -> Vec<String> {
    vec![format!("--node-name={name}"), format!("--token={token}")]
}

fn refused(cluster: &Cluster) -> Result<()> {
    let hash = hash(cluster)?;
    let other = "0".repeat(64);
    let cases = [
        (vec!["--node-name=worker".to_owned()], "token"),
        (
            flags("worker", &format!("{TOKEN}@sha256:{other}")),
            "authority",
        ),
        (flags("worker", &format!("{TOKEN}@sha256:{hash}")), "token"),
        (flags("worker", TOKEN), "token"),
    ];
    for (flags, about) in cases {
        let line = line(cluster, &flags)?;
        ensure!(line.contains(about), "{flags:?}: {line}");
    }
    let nodes = ready_nodes(&shell(cluster)?)?;
    ensure!(nodes.len() == 1, "{nodes:?}");
    Ok(())
}

/// The one line by which an agent ends that cannot join.
fn line(cluster: &Cluster, flags: &[String]) -> Result<String> {
    let output = run(command(cluster, flags)?, SOON)?;
    ensure!(!output.status.success(), "it joined: {output}");
    let text = output.stderr.trim().to_owned();
    // Before it there may be the log.
    let last = text.lines().last().unwrap_or_default();
    ensure!(last.starts_with("knarr: "), "{output}");
    Ok(last.to_owned())
}

/// As upstream's documentation has it.
fn token_secret(cluster: &Cluster) -> Result<String> {
    Shell::new(cluster, newest()?, "kube-system").apply(
        "
apiVersion: v1
kind: Secret
metadata: {name: bootstrap-token-abcdef, namespace: kube-system}
type: bootstrap.kubernetes.io/token
stringData:
  token-id: abcdef
  token-secret: 0123456789abcdef
  usage-bootstrap-authentication: 'true'
",
    )
}

fn pods(cluster: &Cluster) -> Result<()> {
    let shell = shell(cluster)?;
    shell.apply(&manifest::pods())?;
    let servers = shell.wait_ready("app=server", 2)?;
    for caller in shell.wait_ready("app=caller", 2)? {
        for server in &servers {
            let url = format!("http://{}:8080/clientip", pod_ip(server));
            let seen = eventually(SOON, "pods of two machines reach each other", || {
                shell.run(&format!(
                    "exec {} -- timeout 5 wget -q -O - {url}",
                    name(&caller)
                ))
            })?;
            ensure!(seen.trim() == pod_ip(&caller), "{seen} from {caller}");
        }
        shell.run(&format!(
            "exec {} -- timeout 5 wget -q -O - http://server.default.svc.cluster.local/",
            name(&caller)
        ))?;
    }
    Ok(())
}

/// A machine with a token is not yet every node.
fn name_taken(cluster: &Cluster) -> Result<()> {
    let token = format!("{TOKEN}@sha256:{}", hash(cluster)?);
    let line = line(cluster, &flags("node", &token))?;
    for wanted in ["node", "--node-name"] {
        ensure!(line.contains(wanted), "{line}");
    }
    Ok(())
}

/// Answers go on while there is no server.
fn away(cluster: &mut Cluster) -> Result<()> {
    let servers = shell(cluster)?.wait_ready("app=server", 2)?;
    cluster.kill()?;
    for server in &servers {
        cluster.client_curl(&[&format!("http://{}:8080/", pod_ip(server))])?;
    }
    cluster.up()?;
    let shell = shell(cluster)?;
    wait_for_nodes(&shell, &["node", "worker"])?;
    // The agent has found its server again: it takes new pods.
    shell.run("rollout restart daemonset/server")?;
    shell.run("rollout status daemonset/server --timeout=60s")?;
    Ok(())
}

fn agent_log(cluster: &Cluster) -> String {
    fs::read_to_string(cluster.directory().join("agent.log")).unwrap_or_default()
}

struct Agent(Option<Child>);

impl Agent {
    fn start(cluster: &Cluster) -> Result<Self> {
        let token = format!("{TOKEN}@sha256:{}", hash(cluster)?);
        Self::spawn(cluster, &flags("worker", &token))
    }

    fn spawn(cluster: &Cluster, flags: &[String]) -> Result<Self> {
        let mut command = command(cluster, flags)?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(cluster.directory().join("agent.log"))?;
        let images = knarr_testkit::images()?;
        let child = command
            .arg("--image-dir")
            .arg(images)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(Some(child)))
    }

    fn stop(&mut self) -> Result<()> {
        let mut child = self.0.take().context("it runs")?;
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
        let status = child.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }

    fn restart(&mut self, cluster: &Cluster) -> Result<()> {
        self.stop()?;
        *self = Self::spawn(cluster, &["--node-name=worker".to_owned()])?;
        let shell = shell(cluster)?;
        shell.run("rollout restart daemonset/caller")?;
        shell.run("rollout status daemonset/caller --timeout=60s")?;
        Ok(())
    }

    /// What is there goes on, static pods start, and the node is there when the server is.
    fn alone(&mut self, cluster: &mut Cluster) -> Result<()> {
        let servers = shell(cluster)?.wait_ready("app=server", 2)?;
        cluster.kill()?;
        let mut child = self.0.take().context("it runs")?;
        child.kill()?;
        child.wait()?;
        let manifests = cluster.directory().join("static");
        fs::create_dir(&manifests)?;
        fs::write(manifests.join("early.json"), manifest::early())?;
        let directory = format!("--pod-manifest-path={}", manifests.display());
        *self = Self::spawn(cluster, &["--node-name=worker".to_owned(), directory])?;
        eventually(SOON, "a static pod runs", || {
            let found = cluster.container_processes(manifest::EARLY);
            ensure!(!found.is_empty(), "{}", agent_log(cluster));
            Ok(())
        })?;
        for server in &servers {
            cluster.client_curl(&[&format!("http://{}:8080/", pod_ip(server))])?;
        }
        let told = agent_log(cluster);
        let waits = "the node starts with what it has from the last time, and waits for a server";
        ensure!(told.matches(waits).count() == 1, "{told}");
        cluster.up()?;
        let shell = shell(cluster)?;
        wait_for_nodes(&shell, &["node", "worker"])?;
        shell.run("wait --for=condition=Ready pod/early-worker --timeout=60s")?;
        let now = shell.wait_ready("app=server", 2)?;
        ensure!(
            super::identities(&now) == super::identities(&servers),
            "{now:?}"
        );
        shell.run("rollout restart daemonset/server")?;
        shell.run("rollout status daemonset/server --timeout=60s")?;
        Ok(())
    }

    /// With its containers, networks and rules.
    fn down(&mut self, cluster: &Cluster) -> Result<()> {
        let mut command = cluster.client_command(knarr_testkit::knarr_binary()?);
        command
            .args(["down", "--purge", "--data-dir"])
            .arg(data_dir(cluster));
        run(command, SOON)?.success()?;
        let status = self.0.take().context("it runs")?.wait()?;
        ensure!(status.success(), "{status}");
        let left = program(cluster.client_command("nft"), &["list", "tables"])?;
        ensure!(left.trim().is_empty(), "{left}");
        ensure!(!data_dir(cluster).exists(), "its directory is there");
        Ok(())
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
