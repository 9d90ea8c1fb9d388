//! What becomes of clients when endpoints come and go.

use std::{process::Command, thread, time::Instant};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{NODE_IP, eventually, run};

use super::{
    balancing::healthy,
    cluster_ip,
    manifest::{LATE_PORT, NAMES_PORT, NEAR_CHECK, PERL},
};
use crate::support::{SOON, Shell};

/// Asks a name once, from a port of one's own: arguments are address, port and own port.
const ASK: &str = r#"my ($address, $port, $own) = @ARGV;
socket(S, PF_INET, SOCK_DGRAM, 0) or die; bind(S, pack_sockaddr_in($own, INADDR_ANY)) or die "bind: $!";
send(S, "who", 0, pack_sockaddr_in($port, inet_aton($address))) or die "send: $!";
my $set = ""; vec($set, fileno(S), 1) = 1; select($set, undef, undef, 0.5) or die "no answer";
defined recv(S, my $name, 1500, 0) or die "refused: $!"; print $name;"#;
/// A UDP client's flow lives for 30 seconds or more, and anew after each of its packets: who waits less sees whether it was
/// deleted.
const FLOW_SECONDS: u64 = 30;
const FIRST_PORT: u16 = 4001;
/// Ports that do not all lead to the same of two pods by chance.
const PORTS: u16 = 30;

/// Who asks.
#[derive(Clone, Copy, Debug)]
enum Caller {
    Node,
    Pod,
    /// The machine beside the node.
    Outside,
}

/// A client and whom it asks.
#[derive(Clone, Debug)]
struct Client {
    caller: Caller,
    address: String,
    port: u16,
}

impl Client {
    fn ask(&self, shell: &Shell<'_>, own: u16) -> Result<String> {
        let (port, own) = (self.port.to_string(), own.to_string());
        let arguments = ["-MSocket", "-e", ASK, &self.address, &port, &own];
        let perl = |mut command: Command| {
            command.args(arguments);
            run(command, SOON)?.success()
        };
        match self.caller {
            Caller::Node => perl(shell.cluster.command("perl")),
            Caller::Outside => perl(shell.cluster.client_command("perl")),
            Caller::Pod => {
                let mut words = vec!["exec", "caller", "--", PERL];
                words.extend(arguments);
                shell.words(&words)
            }
        }
    }

    /// A port of its own whose flow leads to `pod`.
    fn port_of(&self, shell: &Shell<'_>, pod: &str) -> Result<u16> {
        let mut ports = FIRST_PORT..FIRST_PORT + PORTS;
        let found = ports.find(|own| self.ask(shell, *own).is_ok_and(|name| name == pod));
        found.with_context(|| format!("no flow of {self:?} leads to {pod}"))
    }
}

fn clients(shell: &Shell<'_>) -> Result<[Client; 5]> {
    let inside = cluster_ip(shell, "names")?;
    let client = |caller, address: &str, port| Client {
        caller,
        address: address.to_owned(),
        port,
    };
    Ok([
        client(Caller::Node, &inside, 9000),
        client(Caller::Pod, &inside, 9000),
        client(Caller::Node, "127.0.0.1", NAMES_PORT),
        client(Caller::Outside, NODE_IP, NAMES_PORT),
        client(Caller::Pod, NODE_IP, NAMES_PORT),
    ])
}

pub fn udp(shell: &Shell<'_>) -> Result<()> {
    for client in clients(shell)? {
        for pod in ["alpha", "beta"] {
            let own = client.port_of(shell, pod)?;
            let again = client.ask(shell, own)?;
            ensure!(again == pod, "{client:?}: {again} after {pod}");
        }
    }
    Ok(())
}

/// A client that asks before there is an endpoint, and goes on asking.
pub fn first_endpoint(shell: &Shell<'_>) -> Result<()> {
    let client = |caller, address: String, port| Client {
        caller,
        address,
        port,
    };
    let waiting = [
        client(Caller::Outside, NODE_IP.to_owned(), LATE_PORT),
        client(Caller::Node, cluster_ip(shell, "late")?, 9000),
        client(Caller::Pod, cluster_ip(shell, "late")?, 9000),
    ];
    let own = FIRST_PORT + PORTS;
    for client in &waiting {
        let answer = client.ask(shell, own);
        ensure!(answer.is_err(), "{client:?}: {answer:?}");
    }
    shell.run("label pod alpha app=late --overwrite")?;
    let started = Instant::now();
    for client in &waiting {
        eventually(SOON, &format!("{client:?} gets an answer"), || {
            client.ask(shell, own)
        })?;
    }
    ensure!(
        started.elapsed().as_secs() < FLOW_SECONDS,
        "only after {:?}",
        started.elapsed()
    );
    shell.run("label pod alpha app=pair --overwrite")?;
    shell.wait_ready("app=pair", 2)?;
    Ok(())
}

/// A request under way is not disturbed by a change of its service, not even when its endpoint leaves.
pub fn established(shell: &Shell<'_>) -> Result<()> {
    const DELAY_MS: u32 = 2000;
    const SLOW_REQUESTS: usize = 4;
    let url = format!("http://{}/", cluster_ip(shell, "pair")?);
    let slow = format!("{url}delay?ms={DELAY_MS}");
    let requests: Vec<_> = (0..SLOW_REQUESTS)
        .map(|_| {
            let mut command = shell.cluster.command("curl");
            command.args([
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "20",
                &slow,
            ]);
            thread::spawn(move || run(command, SOON))
        })
        .collect();
    eventually(SOON, "all are connected", || {
        let mut command = shell.cluster.command("cat");
        command.arg("/proc/net/tcp");
        let table = run(command, SOON)?.success()?;
        let open = table.lines().filter(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            // Port 80 at the other end, established.
            fields.len() > 3 && fields[2].ends_with(":0050") && fields[3] == "01"
        });
        ensure!(open.count() == SLOW_REQUESTS, "{table}");
        Ok(())
    })?;
    shell.run("label pod alpha app=away --overwrite")?;
    eventually(SOON, "only the other pod is met", || {
        for _ in 0..10 {
            let page = shell.cluster.curl(&[&url])?;
            ensure!(page.contains("host: beta"), "{page}");
        }
        Ok(())
    })?;
    for request in requests {
        let ended = request
            .join()
            .map_err(|_| anyhow::anyhow!("a request panicked"))?;
        ended?.success()?;
    }
    shell.run("label pod alpha app=pair --overwrite")?;
    shell.wait_ready("app=pair", 2)?;
    Ok(())
}

pub fn deleted_pod(shell: &Shell<'_>) -> Result<()> {
    let clients = clients(shell)?;
    let mut flows = Vec::new();
    for client in clients {
        let own = eventually(SOON, "the pod answers", || client.port_of(shell, "alpha"))?;
        flows.push((client, own));
    }
    shell.run("delete pod alpha")?;
    let deleted = Instant::now();
    for (client, own) in &flows {
        eventually(SOON, &format!("{client:?} meets the other pod"), || {
            let name = client.ask(shell, *own)?;
            ensure!(name == "beta", "{name}");
            Ok(())
        })?;
    }
    ensure!(
        deleted.elapsed().as_secs() < FLOW_SECONDS,
        "only after {:?}",
        deleted.elapsed()
    );
    // Load balancers are told as well.
    healthy(shell, "near", NEAR_CHECK, 1, "200")
}
