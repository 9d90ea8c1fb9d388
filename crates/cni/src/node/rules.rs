//! The rules of a node's table: translations, and what must not come from where it comes from, or go where it goes.
//!
//! Both families have the same ones, but what the kernel does for IPv4 by settings of a link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use knarr_meta::prefix::Prefix;
use knarr_nft::{
    Chain, ChainKind, Contents, Element, Family, Field, Hook, Protocol, Rule, Selector, Set, Table,
    Transaction, Value, Verdict,
};

use super::{Part, comment, table};

// Lower is earlier. Those of raw packets, of destination and of source address translation, and just before the last.
pub(crate) const RAW: i32 = -300;
const TRANSLATE_DESTINATION: i32 = -100;
const FENCE: i32 = 90;
const TRANSLATE_SOURCE: i32 = 100;

/// What may pass to and from other nodes' pods, and who may send to the overlay: [`crate::peers`] fills these, and [`super::prepare`]
/// leaves them as they are.
pub(crate) const TO_PEERS: &str = "to-peers";
pub(crate) const FROM_PEERS: &str = "from-peers";
pub(crate) const TUNNEL: &str = "tunnel";

/// Chains are rewritten in the same transaction, maps keep their elements.
pub(super) fn ruleset(part: Part<'_>) -> Transaction {
    use {ChainKind::Filter, ChainKind::Nat};
    let table = &Table::new(part.family, &table(&part.network.instance));
    let mut made = Transaction::new();
    made.add_table(table, comment(&part.network.data_dir));
    hostport_maps(&mut made, table);
    for chain in [TO_PEERS, FROM_PEERS] {
        made.add_chain(table, Chain::new(chain));
    }
    let hooked = Chain::hooked;
    let chains = [
        Chain::new("hostports-dnat"),
        Chain::new("fenced"),
        Chain::new("claimed"),
        hooked("prerouting", Nat, Hook::Prerouting, TRANSLATE_DESTINATION),
        hooked("output", Nat, Hook::Output, TRANSLATE_DESTINATION),
        hooked("postrouting", Nat, Hook::Postrouting, TRANSLATE_SOURCE),
        hooked("fence", Filter, Hook::Postrouting, FENCE),
        hooked("loopback", Filter, Hook::Prerouting, RAW),
    ];
    for chain in chains {
        let name = chain.name.clone();
        made.add_chain(table, chain);
        made.flush_chain(table, name);
    }
    for (chain, rule) in rules(part) {
        made.add_rule(table, chain, rule);
    }
    made
}

