//! What may pass between nodes: pods of a peer by the link that leads there, in both directions, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use knarr_meta::prefix::Prefix;
use knarr_nft::{
    Chain, ChainKind, Contents, Element, Family, Field, Hook, Protocol, Rule, Selector, Set, Table,
    Transaction, Value, Verdict,
};

use super::{
    overlay,
    plan::{Link, Wanted},
};
use crate::node;

const SOURCE: Selector = Selector::Source(Family::Ip);
const DESTINATION: Selector = Selector::Destination(Family::Ip);

/// Who may send what through the overlay, which asks nobody for a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tunnel {
    own: IpAddr,
    from: BTreeSet<IpAddr>,
}

/// The links to peers, and whose pods are behind them. Of IPv4, as the node's table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    links: BTreeMap<String, Vec<Prefix>>,
    tunnel: Option<Tunnel>,
}

impl Fence {
    pub fn of(wanted: &Wanted, own: IpAddr, overlay: &str) -> Self {
        let mut links = BTreeMap::new();
        for (link, ranges) in wanted.links() {
            let name = match link {
                Link::Real { name, .. } => name.as_str(),
                Link::Overlay => overlay,
            };
            let ranges: Vec<Prefix> = ranges
                .into_iter()
                .filter(|range| range.address().is_ipv4())
                .collect();
            if !ranges.is_empty() {
                links.insert(name.to_owned(), ranges);
            }
        }
        let tunnel = wanted.overlay.as_ref().filter(|_| own.is_ipv4());
        Self {
            links,
            tunnel: tunnel.map(|tunnel| Tunnel {
                own,
                from: tunnel.far.values().map(|far| far.address).collect(),
            }),
        }
    }

    /// Makes the chains anew that [`node::prepare`] leaves to us; a table that is not there yet comes to be.
    pub fn transaction(&self, table: &Table) -> Transaction {
        let mut made = Transaction::new();
        made.add_table(table, None);
        for chain in [node::TO_PEERS, node::FROM_PEERS] {
            made.add_chain(table, Chain::new(chain));
            made.flush_chain(table, chain);
        }
        let raw = Chain::hooked(node::TUNNEL, ChainKind::Filter, Hook::Prerouting, node::RAW);
        made.add_chain(table, raw);
        made.flush_chain(table, node::TUNNEL);
        for (name, ranges) in &self.links {
            let link = || Value::Interface(name.clone());
            let to = Rule::new()
                .equal(Selector::OutputInterface, link())
                .within_any([DESTINATION], set(ranges));
            made.add_rule(table, node::TO_PEERS, to.verdict(Verdict::Accept));
            let from = Rule::new()
                .equal(Selector::InputInterface, link())
                .within_any([SOURCE], set(ranges));
            made.add_rule(table, node::FROM_PEERS, from.verdict(Verdict::Accept));
        }
        if let Some(tunnel) = &self.tunnel {
            let from: Vec<Prefix> = tunnel.from.iter().copied().map(Prefix::host).collect();
            let stranger = Rule::new()
                .protocol(Protocol::Udp)
                .equal(Selector::DestinationPort, Value::Port(overlay::PORT))
                .equal(DESTINATION, tunnel.own)
                .outside_any([SOURCE], set(&from));
            made.add_rule(table, node::TUNNEL, stranger.drop());
        }
        made
    }
}

fn set(ranges: &[Prefix]) -> Contents {
    let elements = ranges.iter().map(|range| {
        let (address, bits) = range.pair();
        Element::range(address, bits)
    });
    Contents::new(Set::ranges("", Field::Ipv4), elements.collect())
}
