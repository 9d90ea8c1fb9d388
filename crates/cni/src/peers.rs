//! The way to other nodes' pods.
//!
//! ```text
//! informer (Node) -> claims (who is believed) -> the kernel (where their addresses are) -> plan (routes, overlay)
//!     -> fence (what may pass by which link) -> overlay (VXLAN, its neighbours) -> routes
//! ```
//!
//! A node on a link of ours is the next hop to its pods; to others there is VXLAN. Nothing is asked after and nothing is flooded:
//! what the API says of nodes is all that is needed. A pod keeps its address on the way to other pods; to nodes it has its own
//! node's, as to the rest of the world: the answer could else come by another way than the question.
//!
//! Each pass compares what is wanted with what is there, so that it may be repeated at any time: when nodes change, and when
//! somebody else changes links, addresses, routes or our table. What it made stays when it ends, and pods go on.
//!
//! Rejected: publishing hardware addresses in annotations of nodes, as flannel does. They follow from the range of pods.

mod claims;
mod fence;
mod loopback;
mod overlay;
mod plan;
mod routes;
pub(crate) mod watch;

use std::{
    collections::{BTreeSet, HashMap},
    future::pending,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use knarr_client::{
    Event, Informer, Informers,
    events::{self, Recorder},
};
use knarr_meta::prefix::Prefix;
use knarr_nft::{Family, Kernel, Netlink, Pauses, Table, Transaction, Watched};
use rtnetlink::Handle;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::{
    claims::{Claim, Claims, Ground, Refusal},
    fence::Fence,
    loopback::Loopback,
    overlay::Device,
    plan::{Seen, Wanted},
    watch::{Changes, Ours},
};
use crate::{InstanceId, node, rtnl, trust};

const COMPONENT: &str = "knarr-network";
/// Changes rarely come alone.
const SETTLE: Duration = Duration::from_millis(20);
/// Longest wait for the kernel; whatever it does is a matter of milliseconds.
const PASS_TIMEOUT: Duration = Duration::from_secs(30);

/// How pods of other nodes are reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// By routes alone: every node is on a link of ours.
    Direct,
    /// By routes where a node is on a link of ours, else by VXLAN.
    #[default]
    Auto,
    /// By VXLAN alone: links here do not take packets for pods, as in many clouds.
    Overlay,
}

/// What is to be known of this node.
#[derive(Clone, Debug)]
pub struct Config {
    pub instance: InstanceId,
    pub node_name: String,
    /// The primary one first, at most one a family.
    pub node_ips: Vec<IpAddr>,
    /// All pods of the cluster.
    pub cluster_cidrs: Vec<Prefix>,
    pub service_cidrs: Vec<Prefix>,
    pub reach: Reach,
}

