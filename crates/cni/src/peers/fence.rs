//! What may pass between nodes: pods of a peer by the link that leads there, in both directions, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use knarr_meta::prefix::Prefix;
use knarr_nft::{
    Chain, ChainKind, Contents, Element, Family, Hook, Protocol, Rule, Selector, Set, Table,
    Transaction, Value, Verdict,
};

use super::{
    overlay,
    plan::{Link, Wanted},
};
use crate::node;

/// Who may send what through the overlay, which asks nobody for a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tunnel {
    own: IpAddr,
    from: BTreeSet<IpAddr>,
}

/// The links to peers, and whose pods are behind them.
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
            links.insert(name.to_owned(), ranges);
        }
        Self {
            links,
            tunnel: wanted.overlay.as_ref().map(|tunnel| Tunnel {
                own,
                from: tunnel.far.values().map(|far| far.address).collect(),
            }),
        }
    }

    /// The links that lead to pods of a family.
    pub fn links(&self, family: Family) -> impl Iterator<Item = &str> {
        let has = move |ranges: &Vec<Prefix>| !of_family(family, ranges.iter().copied()).is_empty();
        let links = self.links.iter().filter(move |(_, ranges)| has(ranges));
        links.map(|(name, _)| name.as_str())
    }

    /// Makes the chains of one family's table anew that [`node::prepare`] leaves to us; a table that is not there yet comes to be.
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
        let family = table.family;
        let (source, destination) = (Selector::Source(family), Selector::Destination(family));
        for (name, ranges) in &self.links {
            let ranges: Vec<Prefix> = of_family(family, ranges.iter().copied());
            if ranges.is_empty() {
                continue;
            }
            let link = || Value::Interface(name.clone());
            let to = Rule::new()
                .equal(Selector::OutputInterface, link())
                .within_any([destination.clone()], set(family, &ranges));
            made.add_rule(table, node::TO_PEERS, to.verdict(Verdict::Accept));
            let from = Rule::new()
                .equal(Selector::InputInterface, link())
                .within_any([source.clone()], set(family, &ranges));
            made.add_rule(table, node::FROM_PEERS, from.verdict(Verdict::Accept));
        }
        let tunnel = self.tunnel.as_ref();
        if let Some(tunnel) = tunnel.filter(|tunnel| Family::of(tunnel.own) == family) {
            let from = of_family(family, tunnel.from.iter().copied().map(Prefix::host));
            let stranger = Rule::new()
                .protocol(Protocol::Udp)
                .equal(Selector::DestinationPort, Value::Port(overlay::PORT))
                .equal(destination, tunnel.own)
                .outside_any([source], set(family, &from));
            made.add_rule(table, node::TUNNEL, stranger.drop());
        }
        made
    }
}

fn of_family(family: Family, ranges: impl Iterator<Item = Prefix>) -> Vec<Prefix> {
    let alike = |range: &Prefix| Family::of(range.address()) == family;
    ranges.filter(alike).collect()
}

fn set(family: Family, ranges: &[Prefix]) -> Contents {
    let elements = ranges.iter().map(|range| {
        let (address, bits) = range.pair();
        Element::range(address, bits)
    });
    Contents::new(Set::ranges("", family.field()), elements.collect())
}
