//! The table of all policies of a family of addresses, and how it is brought up to date.
//!
//! Both families have the same sets and chains, each with its own addresses; one transaction changes both.
//!
//! ```text
//! forward: replies, related errors and what a pod sends to itself pass
//!     by source address      -> egress-N: returns what is allowed, drops the rest
//!     by destination address -> ingress-N: the same
//! input: what is for the node's own DNS server -> dns: discovery of neighbours and the same pass, by source address -> egress-N
//! ```
//!
//! Packets are judged where they are forwarded: after the translation of a Service's address to an endpoint's, and before that of
//! the sender's to the node's. What the node itself sends to its pods, and they to it, does not come by there.
//!
//! Every packet from the side that opened a connection is judged, not the first alone: what a policy denies ends at once, and
//! whoever gets a used address inherits no connections.
//!
//! An address is sent to its chain by an element; pods are in sets by elements. Rules are made when policies change alone.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use knarr_nft::{
    Chain, ChainKind, Element, Family, Field, Hook, Rule, Selector, Set, Table, Transaction, Value,
    Verdict,
};

use crate::{
    model::{Clause, Direction, Ports, SetSpec},
    planner::{ChainId, Planner},
    ranges::{Number, Range},
    sets::{Member, SetId},
};

/// Addresses that mean another machine on each link (RFC 4291): pods have them beside their own.
const LINK_LOCAL: (IpAddr, u8) = (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10);
/// Of filters.
const FILTER: i32 = 0;
/// Addresses of isolated pods, with themselves.
const SELF: &str = "self";
const DNS: &str = "dns";

/// The table of this name.
pub fn table(family: Family, name: &str) -> Table {
    Table::new(family, name)
}

fn set_name(id: SetId) -> String {
    format!("set-{}", id.0)
}

fn chain_name(id: ChainId) -> String {
    format!("{}-{}", id.direction.name(), id.number)
}

/// The whole table, instead of whatever is there, in one transaction. `dns` is where the node's own DNS server listens.
pub fn whole(table: &Table, dns: &[IpAddr], planner: &Planner) -> Transaction {
    let address = table.family.field();
    let mut made = Transaction::new();
    made.remove_table(table);
    made.add_table(table, None);
    made.add_set(table, Set::new(SELF, &[address, address]));
    for direction in Direction::BOTH {
        made.add_set(table, Set::verdicts(direction.name(), &[address]));
    }
    for (id, _) in planner.sets.iter() {
        add_set(&mut made, table, planner, id);
    }
    for id in planner.chains() {
        add_chain(&mut made, table, planner, id);
    }
    let isolated = planner.isolated().iter();
    let isolated = isolated.filter(|((_, address), _)| is_of(table, *address));
    let mut own: Vec<IpAddr> = isolated.clone().map(|((_, own), _)| *own).collect();
    own.sort_unstable();
    own.dedup();
    made.add_elements(table, SELF, own.into_iter().map(to_itself).collect());
    for direction in Direction::BOTH {
        let judged_here = isolated.clone().filter(|((d, _), _)| *d == direction);
        let elements = judged_here.map(|((_, address), chain)| judged(*address, *chain));
        made.add_elements(table, direction.name(), elements.collect());
    }
    let dns = dns.iter().find(|dns| is_of(table, **dns));
    base_chains(&mut made, table, dns.copied());
    made
}

fn is_of(table: &Table, address: IpAddr) -> bool {
    Family::of(address) == table.family
}