/// Why a pass did not come to its end.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Netlink(#[from] rtnl::Error),
    #[error(transparent)]
    Nft(#[from] knarr_nft::Error),
    #[error(transparent)]
    Link(#[from] trust::Error),
    #[error("the kernel took too long")]
    TimedOut(#[from] tokio::time::error::Elapsed),
}

/// The ways from one node to all others.
pub struct Peers {
    config: Config,
    nodes: Informer<Node>,
    recorder: Recorder,
    wake: Arc<Notify>,
}

/// What the last pass has left.
#[derive(Default)]
struct Applied {
    claims: Claims,
    fence: Option<Fence>,
    loopback: Loopback,
    overlay: Option<u32>,
    told: BTreeSet<Refusal>,
    routes: usize,
}

impl Peers {
    /// Its client should be one that may list nodes and write events, as kube-proxy's.
    pub fn new(config: Config, client: kube::Client, informers: &Informers) -> Self {
        Self::with(config, client, informers.informer())
    }

    /// Over an informer that somebody else fills.
    pub fn with(config: Config, client: kube::Client, nodes: Informer<Node>) -> Self {
        let wake = Arc::new(Notify::new());
        let woken = wake.clone();
        nodes.on_event(move |event| {
            // Nodes tell that they are alive all the time.
            let is_news = match &event {
                Event::Updated { old, new } => Claim::of(old) != Claim::of(new),
                Event::Added(_) | Event::Deleted(_) => true,
            };
            if is_news {
                woken.notify_one();
            }
        });
        Self {
            recorder: Recorder::new(client, COMPONENT, config.node_name.as_str()),
            config,
            nodes,
            wake,
        }
    }

    /// Keeps the ways until `token` is cancelled. They stay behind.
    pub async fn run(self, token: CancellationToken) {
        token.run_until_cancelled(self.sync_loop()).await;
    }

    async fn sync_loop(&self) {
        self.nodes.synced().await;
        let mut kernel = Netlink::of(self.tables(), Watched::Rules);
        let mut applied = Applied::default();
        let mut pauses = Pauses::default();
        let mut changes: Option<Changes> = None;
        loop {
            if changes.is_none() {
                // Before anything is looked at: what changes from then on is not missed.
                changes = Changes::open().inspect_err(blind).ok();
            }
            let pass = timeout(PASS_TIMEOUT, self.sync(&mut kernel, &mut applied));
            let passed = pass.await.map_err(Error::from).flatten();
            if let Err(error) = passed {
                warn!(
                    error = chain(&error),
                    "the way to other nodes' pods is not complete; trying again"
                );
                // What there is of it is not known.
                applied.fence = None;
                sleep(pauses.next_pause()).await;
                continue;
            }
            let ours = self.ours(&applied);
            let heard = async {
                match &mut changes {
                    Some(changes) => changes.changed(&ours).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.wake.notified() => {}
                heard = heard => if let Err(error) = heard {
                    blind(&error);
                    changes = None;
                    sleep(pauses.next_pause()).await;
                },
                () = kernel.changed() => {
                    applied.fence = None;
                    sleep(pauses.next_pause()).await;
                }
            }
            sleep(SETTLE).await;
            if let Some(changes) = &mut changes {
                changes.forget();
            }
        }
    }

    fn ours(&self, applied: &Applied) -> Ours {
        Ours {
            metric: self.config.instance.route_metric(),
            pod_links: self.config.instance.link_prefix(),
            overlay: applied.overlay,
        }
    }

    /// One pass.
    async fn sync(&self, kernel: &mut impl Kernel, applied: &mut Applied) -> Result<(), Error> {
        let config = &self.config;
        let handle = rtnl::connect().map_err(rtnl::Error::Socket)?;
        let claims: Vec<Claim> = self
            .nodes
            .list()
            .iter()
            .filter(|node| !claims::is_simulated(node))
            .map(|node| Claim::of(node))
            .collect();
        let settled = claims::settle(&self.ground(), &claims, &applied.claims);
        let wanted = self.plan(&handle, &settled).await?;
        let fence = Fence::of(&wanted, self.outer(), &config.instance.overlay());
        if applied.fence.as_ref() != Some(&fence) {
            // The chains and all that is in them are made anew.
            let mut chains = Transaction::new();
            for table in self.tables() {
                chains.append(fence.transaction(&table));
            }
            kernel.apply(chains, true).await?;
            applied.fence = Some(fence);
        }
        applied.overlay = self.device(&handle, &wanted).await?;
        let links = applied
            .fence
            .iter()
            .flat_map(|fence| fence.links(Family::Ip));
        applied.loopback.sync(links)?;
        let mut outcome = Ok(());
        if let (Some(index), Some(overlay)) = (applied.overlay, &wanted.overlay) {
            outcome = overlay::entries(&handle, index, overlay).await;
        }
        let metric = config.instance.route_metric();
        outcome = outcome.and(routes::sync(&handle, metric, &wanted.routes, applied.overlay).await);
        if applied.routes != wanted.routes.len() {
            info!(
                nodes = settled.peers.len(),
                routes = wanted.routes.len(),
                "routes to other nodes' pods"
            );
        }
        applied.routes = wanted.routes.len();
        self.tell(applied, settled.refused.iter().chain(&wanted.refused));
        applied.claims = settled;
        Ok(outcome?)
    }

    /// The overlay's index, if there is to be one.
    async fn device(&self, handle: &Handle, wanted: &Wanted) -> Result<Option<u32>, Error> {
        let own = self.outer();
        let name = self.config.instance.overlay();
        let device = Device {
            name: &name,
            outer: own,
            mtu: overlay::mtu(link_mtu(handle, own).await?, own),
        };
        match &wanted.overlay {
            Some(overlay) => Ok(Some(device.sync(handle, overlay).await?)),
            None => Ok(device.remove(handle).await.map(|()| None)?),
        }
    }

    /// This node's tables.
    fn tables(&self) -> Vec<Table> {
        let families = self.config.node_ips.iter().map(|own| Family::of(*own));
        node::tables(families, &node::table(&self.config.instance))
    }

    /// This node's address on the outside of the overlay.
    fn outer(&self) -> IpAddr {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        self.config.node_ips.first().copied().unwrap_or(nowhere)
    }

    fn ground(&self) -> Ground {
        Ground {
            node: self.config.node_name.clone(),
            addresses: self.config.node_ips.clone(),
            cluster: self.config.cluster_cidrs.clone(),
            services: self.config.service_cidrs.clone(),
        }
    }

    async fn plan(&self, handle: &Handle, claims: &Claims) -> Result<Wanted, Error> {
        let mut seen = HashMap::new();
        for address in claims.peers.values().flat_map(|peer| &peer.addresses) {
            seen.insert(*address, routes::see(handle, *address).await?);
        }
        let see = |address| seen.get(&address).cloned().unwrap_or(Seen::Unreachable);
        Ok(plan::plan(
            self.config.reach,
            &self.config.node_ips,
            claims,
            see,
        ))
    }

    /// Says once of each node that it is refused and why.
    fn tell<'a>(&self, applied: &mut Applied, refused: impl Iterator<Item = &'a Refusal>) {
        let refused: BTreeSet<Refusal> = refused.cloned().collect();
        for refusal in refused.difference(&applied.told) {
            let Refusal { node, uid, reason } = refusal;
            warn!(node, reason, "a node's pods are not reachable");
            let regarding = ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Node".to_owned()),
                name: Some(node.clone()),
                uid: Some(uid.clone()),
                ..ObjectReference::default()
            };
            let note = format!(
                "pods of {node} are not reachable from {}: {reason}",
                self.config.node_name
            );
            self.recorder
                .event(&regarding, events::WARNING, "NodeNotReachable", note);
        }
        for healed in applied.told.difference(&refused) {
            debug!(node = healed.node, reason = healed.reason, "no longer so");
        }
        applied.told = refused;
    }
}

/// The longest packet that pods may send: as long as the node's link takes, less what an overlay adds if there may be one.
///
/// # Errors
/// When the kernel cannot be asked.
pub async fn pod_mtu(node_ip: IpAddr, reach: Reach) -> Result<u32, rtnl::Error> {
    let handle = rtnl::connect().map_err(rtnl::Error::Socket)?;
    let link = link_mtu(&handle, node_ip).await?;
    Ok(match reach {
        Reach::Direct => link,
        Reach::Auto | Reach::Overlay => overlay::mtu(link, node_ip),
    })
}

/// Of the link that has an address.
async fn link_mtu(handle: &Handle, address: IpAddr) -> Result<u32, rtnl::Error> {
    /// What most links take.
    const USUAL_BYTES: u32 = 1500;
    let addresses = rtnl::addresses(handle).await?;
    let owner = addresses
        .iter()
        .find(|message| rtnl::local(message) == Some(address));
    let Some(owner) = owner else {
        return Ok(USUAL_BYTES);
    };
    // What the loopback link takes is no measure: links to others come and go.
    let loopback = rtnl::loopback(handle).await?;
    let links = rtnl::links(handle).await?;
    let mut links = links.iter();
    let link =
        links.find(|link| link.header.index == owner.header.index && link.header.index != loopback);
    Ok(link.and_then(rtnl::mtu).unwrap_or(USUAL_BYTES))
}

fn blind(error: &io::Error) {
    warn!(%error, "cannot see changes of the network");
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
