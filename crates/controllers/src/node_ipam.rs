//! Gives each node its piece of the cluster's pod address range, of each family one (upstream's range allocator).
//!
//! Simulated nodes are on no machine: what they have of the cluster's addresses a real node would lack.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use knarr_client::{Event, Informer, SIMULATED_LABEL, WorkQueue};
use knarr_meta::prefix::Prefix;
use kube::Api;
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;

use crate::events::{NORMAL, Recorder};
use crate::node_events;
use crate::runner::{Context, Error, Key, Reconciler, synced};

/// One at a time: two must not be given the same range.
const WORKERS: usize = 1;

/// The prefix lengths of nodes' pieces, by family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMasks {
    pub ipv4: u8,
    pub ipv6: u8,
}

/// Upstream's.
impl Default for NodeMasks {
    fn default() -> Self {
        Self { ipv4: 24, ipv6: 64 }
    }
}

impl NodeMasks {
    fn of(self, range: Prefix) -> u8 {
        match range.address() {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) => self.ipv6,
        }
    }
}

/// The cluster's ranges, the primary one first.
#[derive(Debug)]
struct Families(Vec<Ranges>);

impl Families {
    /// `None` where pieces of these lengths are none of the ranges, or too many.
    fn new(cluster: &[Prefix], masks: NodeMasks) -> Option<Self> {
        let ranges = cluster.iter();
        let ranges = ranges.map(|range| Ranges::new(&range.to_string(), masks.of(*range)));
        let all: Option<Vec<Ranges>> = ranges.collect();
        all.filter(|all| !all.is_empty()).map(Self)
    }

    fn occupy(&mut self, node: &str, cidrs: &[&str]) {
        for ranges in &mut self.0 {
            cidrs.iter().for_each(|cidr| ranges.occupy(node, cidr));
        }
    }

    fn release(&mut self, node: &str) {
        for ranges in &mut self.0 {
            ranges.release(node);
        }
    }

    /// The node's piece of each range; `None`, and nothing is taken, where one of them has none left.
    fn allocate(&mut self, node: &str) -> Option<Vec<String>> {
        let pieces = self.0.iter_mut().map(|ranges| ranges.allocate(node));
        let pieces: Option<Vec<String>> = pieces.collect();
        if pieces.is_none() {
            self.release(node);
        }
        pieces
    }
}

/// An address range and the pieces of it that are taken.
#[derive(Debug)]
pub(crate) struct Ranges {
    base: u128,
    bits: u32,
    v6: bool,
    piece_prefix: u32,
    count: u64,
    by_node: HashMap<String, u64>,
    taken: BTreeSet<u64>,
    /// Where the last search ended: ranges are not reused at once.
    next: u64,
}

impl Ranges {
    pub(crate) fn new(cidr: &str, piece_prefix: u8) -> Option<Self> {
        let (address, prefix) = parse(cidr)?;
        let v6 = address.is_ipv6();
        let bits = if v6 { 128 } else { 32 };
        let piece_prefix = u32::from(piece_prefix);
        if prefix > piece_prefix || piece_prefix > bits || piece_prefix.saturating_sub(prefix) > 16
        {
            return None;
        }
        let count = 1_u64.checked_shl(piece_prefix.saturating_sub(prefix))?;
        let base = mask(number(address), prefix, bits);
        Some(Self {
            base,
            bits,
            v6,
            piece_prefix,
            count,
            by_node: HashMap::new(),
            taken: BTreeSet::new(),
            next: 0,
        })
    }

    /// Notes that a node has a range. One outside of the cluster's range, or of another size, is of no concern.
    pub(crate) fn occupy(&mut self, node: &str, cidr: &str) {
        let Some((address, prefix)) = parse(cidr) else {
            return;
        };
        if address.is_ipv6() != self.v6
            || prefix != self.piece_prefix
            || number(address) < self.base
        {
            return;
        }
        let index = number(address)
            .saturating_sub(self.base)
            .checked_shr(self.bits.saturating_sub(self.piece_prefix))
            .unwrap_or(0);
        if let Ok(index) = u64::try_from(index)
            && index < self.count
        {
            self.taken.insert(index);
            self.by_node.insert(node.to_owned(), index);
        }
    }

    pub(crate) fn release(&mut self, node: &str) {
        if let Some(index) = self.by_node.remove(node)
            && !self.by_node.values().any(|other| *other == index)
        {
            self.taken.remove(&index);
        }
    }