fn base_chains(made: &mut Transaction, table: &Table, dns: Option<IpAddr>) {
    let family = table.family;
    let (source, destination) = (Selector::Source(family), Selector::Destination(family));
    let pass = || {
        let rules = [Rule::new().reply(), Rule::new().related()].into_iter();
        rules.map(|rule| rule.verdict(Verdict::Accept))
    };
    made.add_chain(
        table,
        Chain::hooked("forward", ChainKind::Filter, Hook::Forward, FILTER),
    );
    let own = Rule::new().within([source.clone(), destination.clone()], SELF);
    let judges = [
        own.verdict(Verdict::Accept),
        Rule::new().verdicts([source.clone()], Direction::Egress.name()),
        Rule::new().verdicts([destination.clone()], Direction::Ingress.name()),
    ];
    for rule in pass().chain(judges) {
        made.add_rule(table, "forward", rule);
    }
    let Some(dns) = dns else { return };
    // Of a link, between its two ends: what is forwarded under its name is something else.
    let neighbours = (family == Family::Ip6).then(|| Rule::new().neighbour_discovery());
    let neighbours = neighbours.map(|rule| rule.verdict(Verdict::Accept));
    // All else that the node receives comes by here, too, and leaves at one comparison.
    made.add_chain(table, Chain::new(DNS));
    // From there every pod could ask, whoever it is.
    let nobodys = (family == Family::Ip6).then(|| Rule::new().prefix(source.clone(), LINK_LOCAL));
    let nobodys = nobodys.map(Rule::drop);
    let judge = Rule::new().verdicts([source], Direction::Egress.name());
    for rule in neighbours
        .into_iter()
        .chain(pass())
        .chain(nobodys)
        .chain([judge])
    {
        made.add_rule(table, DNS, rule);
    }
    made.add_chain(
        table,
        Chain::hooked("input", ChainKind::Filter, Hook::Input, FILTER),
    );
    let own = Rule::new().equal(destination, dns);
    made.add_rule(table, "input", own.verdict(Verdict::goto(DNS)));
}

/// What leads from what the kernel has to what the planner wants. Empty when nothing differs.
pub fn difference(table: &Table, planner: &Planner) -> Transaction {
    let changes = &planner.changes;
    let (mut made, mut gone) = (Transaction::new(), Transaction::new());
    for (id, was_there) in &changes.sets {
        match (was_there, planner.sets.get(*id).is_some()) {
            (false, true) => add_set(&mut made, table, planner, *id),
            (true, false) => gone.delete_set(table, set_name(*id)),
            _ => {}
        }
    }
    members(&mut made, table, planner);
    for id in changes.chains.keys() {
        if planner.chain(*id).is_some() {
            add_chain(&mut made, table, planner, *id);
        }
    }
    isolated(&mut made, table, planner);
    for (id, was_there) in &changes.chains {
        if *was_there && planner.chain(*id).is_none() {
            made.flush_chain(table, chain_name(*id));
            made.delete_chain(table, chain_name(*id));
        }
    }
    made.append(gone);
    made
}

/// Those of sets that were there and are.
fn members(made: &mut Transaction, table: &Table, planner: &Planner) {
    let mut changes = planner.changes.members.iter().peekable();
    while let Some(((id, _), _)) = changes.peek() {
        let id = *id;
        let (mut link, mut unlink) = (Vec::new(), Vec::new());
        let set = planner.sets.get(id);
        let is_new = planner.changes.sets.get(&id) == Some(&false);
        while let Some(((_, member), was_there)) = changes.next_if(|((next, _), _)| *next == id) {
            let Some(set) = set.filter(|_| !is_new && is_of(table, member.address())) else {
                continue;
            };
            match (was_there, set.has(*member)) {
                (false, true) => link.push(element(*member)),
                (true, false) => unlink.push(element(*member)),
                _ => {}
            }
        }
        made.add_elements(table, set_name(id), link);
        made.delete_elements(table, set_name(id), unlink);
    }
}

/// Which chains judge whom.
fn isolated(made: &mut Transaction, table: &Table, planner: &Planner) {
    let (now, before) = (planner.isolated(), &planner.changes.isolated);
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    for direction in Direction::BOTH {
        let (mut link, mut unlink) = (Vec::new(), Vec::new());
        let before = before.iter().filter(|((d, _), _)| *d == direction);
        for ((_, address), was) in before.filter(|((_, own), _)| is_of(table, *own)) {
            let is = now.get(&(direction, *address));
            if was.as_ref() == is {
                continue;
            }
            unlink.extend(was.map(|chain| judged(*address, chain)));
            link.extend(is.map(|chain| judged(*address, *chain)));
        }
        made.delete_elements(table, direction.name(), unlink);
        made.add_elements(table, direction.name(), link);
    }
    let touched = before.keys().map(|(_, address)| *address);
    let mut touched: Vec<IpAddr> = touched.filter(|own| is_of(table, *own)).collect();
    touched.sort_unstable();
    touched.dedup();
    for address in touched {
        let is = |direction| now.get(&(direction, address)).copied();
        let was = |direction| match before.get(&(direction, address)) {
            Some(was) => *was,
            None => is(direction),
        };
        let was_isolated = Direction::BOTH.into_iter().any(|d| was(d).is_some());
        let is_isolated = Direction::BOTH.into_iter().any(|d| is(d).is_some());
        match (was_isolated, is_isolated) {
            (false, true) => own.push(to_itself(address)),
            (true, false) => foreign.push(to_itself(address)),
            _ => {}
        }
    }
    made.add_elements(table, SELF, own);
    made.delete_elements(table, SELF, foreign);
}

