//! Gives each node its piece of the cluster's pod address range (upstream's range allocator).

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use knarr_client::events::{NORMAL, Recorder};
use knarr_client::{Event, Informer, WorkQueue};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use parking_lot::Mutex;

use crate::runner::{Context, Error, Key, Reconciler, synced};

/// One at a time: two must not be given the same range.
const WORKERS: usize = 1;

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

/// Whether an address is of a range; of one that cannot be read none is.
pub(crate) fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((first, prefix)) = parse(cidr) else {
        return false;
    };
    let bits = if first.is_ipv6() { 128 } else { 32 };
    first.is_ipv6() == address.is_ipv6()
        && mask(number(first), prefix, bits) == mask(number(address), prefix, bits)
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
    ranges: Arc<Mutex<Ranges>>,
    queue: WorkQueue<Key>,
}

fn pod_cidr(node: &Node) -> Option<&str> {
    node.spec
        .as_ref()?
        .pod_cidr
        .as_deref()
        .filter(|cidr| !cidr.is_empty())
}

pub(crate) fn start(context: &Context) {
    let config = &context.config;
    let Some(ranges) = Ranges::new(&config.cluster_cidr, config.node_cidr_mask) else {
        tracing::error!(
            cidr = config.cluster_cidr,
            mask = config.node_cidr_mask,
            "cluster range unusable, nodes get none"
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
        let key = Key::of(&**node);
        match (&event, pod_cidr(node)) {
            (Event::Deleted(_), _) => ranges.lock().release(&key.name),
            (_, Some(cidr)) => ranges.lock().occupy(&key.name, cidr),
            (_, None) => queue.add(key),
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
            .filter(|node| pod_cidr(node).is_none())
        else {
            return Ok(());
        };
        let Some(cidr) = self.ranges.lock().allocate(&key.name) else {
            let note = format!("Node {} status is now: CIDRNotAvailable", key.name);
            self.recorder.event(
                &node.object_ref(&()),
                NORMAL,
                "CIDRNotAvailable",
                "CIDRNotAvailable",
                note,
            );
            return Err(Error::Other("no pod address range is left".to_owned()));
        };
        let patch = serde_json::json!({
            "metadata": {"uid": node.metadata.uid},
            "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        });
        let api: Api<Node> = Api::all(self.client.clone());
        // The range stays noted for the node also on failure: the retry asks for the same one.
        api.patch(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
