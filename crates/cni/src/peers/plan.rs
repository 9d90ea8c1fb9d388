//! From nodes that are believed to what is to be in the kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use knarr_meta::prefix::Prefix;

use super::{
    Reach,
    claims::{Claims, Peer, Refusal},
};
use crate::hardware;

/// Where an address is, as the kernel's routes tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// On a link of ours.
    OnLink { index: u32, name: String },
    /// Behind a router.
    Routed,
    /// It is ours.
    Own,
    /// Nowhere.
    Unreachable,
}

/// By which link the kernel sends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Link {
    Real { index: u32, name: String },
    Overlay,
}

/// The next hop towards a range of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hop {
    pub gateway: IpAddr,
    pub link: Link,
    /// What this node's own packets say that they come from.
    pub source: Option<IpAddr>,
}

/// A node at the other end of the overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Far {
    /// Where it really is.
    pub address: IpAddr,
    /// Its addresses on the overlay, one a family.
    pub inside: Vec<IpAddr>,
}

/// The overlay's device, and who is behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// This node's addresses on it, one a family.
    pub inside: Vec<IpAddr>,
    pub hardware: [u8; 6],
    /// By hardware address.
    pub far: BTreeMap<[u8; 6], Far>,
}

/// What is to be in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub routes: BTreeMap<Prefix, Hop>,
    /// If a node is not on a link of ours.
    pub overlay: Option<Overlay>,
    /// Nodes that are believed, but cannot be reached as it is.
    pub refused: BTreeSet<Refusal>,
}

impl Wanted {
    /// Which ranges are behind which link.
    pub fn links(&self) -> BTreeMap<&Link, Vec<Prefix>> {
        let mut links: BTreeMap<&Link, Vec<Prefix>> = BTreeMap::new();
        for (range, hop) in &self.routes {
            links.entry(&hop.link).or_default().push(*range);
        }
        links
    }
}

/// A node's own addresses on the overlay, from which its hardware address follows: the first of each range of its pods, which no
/// pod gets.
fn inside(pods: &[Prefix]) -> Vec<IpAddr> {
    let of = |ipv4| {
        let mut addresses = pods.iter().map(Prefix::address);
        addresses.find(|address| address.is_ipv4() == ipv4)
    };
    [of(true), of(false)].into_iter().flatten().collect()
}

/// This node, as far as ways go.
struct Own<'a> {
    reach: Reach,
    /// The primary one first.
    addresses: &'a [IpAddr],
    pods: &'a [Prefix],
}

/// The ways to all nodes.
pub fn plan(
    reach: Reach,
    addresses: &[IpAddr],
    claims: &Claims,
    see: impl Fn(IpAddr) -> Seen,
) -> Wanted {
    let own = Own {
        reach,
        addresses,
        pods: &claims.own,
    };
    let mut wanted = Wanted::default();
    for (name, peer) in &claims.peers {
        for range in &peer.pods {
            let hop = match peer.address_for(range.address()) {
                Some(address) => {
                    own.hop(&mut wanted.overlay, peer, *range, (address, see(address)))
                }
                None => Err(format!(
                    "it has no address of the family of its pods, {range}"
                )),
            };
            match hop {
                Ok(None) => {}
                Ok(Some(hop)) => {
                    wanted.routes.insert(*range, hop);
                }
                Err(reason) => {
                    wanted.refused.insert(Refusal {
                        node: name.clone(),
                        uid: peer.uid.clone(),
                        reason,
                    });
                }
            }
        }
    }
    wanted
}

impl Own<'_> {
    /// The next hop to pods of a peer, which is at this address; none while this node has no pods of its own to come from.
    fn hop(
        &self,
        overlay: &mut Option<Overlay>,
        peer: &Peer,
        range: Prefix,
        (address, seen): (IpAddr, Seen),
    ) -> Result<Option<Hop>, String> {
        match (self.reach, seen) {
            (_, Seen::Own) => Err(format!("its address {address} is one of this machine's")),
            (_, Seen::Unreachable) => Err(format!("there is no way to its address {address}")),
            (Reach::Direct | Reach::Auto, Seen::OnLink { index, name }) => Ok(Some(Hop {
                gateway: address,
                link: Link::Real { index, name },
                source: self.alike(&address),
            })),
            (Reach::Direct, Seen::Routed) => Err(format!(
                "its address {address} is on no link of this machine"
            )),
            (Reach::Auto, Seen::Routed) | (Reach::Overlay, _) => self.through(overlay, peer, range),
        }
    }

    /// Its own address of the family of another.
    fn alike(&self, other: &IpAddr) -> Option<IpAddr> {
        let mut own = self.addresses.iter();
        own.find(|own| is_alike(own, other)).copied()
    }

    /// Through the overlay, whose packets are of the family of this node's primary address, whatever they carry.
    fn through(
        &self,
        overlay: &mut Option<Overlay>,
        peer: &Peer,
        range: Prefix,
    ) -> Result<Option<Hop>, String> {
        let Some(outer) = self.addresses.first() else {
            return Ok(None);
        };
        let address = peer
            .address_for(*outer)
            .ok_or_else(|| format!("it has no address of the family of {outer}"))?;
        let (ours, theirs) = (inside(self.pods), inside(&peer.pods));
        let fits = |other: &&IpAddr| is_alike(other, &range.address());
        let source = ours.iter().find(fits).copied();
        let gateway = theirs.iter().find(fits).copied();
        let ends = source.zip(gateway);
        let ends = ends.zip(ours.first().copied().zip(theirs.first().copied()));
        let Some(((source, gateway), (own, first))) = ends else {
            return Ok(None);
        };
        let overlay = overlay.get_or_insert_with(|| Overlay {
            inside: ours,
            hardware: hardware::of(own),
            far: BTreeMap::new(),
        });
        let far = Far {
            address,
            inside: theirs,
        };
        overlay.far.insert(hardware::of(first), far);
        Ok(Some(Hop {
            gateway,
            link: Link::Overlay,
            source: Some(source),
        }))
    }
}

fn is_alike(one: &IpAddr, other: &IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests;
