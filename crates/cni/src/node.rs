//! What a node needs once before its pods can talk: forwarding, masquerade, host ports, and a fence around pod and service
//! addresses.
//!
//! Everything is in one table of nf_tables, a few routes and an address, all of which bear the cluster's identity; [`prepare`] may run
//! any number of times and keeps the elements that running pods depend on, [`teardown`] removes all of it and nothing else.
//! A network namespace has one cluster: [`check`] tells before anything is made.

mod address;
mod claim;
mod forwarding;
mod keep;
mod moved;
pub(crate) mod others;
mod routes;
mod rules;
mod stand_in;
mod survey;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use knarr_meta::prefix::Prefix;
use knarr_nft::{Family, Kernel, Netlink, Table, Transaction, Watched};

use crate::{InstanceId, rtnl, trust};
pub use address::{detect_node_ip, source_towards};
pub(crate) use forwarding::forward;
pub use keep::{Kept, Leases};
pub use moved::moved;
pub(crate) use rules::{FROM_PEERS, RAW, TO_PEERS, TUNNEL, hostport_maps};
pub use survey::overlap;
pub(crate) use survey::used;

/// Longest comment of a table that we write; nft's limit is 128 bytes.
const COMMENT_LIMIT_BYTES: usize = 120;

/// The network of a cluster's node. Of each family that the cluster has there is one of everything; the primary one comes first.
#[derive(Clone, Debug)]
pub struct NodeNetwork {
    pub instance: InstanceId,
    /// Told to those who meet our tables.
    pub data_dir: PathBuf,
    pub node_ips: Vec<IpAddr>,
    /// All pods of the cluster.
    pub cluster_cidrs: Vec<Prefix>,
    pub service_cidrs: Vec<Prefix>,
    pub dns_listen: DnsListen,
}

/// Where the node's own DNS server listens. The address of IPv4 also tells whose the namespace is, whatever families a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DnsListen {
    pub ipv4: Ipv4Addr,
    pub ipv6: Ipv6Addr,
}

/// One family's part of a node's network.
#[derive(Clone, Copy, Debug)]
struct Part<'a> {
    network: &'a NodeNetwork,
    family: Family,
    node_ip: IpAddr,
    pods: Prefix,
    services: Prefix,
}

impl NodeNetwork {
    /// Its parts; a family of which something is missing has none.
    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let of = |ranges: &[Prefix], family| {
            let mut ranges = ranges.iter();
            let found = ranges.find(|range| Family::of(range.address()) == family);
            found.copied()
        };
        self.node_ips.iter().filter_map(move |node_ip| {
            let family = Family::of(*node_ip);
            Some(Part {
                network: self,
                family,
                node_ip: *node_ip,
                pods: of(&self.cluster_cidrs, family)?,
                services: of(&self.service_cidrs, family)?,
            })
        })
    }

    fn has(&self, family: Family) -> bool {
        self.parts().any(|part| part.family == family)
    }

    /// What takes the tables' changes. Host ports are elements, which the plugin makes and removes in processes of its own.
    fn kernel(&self) -> Netlink {
        let families = self.parts().map(|part| part.family);
        Netlink::of(tables(families, &table(&self.instance)), Watched::Rules)
    }
}

/// The name of a cluster's tables.
pub fn table(instance: &InstanceId) -> String {
    format!("knarr-cni-{instance}")
}

/// The tables of this name that a cluster of these families has.
pub(crate) fn tables(families: impl IntoIterator<Item = Family>, table: &str) -> Vec<Table> {
    let families = families.into_iter();
    families.map(|family| Table::new(family, table)).collect()
}

