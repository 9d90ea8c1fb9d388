//! Cluster DNS: the names of services and pods, and a forwarder for everything else.
//!
//! ```text
//! socket -> Message -> the cluster's zones?  yes: answered from the informers, nothing is kept twice
//!                                            no:  what the node's resolvers say, kept as long as it is true
//! ```
//!
//! Names that were known before are good until the API has told them ([`Keeper`]): a node may start while no server answers.
//!
//! Every node answers on an address of its own in each family that Services have, behind the `kube-dns` Service: a server each. Names
//! follow the specification of Kubernetes DNS-based service discovery, version 1.1.0, as CoreDNS implements it with its default
//! configuration, or with the one that the ConfigMaps `coredns` and `coredns-custom` have ([`Configuration`]).
//!
//! Rejected: a zone file that is rebuilt when objects change (a lookup in the informers costs as little), and a resolver
//! library for forwarding (what a client asks, whatever the type, should reach the resolver unchanged and come back so).

// Messages come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod cache;
mod configuration;
mod corefile;
mod fit;
mod forward;
mod frame;
mod hosts;
mod kept;
mod outside;
mod rewrite;
mod server;
mod settings;
mod wire;
mod zone;

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    path::{Path, PathBuf},
};

use knarr_client::Informers;
use tokio::net::{TcpListener, UdpSocket};
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use crate::{
    configuration::Configuration,
    kept::{Keeper, keeper},
};
use crate::{server::Server, settings::Surroundings, zone::Zone};

/// Where and for which domain to answer.
#[derive(Clone, Debug)]
pub struct Config {
    /// An address that the node has.
    pub listen: IpAddr,
    pub port: u16,
    /// `cluster.local`, without a trailing dot.
    pub cluster_domain: String,
    /// Where a [`Keeper`] has left the names of before, for as long as the API has told none.
    pub kept: Option<PathBuf>,
}

/// Why the DNS server could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cluster domain {domain:?} is not a domain name")]
    Domain {
        domain: String,
        #[source]
        source: hickory_proto::ProtoError,
    },
    #[error("cannot listen on {address} for DNS")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
}

/// The DNS server of a node.
pub struct Dns {
    server: Server,
    udp: UdpSocket,
    tcp: TcpListener,
}

impl Dns {
    /// Takes the ports. Informers should read as `system:serviceaccount:kube-system:kube-dns`.
    pub async fn new(
        config: Config,
        informers: &Informers,
        configuration: &Configuration,
    ) -> Result<Self, Error> {
        let invalid = |source| Error::Domain {
            domain: config.cluster_domain.clone(),
            source,
        };
        let zone = Zone::new(&config.cluster_domain, informers).map_err(invalid)?;
        let kept = match &config.kept {
            Some(path) => kept::zone(&config.cluster_domain, path).map_err(invalid)?,
            None => None,
        };
        let address = SocketAddr::new(config.listen, config.port);
        let listen = |source| Error::Listen { address, source };
        let udp = UdpSocket::bind(address).await.map_err(listen)?;
        let tcp = TcpListener::bind(address).await.map_err(listen)?;
        Ok(Self {
            server: Server::new(zone, kept, configuration.live()),
            udp,
            tcp,
        })
    }

    /// What is answered to a message that nobody else is asked about: `None` for what is foreign, or no query at all.
    pub fn answer(&self, message: &[u8], tcp: bool) -> Option<Vec<u8>> {
        self.server.answer(message, tcp)
    }

    /// Answers until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        self.server.run(self.udp, self.tcp, token).await;
    }
}

/// What a configuration is for: a cluster's domain, the node's resolvers (see [`node_resolvers`]), and the addresses at which its DNS
/// servers are asked, those of their Service among them, which are no resolvers of theirs.
///
/// # Errors
/// When the domain is none.
pub fn surroundings(
    cluster_domain: &str,
    resolvers: Vec<SocketAddr>,
    own: Vec<IpAddr>,
) -> Result<Surroundings, Error> {
    let name = zone::domain(cluster_domain).map_err(|source| Error::Domain {
        domain: cluster_domain.to_owned(),
        source,
    })?;
    let is_own = |resolver: &SocketAddr| own.contains(&resolver.ip());
    let (ours, resolvers): (Vec<_>, Vec<_>) = resolvers.into_iter().partition(is_own);
    if !ours.is_empty() {
        info!(
            ?ours,
            "the node's resolvers include this server, which does not ask itself"
        );
    }
    Ok(Surroundings {
        cluster_domain: name,
        resolvers,
        own,
    })
}

/// The resolvers of a `resolv.conf`; the empty list where it cannot be read. Loopback ones count: they are the node's.
pub fn node_resolvers(path: &Path) -> Vec<SocketAddr> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        if words.next()? != "nameserver" {
            return None;
        }
        resolver(words.next()?)
    });
    servers.collect()
}

/// An address, which may name the link it is on: `fe80::1%eth0`.
fn resolver(text: &str) -> Option<SocketAddr> {
    const PORT: u16 = 53;
    let Some((address, link)) = text.split_once('%') else {
        return Some(SocketAddr::new(text.parse().ok()?, PORT));
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let plain = link
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let index = match link.parse() {
        Ok(index) => index,
        Err(_) if plain && !link.starts_with('.') => {
            let index =
                std::fs::read_to_string(Path::new("/sys/class/net").join(link).join("ifindex"));
            index.ok()?.trim().parse().ok()?
        }
        Err(_) => return None,
    };
    Some(SocketAddrV6::new(address, PORT, 0, index).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_from_resolv_conf() {
        let dir = std::env::temp_dir().join(format!("knarr-dns-{}", std::process::id()));
        std::fs::write(
            &dir,
            "# x\nsearch a.b\nnameserver 10.0.0.1\nnameserver bad\nnameserver fd00::1\n",
        )
        .unwrap();
        let found = node_resolvers(&dir);
        std::fs::remove_file(&dir).unwrap();
        let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["10.0.0.1:53", "[fd00::1]:53"]);
        let texts = |text| resolver(text).map(|found| found.to_string());
        assert_eq!(texts("fe80::1%7").as_deref(), Some("[fe80::1%7]:53"));
        assert_eq!(texts("fe80::1%lo").as_deref(), Some("[fe80::1%1]:53"));
        for bad in [
            "fe80::1%",
            "fe80::1%none such",
            "fe80::1%../lo",
            "10.0.0.1%lo",
        ] {
            assert_eq!(texts(bad), None, "{bad}");
        }
        assert!(node_resolvers(&dir).is_empty());
    }
}