    /// The node's range, a free one if it has none yet; `None` when all are taken.
    pub(crate) fn allocate(&mut self, node: &str) -> Option<String> {
        let index = match self.by_node.get(node) {
            Some(index) => *index,
            None => (0..self.count)
                .filter_map(|i| self.next.saturating_add(i).checked_rem(self.count))
                .find(|i| !self.taken.contains(i))?,
        };
        self.next = index.saturating_add(1).checked_rem(self.count)?;
        self.taken.insert(index);
        self.by_node.insert(node.to_owned(), index);
        let offset = u128::from(index)
            .checked_shl(self.bits.saturating_sub(self.piece_prefix))
            .unwrap_or(0);
        let address = self.base.checked_add(offset)?;
        let address = if self.v6 {
            IpAddr::V6(Ipv6Addr::from(address))
        } else {
            IpAddr::V4(Ipv4Addr::from(u32::try_from(address).ok()?))
        };
        Some(format!("{address}/{}", self.piece_prefix))
    }
}

fn parse(cidr: &str) -> Option<(IpAddr, u32)> {
    let (address, prefix) = cidr.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let prefix: u32 = prefix.parse().ok()?;
    (prefix <= if address.is_ipv6() { 128 } else { 32 }).then_some((address, prefix))
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn mask(address: u128, prefix: u32, bits: u32) -> u128 {
    let host = bits.saturating_sub(prefix);
    let ones = u128::MAX.checked_shl(host).unwrap_or(0);
    address & ones
}

pub(crate) struct NodeIpam {
    client: kube::Client,
    recorder: Recorder,
    nodes: Informer<Node>,
    ranges: Arc<Mutex<Families>>,
    queue: WorkQueue<Key>,
}

/// The pieces that a node has.
fn pod_cidrs(node: &Node) -> Vec<&str> {
    let Some(spec) = &node.spec else {
        return Vec::new();
    };
    let several = spec.pod_cidrs.iter().flatten();
    let all = several.chain(&spec.pod_cidr).map(String::as_str);
    all.filter(|cidr| !cidr.is_empty()).collect()
}

fn is_simulated(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(SIMULATED_LABEL))
}

pub(crate) fn start(context: &Context) {
    let config = &context.config;
    let Some(ranges) = Families::new(&config.cluster_cidrs, config.node_cidr_masks) else {
        tracing::error!(
            cidrs = ?config.cluster_cidrs,
            masks = ?config.node_cidr_masks,
            "cluster ranges unusable, nodes get none"
        );
        return;
    };
    let client = context.client("node-controller");
    let controller = Arc::new(NodeIpam {
        recorder: context.recorder(&client, "cidrAllocator"),
        client,
        nodes: context.informers.informer(),
        ranges: Arc::new(Mutex::new(ranges)),
        queue: WorkQueue::new(),
    });
    let (ranges, queue) = (controller.ranges.clone(), controller.queue.clone());
    controller.nodes.on_event(move |event| {
        let node = event.object();
        if is_simulated(node) {
            return;
        }
        let key = Key::of(&**node);
        let cidrs = pod_cidrs(node);
        match &event {
            Event::Deleted(_) => ranges.lock().release(&key.name),
            _ if cidrs.is_empty() => queue.add(key),
            _ => ranges.lock().occupy(&key.name, &cidrs),
        }
    });
    let informers = vec![synced(&controller.nodes)];
    context.start(controller, WORKERS, informers);
}

impl Reconciler for NodeIpam {
    const NAME: &'static str = "node-ipam";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(node) = self
            .nodes
            .get("", &key.name)
            .filter(|node| pod_cidrs(node).is_empty() && !is_simulated(node))
        else {
            return Ok(());
        };
        let Some(cidrs) = self.ranges.lock().allocate(&key.name) else {
            let note = format!("Node {} status is now: CIDRNotAvailable", key.name);
            let about = node_events::about(&node);
            self.recorder
                .event(&about, NORMAL, "CIDRNotAvailable", note);
            return Err(Error::Other("no pod address range is left".to_owned()));
        };
        let patch = serde_json::json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": cidrs.first(), "podCIDRs": cidrs},
        });
        let api: Api<Node> = Api::all(self.client.clone());
        // The ranges stay noted for the node also on failure: the retry asks for the same ones.
        api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
