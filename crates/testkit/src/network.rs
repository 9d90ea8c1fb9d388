//! A network for a cluster: one namespace for the node, one for a client beside it, a cable between them, no way out.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::command;

/// The node's address, of a range that is reserved for documentation: nobody's.
pub const NODE_IP: &str = "192.0.2.1";
const CLIENT_IP: &str = "192.0.2.2";
const PREFIX: &str = "24";

const NAMESPACES: &str = "/run/netns";
const NSENTER: &str = "/usr/bin/nsenter";
const IP_DEADLINE: Duration = Duration::from_secs(10);

/// A pair of connected network namespaces; removed when dropped.
pub struct Network {
    name: String,
}

impl Network {
    /// Makes the namespaces `NAME` and `NAME-client`.
    pub fn new(name: &str) -> Result<Self> {
        let network = Self {
            name: name.to_owned(),
        };
        let client = network.client_name();
        ip(&["netns", "add", name])?;
        ip(&["netns", "add", &client])?;
        ip(&[
            "-n", name, "link", "add", "node0", "type", "veth", "peer", "name", "client0", "netns",
            &client,
        ])?;
        for (namespace, link, address) in
            [(name, "node0", NODE_IP), (&client, "client0", CLIENT_IP)]
        {
            ip(&[
                "-n",
                namespace,
                "address",
                "add",
                &format!("{address}/{PREFIX}"),
                "dev",
                link,
            ])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", link, "up"])?;
        }
        Ok(network)
    }

    /// Removes what a process left that was killed.
    pub fn remove(name: &str) {
        delete(name);
    }

    /// A program to be run on the node.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        enter(&self.path(), program.as_ref())
    }

    /// A program to be run on the machine beside the node.
    pub fn client_command(&self, program: impl AsRef<OsStr>) -> Command {
        enter(&self.client_path(), program.as_ref())
    }

    /// The node's namespace.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(&self.name)
    }

    /// The namespace of the machine beside the node.
    pub fn client_path(&self) -> PathBuf {
        Path::new(NAMESPACES).join(self.client_name())
    }

    /// Takes a port of the node; given back when dropped.
    pub fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        listen(&self.path(), address)
    }

    /// What was added to the node's namespace since it was made: links, routes, nft tables.
    pub fn additions(&self) -> Result<Vec<String>> {
        let run = |program: &str, arguments: &[&str]| -> Result<String> {
            let mut command = self.command(program);
            command.args(arguments);
            command::run(command, IP_DEADLINE)?.success()
        };
        let links = run("ip", &["-brief", "link"])?;
        let links = links
            .lines()
            .filter(|line| !line.starts_with("lo ") && !line.starts_with("node0@"))
            .map(|line| format!("link {line}"));
        let addresses = run("ip", &["-4", "-oneline", "address"])?
            + &run(
                "ip",
                &["-6", "-oneline", "address", "show", "scope", "global"],
            )?;
        let addresses = addresses
            .lines()
            .filter(|line| !line.contains(" 127.0.0.1/8 ") && !line.contains(NODE_IP))
            .map(|line| format!("address {line}"));
        let routes = run("ip", &["-4", "route", "show", "table", "all"])?
            + &run("ip", &["-6", "route", "show", "table", "main"])?;
        let routes = routes
            .lines()
            .filter(|line| !line.contains("dev node0") && !line.contains("dev lo "))
            .map(|line| format!("route {line}"));
        let rules = run("ip", &["rule"])?;
        let rules = rules
            .lines()
            .filter(|line| {
                !["0:", "32766:", "32767:"]
                    .iter()
                    .any(|usual| line.starts_with(usual))
            })
            .map(|line| format!("rule {line}"));
        let tables = run("nft", &["list", "tables"])?;
        let tables = tables.lines().map(|line| format!("nft {line}"));
        Ok(links
            .chain(addresses)
            .chain(routes)
            .chain(rules)
            .chain(tables)
            .collect())
    }

    fn client_name(&self) -> String {
        format!("{}-client", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        delete(&self.name);
    }
}

/// Deletes the namespaces of a network. Its links and rules go with them.
pub fn delete(name: &str) {
    for name in [name.to_owned(), format!("{name}-client")] {
        if Path::new(NAMESPACES).join(&name).exists()
            && let Err(error) = ip(&["netns", "delete", &name])
        {
            eprintln!("testkit: {error:#}");
        }
    }
}

/// Opens a connection from within a namespace. A socket belongs to the namespace of the thread that made it, whoever
/// uses it later; so one thread goes there and does nothing else.
#[cfg(feature = "client")]
pub fn connect(
    namespace: &Path,
    address: SocketAddr,
    deadline: Duration,
) -> io::Result<std::net::TcpStream> {
    let namespace = namespace.to_owned();
    let there = thread::spawn(move || {
        setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
        std::net::TcpStream::connect_timeout(&address, deadline)
    });
    there
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the connecting thread panicked")))
}

/// Listens within a namespace, to have a port in use.
fn listen(namespace: &Path, address: SocketAddr) -> io::Result<TcpListener> {
    let namespace = namespace.to_owned();
    let there = thread::spawn(move || {
        setns(File::open(namespace)?, CloneFlags::CLONE_NEWNET)?;
        TcpListener::bind(address)
    });
    there
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the listening thread panicked")))
}

fn enter(namespace: &Path, program: &OsStr) -> Command {
    let mut net = std::ffi::OsString::from("--net=");
    net.push(namespace);
    let mut command = Command::new(NSENTER);
    command.arg(net).arg("--").arg(program);
    command
}

fn ip(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(arguments);
    command::run(command, IP_DEADLINE)
        .and_then(command::Output::success)
        .map(drop)
        .context("cannot set up a network (Debian's iproute2)")
}
