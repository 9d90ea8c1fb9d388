//! Ports of the node on 127.0.0.1: for its own programs, and for nobody else.

use std::{path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{NODE_IP, eventually, run};

use super::{
    balancing::meet_both,
    manifest::{CLUSTER_PORT, HOST_PORT, LOCAL_HOST_PORT, LOCAL_PORT},
    program,
};
use crate::support::{SOON, Shell, field};

/// How curl says that nobody answered in time.
const TIMED_OUT: &str = "curl: (28)";
const API_PORT: u16 = 6443;

/// Node ports and host ports, as people are used to from k3s.
pub fn own_programs(shell: &Shell<'_>) -> Result<()> {
    for host in ["127.0.0.1", "localhost", NODE_IP] {
        meet_both(shell, &format!("http://{host}:{CLUSTER_PORT}/"))?;
        meet_both(shell, &format!("http://{host}:{LOCAL_PORT}/"))?;
        let page = shell
            .cluster
            .curl(&[&format!("http://{host}:{HOST_PORT}/")])?;
        ensure!(field(&page, "host") == "alpha", "{page}");
    }
    let page = shell
        .cluster
        .curl(&[&format!("http://127.0.0.1:{LOCAL_HOST_PORT}/")])?;
    ensure!(field(&page, "host") == "beta", "{page}");
    let elsewhere = shell
        .cluster
        .curl(&[&format!("http://{NODE_IP}:{LOCAL_HOST_PORT}/")]);
    ensure!(
        elsewhere.is_err(),
        "a host port of 127.0.0.1 answers on {NODE_IP}"
    );
    Ok(())
}

/// Neither a machine beside the node nor a pod reaches what listens on the node's 127.0.0.1 (CVE-2020-8558), not even where
/// every link of the node would take such packets, as kube-proxy and Docker make it.
pub fn others(shell: &Shell<'_>) -> Result<()> {
    let node = shell.cluster.command("sh");
    program(
        node,
        &["-c", "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet"],
    )?;
    let pods = shell.cluster.container_processes("httpd ");
    let pod = format!("/proc/{}/ns/net", pods.first().context("pod shy runs")?);
    let beside = shell.cluster.network().client_path();
    for (who, namespace, way) in [
        (
            "a machine beside",
            beside.as_path(),
            format!("via {NODE_IP}"),
        ),
        (
            "a pod",
            Path::new(&pod),
            "via 169.254.1.1 dev eth0 onlink".to_owned(),
        ),
    ] {
        let attacker = Attacker { namespace };
        attacker.prepare(&way)?;
        for port in [API_PORT, CLUSTER_PORT, HOST_PORT] {
            let said = attacker.connect(port)?;
            ensure!(said.contains(TIMED_OUT), "{who}, port {port}: {said}");
        }
    }
    // Without the rule the machine beside does get through: the attempts above were good ones.
    let attacker = Attacker { namespace: &beside };
    let table = format!("knarr-cni-{}", shell.cluster.instance()?);
    let rules = ["ip daddr", "ip saddr"]
        .map(|of| format!("add rule ip {table} loopback iifname != lo {of} 127.0.0.0/8 drop"));
    let nft = |line: &str| {
        program(
            shell.cluster.command("nft"),
            &line.split(' ').collect::<Vec<_>>(),
        )
    };
    nft(&format!("flush chain ip {table} loopback"))?;
    let open = eventually(SOON, "the attack succeeds without the rule", || {
        let said = attacker.connect(API_PORT)?;
        ensure!(said.contains("ok"), "{said}");
        Ok(())
    });
    for rule in rules {
        nft(&rule)?;
    }
    open
}

/// Who sends packets for 127.0.0.1 to the node: root in a namespace of its own.
struct Attacker<'a> {
    namespace: &'a Path,
}

impl Attacker<'_> {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.namespace.display()));
        command.arg(program);
        command
    }

    fn prepare(&self, way: &str) -> Result<()> {
        let script = format!(
            "echo 1 > /proc/sys/net/ipv4/conf/all/route_localnet; ip address delete 127.0.0.1/8 dev lo; \
             ip route replace 127.0.0.1/32 {way}"
        );
        program(self.command("sh"), &["-ec", &script]).map(drop)
    }

    /// What curl says.
    fn connect(&self, port: u16) -> Result<String> {
        let scheme = if port == API_PORT { "https" } else { "http" };
        let url = format!("{scheme}://127.0.0.1:{port}/readyz");
        let mut command = self.command("curl");
        command.args([
            "--silent",
            "--show-error",
            "--insecure",
            "--max-time",
            "1",
            &url,
        ]);
        let output = run(command, SOON)?;
        Ok(format!("{}{}", output.stdout, output.stderr))
    }
}