fn to_itself(own: IpAddr) -> Element {
    Element::new([own, own].map(Value::Address))
}

fn judged(own: IpAddr, chain: ChainId) -> Element {
    let chain = Verdict::jump(chain_name(chain));
    Element::new([Value::Address(own)]).verdict(chain)
}

fn element(member: Member) -> Element {
    match member {
        Member::Address(own) => Element::new([Value::Address(own)]),
        Member::Port(own, protocol, port) => Element::new([
            Value::Address(own),
            Value::Protocol(protocol),
            Value::Port(port),
        ]),
    }
}

/// A set with all its elements.
fn add_set(made: &mut Transaction, table: &Table, planner: &Planner, id: SetId) {
    let Some(set) = planner.sets.get(id) else {
        return;
    };
    let (name, address) = (set_name(id), table.family.field());
    let (shape, elements) = match &*set.spec {
        SetSpec::Pods(_) => (Set::new(&name, &[address]), Vec::new()),
        SetSpec::Named(_) => {
            let key = [address, Field::Protocol, Field::Port];
            (Set::new(&name, &key), Vec::new())
        }
        SetSpec::Blocks(blocks) => {
            let elements = match table.family {
                Family::Ip => between(&blocks.ip, |bits| {
                    Value::Address(Ipv4Addr::from_bits(bits).into())
                }),
                Family::Ip6 => between(&blocks.ip6, |bits| {
                    Value::Address(Ipv6Addr::from_bits(bits).into())
                }),
            };
            (Set::ranges(&name, address), elements)
        }
        SetSpec::Ports(ranges) => {
            let at = |port| Value::Port(u16::try_from(port).unwrap_or(u16::MAX));
            (Set::ranges(&name, Field::Port), between(ranges, at))
        }
    };
    made.add_set(table, shape);
    let members = set.members();
    let mut members: Vec<Member> = members.filter(|m| is_of(table, m.address())).collect();
    members.sort_unstable();
    let members = members.into_iter().map(element);
    made.add_elements(table, name, elements.into_iter().chain(members).collect());
}

fn between<T: Number>(ranges: &[Range<T>], at: impl Fn(T) -> Value) -> Vec<Element> {
    let ranges = ranges.iter();
    ranges
        .map(|(first, last)| Element::between(at(*first), at(*last)))
        .collect()
}

/// A chain that returns what its clauses allow.
fn add_chain(made: &mut Transaction, table: &Table, planner: &Planner, id: ChainId) {
    let Some(clauses) = planner.chain(id) else {
        return;
    };
    let name = chain_name(id);
    made.add_chain(table, Chain::new(&name));
    for clause in clauses {
        made.add_rule(table, &name, allow(table.family, id.direction, clause));
    }
    made.add_rule(table, name, Rule::new().drop());
}

fn allow(family: Family, direction: Direction, clause: &Clause<SetId>) -> Rule {
    let destination = Selector::Destination(family);
    let peer = match direction {
        Direction::Ingress => Selector::Source(family),
        Direction::Egress => destination.clone(),
    };
    let mut rule = Rule::new();
    if let Some(set) = clause.peers {
        rule = rule.within([peer], &set_name(set));
    }
    let port = Selector::DestinationPort;
    rule = match &clause.ports {
        Ports::Any => rule,
        Ports::Protocol(protocol) => rule.protocol(*protocol),
        Ports::Numbers(protocol, set) => rule.protocol(*protocol).within([port], &set_name(*set)),
        // Whoever is called has the port: the pod itself, or its peer.
        Ports::Named(set) => rule.within([destination, Selector::Protocol, port], &set_name(*set)),
    };
    rule.verdict(Verdict::Return)
}

#[cfg(test)]
mod tests;
