//! Keeps what a node's pods need of the network while knarr runs, whatever others do to it: a firewall that is loaded anew flushes all
//! tables, ours too; an address that goes takes the routes with it whose sender's it is.
//!
//! The tables are everything that is lost with it: the rules are made again as at the start, and host ports from the leases of the pods
//! that have them. Pods and their links are not touched.

use std::{future::pending, io, path::PathBuf};

use knarr_nft::{
    Connection, Family, Kernel, Monitor, Netlink, Pauses, Table, Transaction, Watched,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Error, NodeNetwork, claim, make,
    moved::SETTLE,
    others::{self, Purpose},
    stand_in, table,
};
use crate::{
    InstanceId,
    peers::watch::{Changes, Ours},
    plugin::{hostport, ipam},
};

/// Where the plugin notes which pod has which address and ports.
#[derive(Clone, Debug)]
pub struct Leases {
    /// `dataDir` of the plugin's configuration.
    pub data_dir: PathBuf,
    /// The network's name there.
    pub network: String,
}

/// A node's network that is in place.
pub struct Kept {
    network: NodeNetwork,
    leases: Leases,
    kernel: Netlink,
    /// Of the tables of others through which pods have to come.
    others: Option<Monitor>,
}

impl Kept {
    /// Prepares the node in the calling thread's network namespace, as [`super::prepare`], with the host ports that pods have.
    ///
    /// # Errors
    /// As [`super::prepare`].
    pub async fn prepare(network: NodeNetwork, leases: Leases) -> Result<Self, Error> {
        let mut kept = Self {
            kernel: network.kernel(),
            network,
            leases,
            others: Monitor::open()
                .inspect_err(
                    |error| warn!(%error, "cannot see whether others drop what is forwarded"),
                )
                .ok(),
        };
        claim::take(&kept.network.instance, kept.network.dns_listen.ipv4).await?;
        stand_in::settle(&kept.network).await?;
        kept.restore().await?;
        kept.admit().await;
        Ok(kept)
    }

    /// Has chains of others accept what is forwarded for pods. A machine on which they do not may still be of use.
    async fn admit(&self) {
        let (instance, pods) = (self.network.instance, self.network.cluster_cidrs.clone());
        let work = move || others::admit(&instance, Purpose::Pods, &pods);
        let admitted = match tokio::task::spawn_blocking(work).await {
            Ok(admitted) => admitted,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        if let Err(error) = admitted {
            warn!(%error, "rules of others on this machine may drop what pods send to one another");
        }
    }

    async fn restore(&mut self) -> Result<(), Error> {
        make(&self.network, &mut self.kernel).await?;
        let (table, leases) = (table(&self.network.instance), self.leases.clone());
        let work = move || host_ports(&table, &leases);
        match tokio::task::spawn_blocking(work).await {
            Ok(restored) => restored.map_err(Error::HostPorts),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    /// Restores it whenever others have changed it, until `token` is cancelled. It stays behind.
    pub async fn run(mut self, token: CancellationToken) {
        token.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&mut self) {
        let mut pauses = Pauses::default();
        let mut foreign = Pauses::default();
        let mut addresses = Addresses::open(&self.network.instance);
        loop {
            tokio::select! {
                () = self.kernel.changed() => {}
                () = addresses.changed() => {
                    if let Err(error) = stand_in::settle(&self.network).await {
                        let error = &error as &dyn std::error::Error;
                        warn!(error, "the node's address is not as the machine's are");
                    }
                    continue;
                }
                () = changed(&mut self.others) => {
                    sleep(foreign.next_pause()).await;
                    self.admit().await;
                    continue;
                }
            }
            warn!("another program has changed the rules of the pod network; making them anew");
            loop {
                // Whoever loads a firewall is not done with its first command.
                sleep(pauses.next_pause()).await;
                match self.restore().await {
                    Ok(()) => break,
                    Err(error) => warn!(
                        error = &error as &dyn std::error::Error,
                        "the pod network is not complete; trying again"
                    ),
                }
            }
            info!("the pod network is as it was");
        }
    }
}

/// The machine's addresses, for as long as they can be followed.
struct Addresses {
    changes: Option<Changes>,
    ours: Ours,
    /// Also at the start: a process before this one may have left one that nobody needs.
    unseen: bool,
}

impl Addresses {
    fn open(instance: &InstanceId) -> Self {
        let changes = Changes::open();
        Self {
            changes: changes
                .inspect_err(
                    |error| warn!(%error, "cannot see whether the machine's addresses change"),
                )
                .ok(),
            ours: Ours {
                metric: instance.route_metric(),
                pod_links: instance.link_prefix(),
                overlay: None,
            },
            unseen: true,
        }
    }

    /// Waits until they have changed, and then for what comes with it: an address goes before the next one comes.
    async fn changed(&mut self) {
        let Some(changes) = &mut self.changes else {
            return pending().await;
        };
        if !self.unseen
            && let Err(error) = changes.changed(&self.ours).await
        {
            warn!(%error, "cannot see any more whether the machine's addresses change");
            self.changes = None;
            return;
        }
        self.unseen = true;
        sleep(SETTLE).await;
        changes.forget();
        self.unseen = false;
    }
}

/// Waits until chains of others change.
async fn changed(others: &mut Option<Monitor>) {
    let Some(monitor) = others else {
        return pending().await;
    };
    if let Err(error) = monitor.changed(&others::tables(), Watched::Rules).await {
        warn!(%error, "cannot see any more whether others drop what is forwarded");
        *others = None;
    }
}

/// Puts the host ports of all pods into the table. No pod comes or goes meanwhile.
fn host_ports(table: &str, leases: &Leases) -> io::Result<()> {
    let Some((_lock, leases)) = ipam::locked(&leases.data_dir, &leases.network)? else {
        return Ok(());
    };
    let mut connection = Connection::open().map_err(io::Error::other)?;
    for lease in leases {
        let mut made = Transaction::new();
        // One by one: what cannot be had for one pod is no reason for others to go without.
        let restored = hostport::elements(lease.address, &lease.port_mappings)
            .map_err(|error| error.to_string())
            .and_then(|elements| {
                let table = Table::new(Family::of(lease.address), table);
                for (map, element) in elements {
                    made.add_elements(&table, map, vec![element]);
                }
                connection
                    .commit(&made, None)
                    .map_err(|error| error.to_string())
            });
        if let Err(error) = restored {
            let pod = lease.pod.unwrap_or_default();
            warn!(error, pod, address = %lease.address, "a pod's host ports are not in place");
        }
    }
    Ok(())
}