/// Why the node's network could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot switch on forwarding ({path})")]
    Forwarding {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("cannot confine the links of pods")]
    Pods(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Nft(#[from] knarr_nft::Error),
    #[error("cannot open a netlink socket")]
    Netlink(#[source] io::Error),
    #[error(transparent)]
    Link(#[from] rtnl::Error),
    #[error("cannot change the node's routes")]
    Route(#[source] rtnetlink::Error),
    #[error("cannot change the node's addresses")]
    Address(#[source] rtnetlink::Error),
    #[error(
        "this machine's network is taken by another cluster{whose} ({instance}), whose ports and DNS address cannot be shared; \
         take that one down first (knarr down --data-dir DIR), or start this one in a network namespace of its own"
    )]
    Taken {
        instance: InstanceId,
        /// ` on <data directory>`, where it is known.
        whose: String,
    },
    #[error("the kernel's routes cannot have {0}")]
    Odd(IpAddr),
    #[error("cannot tell which pods have host ports")]
    HostPorts(#[source] io::Error),
    #[error("the address of cluster DNS, {address}, is in use on {link}")]
    AddressInUse { address: Ipv4Addr, link: String },
}

/// Whether `own` has the calling thread's network namespace already; an error if another has it. Makes nothing.
pub async fn check(own: Option<&InstanceId>, dns_listen: Ipv4Addr) -> Result<bool, Error> {
    claim::check(own, dns_listen).await
}

/// The cluster that has this namespace, if its data directory is or was `data_dir`.
///
/// # Errors
/// When the kernel does not tell.
pub async fn claimed(data_dir: &Path, dns_listen: Ipv4Addr) -> Result<Option<InstanceId>, Error> {
    claim::of_directory(data_dir, dns_listen).await
}

/// Prepares the node in the calling thread's network namespace. The first thing it takes is the namespace itself.
pub async fn prepare(network: &NodeNetwork) -> Result<(), Error> {
    claim::take(&network.instance, network.dns_listen.ipv4).await?;
    make(network, &mut network.kernel()).await
}

async fn make(network: &NodeNetwork, kernel: &mut impl Kernel) -> Result<(), Error> {
    trust::nothing_of_any(&network.instance.link_prefix(), network.has(Family::Ip6))
        .map_err(|error| Error::Pods(error.into()))?;
    let mut made = Transaction::new();
    for part in network.parts() {
        forward(part.family)?;
        made.append(rules::ruleset(part));
    }
    // Of a start with more families.
    let others = Family::BOTH
        .into_iter()
        .filter(|family| !network.has(*family));
    for table in tables(others, &table(&network.instance)) {
        made.remove_table(&table);
    }
    kernel.apply(made, true).await?;
    for part in network.parts() {
        routes::make(part).await?;
    }
    Ok(())
}

/// Removes what [`prepare`] made for a cluster but forwarding, which others may rely on.
pub async fn teardown(instance: &InstanceId, dns_listen: DnsListen) -> Result<(), Error> {
    // The table is what makes it safe that they take packets of 127.0.0.1.
    for link in routes::to_peers(instance).await? {
        trust::no_loopback(&link).map_err(|error| Error::Pods(error.into()))?;
    }
    let mut gone = Transaction::new();
    for table in tables(Family::BOTH, &table(instance)) {
        gone.remove_table(&table);
    }
    knarr_nft::apply(gone).await?;
    others::dismiss(instance)?;
    routes::remove(instance).await?;
    stand_in::remove(instance).await?;
    let handle = connect()?;
    for name in [instance.overlay(), instance.services()] {
        if let Some(link) = rtnl::find(&handle, &name).await? {
            let removed = handle.link().del(link.header.index).execute().await;
            rtnl::or_gone(removed).map_err(Error::Route)?;
        }
    }
    if claim::check(Some(instance), dns_listen.ipv4)
        .await
        .is_ok_and(|ours| ours)
    {
        claim::remove_second(dns_listen.ipv6).await?;
    }
    // Last: only now is the namespace another's to take.
    claim::give_back(instance, dns_listen.ipv4).await
}

fn connect() -> Result<rtnetlink::Handle, Error> {
    rtnl::connect().map_err(Error::Netlink)
}

/// Whose table it is, for whoever lists it.
pub(crate) fn comment(data_dir: &Path) -> Option<String> {
    let plain = |text: &&str| {
        text.len() <= COMMENT_LIMIT_BYTES
            && text
                .chars()
                .all(|c| !c.is_control() && c != '"' && c != '\\')
    };
    data_dir.to_str().filter(plain).map(str::to_owned)
}

#[cfg(test)]
mod tests;