/// A rule, and the chain that it is of.
type ChainRule = (&'static str, Rule);

/// Rules by chain, in order.
fn rules(part: Part<'_>) -> Vec<ChainRule> {
    let mut rules = translations(part);
    rules.extend(guards(part));
    rules
}

/// Addresses of pods and services.
fn cluster(part: Part<'_>) -> Contents {
    let ranges = [part.pods, part.services].map(|range| range.pair());
    let elements = ranges.map(|(address, prefix)| Element::range(address, prefix));
    Contents::new(Set::ranges("", part.family.field()), elements.into())
}

/// The node's links to its pods.
fn links(part: Part<'_>) -> Value {
    Value::Interface(format!("{}*", part.network.instance.link_prefix()))
}

/// Which addresses become others.
fn translations(part: Part<'_>) -> Vec<ChainRule> {
    let (source, destination) = selectors(part.family);
    let pods = part.pods.pair();
    let own = loopback(part.family).pair();
    let overlay = || Value::Interface(part.network.instance.overlay());
    let ports = || Rule::new().protocols(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let port = [Selector::Protocol, Selector::DestinationPort];
    let mut address_and_port = vec![destination.clone()];
    address_and_port.extend(port.clone());
    let to_hostports = || {
        let own = Rule::new().local(Selector::DestinationKind);
        own.verdict(Verdict::goto("hostports-dnat"))
    };
    let mut rules = vec![
        (
            "hostports-dnat",
            ports().redirect_by(part.family, address_and_port, "hostports-ip"),
        ),
        (
            "hostports-dnat",
            ports().redirect_by(part.family, port, "hostports"),
        ),
        ("prerouting", to_hostports()),
        // A pod talks to the world under its node's address, to pods and services under its own.
        (
            "postrouting",
            Rule::new()
                .prefix(source.clone(), pods)
                .outside_any([destination.clone()], cluster(part))
                .differs(Selector::OutputInterface, links(part))
                .masquerade(false),
        ),
        // The node's own programs may say another address of it than the one on the overlay: answers to that would come by another
        // way, from pods that nobody expects there.
        (
            "postrouting",
            Rule::new()
                .equal(Selector::OutputInterface, overlay())
                .outside_prefix(source.clone(), pods)
                .masquerade(false),
        ),
    ];
    match part.family {
        Family::Ip => rules.extend([
            ("output", to_hostports()),
            // The node reaches pods from an address that their replies can be routed to.
            (
                "postrouting",
                Rule::new()
                    .prefix(source, own)
                    .prefix(destination, pods)
                    .masquerade(false),
            ),
        ]),
        // No route leads from ::1 to another link: who asks there is refused at once instead of never answered.
        Family::Ip6 => {
            let elsewhere = Rule::new().outside_prefix(destination, own);
            let local = elsewhere.local(Selector::DestinationKind);
            rules.push(("output", local.verdict(Verdict::goto("hostports-dnat"))));
        }
    }
    rules
}

/// What must not come from where it comes from, or go where it goes.
fn guards(part: Part<'_>) -> Vec<ChainRule> {
    let (source, destination) = selectors(part.family);
    let (pods, own) = (part.pods.pair(), loopback(part.family).pair());
    let lo = || Value::Interface("lo".to_owned());
    let unreached = |range: Prefix| {
        Rule::new()
            .prefix(destination.clone(), range.pair())
            .differs(Selector::OutputInterface, lo())
            .differs(Selector::OutputInterface, links(part))
            .verdict(Verdict::goto("fenced"))
    };
    let mut rules = vec![
        // Links to pods take answers for 127.0.0.1 (see [`crate::plugin`]). Before answers are translated back, nothing from
        // another machine or a pod may say that it is from or for the node itself (CVE-2020-8558).
        (
            "loopback",
            Rule::new()
                .equal(Selector::InputInterface, lo())
                .verdict(Verdict::Accept),
        ),
        (
            "loopback",
            Rule::new().prefix(destination.clone(), own).drop(),
        ),
        ("loopback", Rule::new().prefix(source.clone(), own).drop()),
    ];
    // For IPv4 a setting of the link does this (`rp_filter`), which IPv6 has none of.
    if part.family == Family::Ip6 {
        let forged = Rule::new()
            .equal(Selector::InputInterface, links(part))
            .equal(Selector::WayBack, Value::Missing);
        rules.push(("loopback", forged.drop()));
    }
    rules.extend([
        // Who says that it is a pod, and is none of this node, must be one of a node that is behind the link it came by.
        (
            "loopback",
            Rule::new()
                .prefix(source, pods)
                .differs(Selector::InputInterface, links(part))
                .verdict(Verdict::goto("claimed")),
        ),
        ("claimed", Rule::new().verdict(Verdict::jump(FROM_PEERS))),
        ("claimed", Rule::new().drop()),
        // What is still addressed to a pod or a service here, and to no other node's pod, has no pod behind it: it must not leave.
        // Every packet that leaves comes by: an address is compared in less time than a set is searched.
        ("fence", unreached(part.pods)),
        ("fence", unreached(part.services)),
        ("fenced", Rule::new().verdict(Verdict::jump(TO_PEERS))),
        ("fenced", Rule::new().drop()),
    ]);
    rules
}

/// Where host ports lead: with any address of the node, and with one. Making them again changes nothing.
pub(crate) fn hostport_maps(made: &mut Transaction, table: &Table) {
    let address = table.family.field();
    let target = [address, Field::Port];
    let key = [Field::Protocol, Field::Port];
    made.add_set(table, Set::map("hostports", &key, &target));
    let key = [address, Field::Protocol, Field::Port];
    made.add_set(table, Set::map("hostports-ip", &key, &target));
}

/// Where a packet comes from, and where it goes.
fn selectors(family: Family) -> (Selector, Selector) {
    (Selector::Source(family), Selector::Destination(family))
}

/// The addresses of a family's loopback link.
fn loopback(family: Family) -> Prefix {
    match family {
        Family::Ip => Prefix::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8),
        Family::Ip6 => Prefix::host(IpAddr::V6(Ipv6Addr::LOCALHOST)),
    }
}
