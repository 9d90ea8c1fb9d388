//! The table that all services of a family share: its chains, sets and maps.
//!
//! ```text
//! prerouting, output -> translate: guards, affinity, then by destination address, protocol and port
//!     services-here       outside clients of services that keep their address: endpoints of this node, or dropped
//!     services-anywhere   one rule a number of endpoints, each with a map of the services that have so many
//!     nodeports           the same for ports of the node's own addresses
//! postrouting: masquerade
//! unserved-forward (in IPv6 before routing), unserved-output: what is still addressed to a service has no endpoint, or none here and is dropped
//! ```
//!
//! A service is elements of maps of values, no chain and no verdict, so a change costs what it changes: what leads to a chain
//! makes the kernel look through all chains that can be reached (50 ms with 10 000 services that have a chain each).
//!
//! A family has a table of its own, so that a packet meets nothing of the other; both are made here, and changed in one transaction.
//!
//! How many endpoints there are has to be known before one is picked at random, hence a map a number. Nobody can make them many:
//! beyond [`EXACT_SLOTS`] powers of two have to do, of which some slots are empty, and another is picked then.

use std::net::{IpAddr, Ipv6Addr};

use knarr_nft::{
    Chain, ChainKind, Element, Family, Field, Hook, Protocol, Reject, Rule, Selector, Set, Table,
    Transaction, Value, Verdict,
};

use crate::{
    model::{Endpoint, Frontend},
    network::Network,
    rules::MASQUERADE_MARK,
};

/// Up to so many endpoints there is a map of each number.
const EXACT_SLOTS: u32 = 16;
/// How often a slot is picked that may be empty, at most half of them are, before one of those that are not.
const PICKS: usize = 8;
/// Slots of endpoints of this node are numbered from here on, so that no map has more endpoints.
pub const HERE: u32 = 1 << 16;

// Lower is earlier. Those of destination and source address translation, of packets of the node's own too, and of filters.
const TRANSLATE_DESTINATION: i32 = -100;
const TRANSLATE_SOURCE: i32 = 100;
const FILTER: i32 = 0;
/// Just after destinations were translated.
const TRANSLATED: i32 = TRANSLATE_DESTINATION + 10;

/// The table of a family of a cluster's proxy.
pub fn table(family: Family, name: &str) -> Table {
    Table::new(family, name)
}

/// What is addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// An address of a service.
    Service,
    /// A port of any of the node's addresses.
    Node,
}

/// What a frontend's elements may be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Chains by frontend, for clients that keep their endpoint.
    Sticky,
    /// Services of which outside clients get endpoints of this node only.
    Local,
    /// Whose clients are masqueraded.
    External,
}

impl Scope {
    pub fn of(frontend: &Frontend) -> Self {
        match frontend.address {
            Some(_) => Self::Service,
            None => Self::Node,
        }
    }

    pub fn set(self, place: Place) -> &'static str {
        match (self, place) {
            (Self::Service, Place::Sticky) => "sticky",
            (Self::Service, Place::Local) => "local",
            (Self::Service, Place::External) => "external",
            (Self::Node, Place::Sticky) => "sticky-nodeports",
            (Self::Node, Place::Local) => "local-nodeports",
            (Self::Node, Place::External) => "external-nodeports",
        }
    }

    /// The chain that picks endpoints of this node only, or any.
    pub fn chain(self, here: bool) -> &'static str {
        match (self, here) {
            (Self::Service, false) => "services-anywhere",
            (Self::Service, true) => "services-here",
            (Self::Node, false) => "nodeports-anywhere",
            (Self::Node, true) => "nodeports-here",
        }
    }

    fn fields(self, family: Family) -> Vec<Field> {
        match self {
            Self::Service => vec![family.field(), Field::Protocol, Field::Port],
            Self::Node => vec![Field::Protocol, Field::Port],
        }
    }

    /// What packets have where elements have a [`key`].
    fn selectors(self, family: Family) -> Vec<Selector> {
        let mut selectors = vec![Selector::Protocol, Selector::DestinationPort];
        if self == Self::Service {
            selectors.insert(0, Selector::Destination(family));
        }
        selectors
    }
}

/// A frontend as an element's key.
pub fn key(frontend: &Frontend) -> Vec<Value> {
    let address = frontend.address.map(Value::Address);
    let rest = [
        Value::Protocol(frontend.protocol),
        Value::Port(frontend.port),
    ];
    address.into_iter().chain(rest).collect()
}

/// A map of endpoints: of the frontends that have so many slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slots {
    pub scope: Scope,
    count: u32,
}

impl Slots {
    /// Those that hold so many endpoints, of which there is one at least.
    pub fn for_endpoints(scope: Scope, endpoints: usize) -> Self {
        let endpoints = u32::try_from(endpoints).unwrap_or(HERE).clamp(1, HERE);
        let count = if endpoints <= EXACT_SLOTS {
            endpoints
        } else {
            endpoints.next_power_of_two()
        };
        Self { scope, count }
    }

    pub fn map_name(self) -> String {
        match self.scope {
            Scope::Service => format!("endpoints-{}", self.count),
            Scope::Node => format!("nodeport-endpoints-{}", self.count),
        }
    }

    pub fn map(self, family: Family) -> Set {
        let mut key = self.scope.fields(family);
        key.push(Field::Mark);
        Set::map(self.map_name(), &key, &[family.field(), Field::Port])
    }

    /// Sends what is addressed to a frontend of this map to one of its endpoints.
    fn rules(self, family: Family, here: bool) -> impl Iterator<Item = Rule> {
        let pick = move |modulus| {
            let mut key = self.scope.selectors(family);
            key.push(Selector::Random {
                modulus,
                offset: if here { HERE } else { 0 },
            });
            Rule::new().redirect_by(family, key, &self.map_name())
        };
        let exact = self.count <= EXACT_SLOTS;
        let tries = if exact { 1 } else { PICKS };
        // More than half of the slots have an endpoint, and those come first.
        let last = (!exact).then(|| pick(self.count / 2));
        (0..tries).map(move |_| pick(self.count)).chain(last)
    }
}

/// The element of one of a frontend's endpoints.
pub fn slot(frontend: &Frontend, number: u32, endpoint: &Endpoint) -> Element {
    let mut key = key(frontend);
    key.push(Value::Mark(number));
    let address = Value::Address(endpoint.address);
    Element::new(key).to([address, Value::Port(endpoint.port)])
}

/// Makes the rules of a chain that picks endpoints anew. `slots` are the maps that are needed, in order.
pub fn pick_chain(
    made: &mut Transaction,
    table: &Table,
    (scope, here): (Scope, bool),
    slots: impl Iterator<Item = Slots>,
) {
    let chain = scope.chain(here);
    made.flush_chain(table, chain);
    for rule in slots.flat_map(|slots| slots.rules(table.family, here)) {
        made.add_rule(table, chain, rule);
    }
    if here {
        // No endpoint here: dropped, so that a load balancer looks elsewhere.
        made.add_rule(table, chain, Rule::new().drop());
    }
}

/// The table without services, instead of whatever is there.
pub fn base(network: &Network) -> Transaction {
    let (table, family) = (&network.table, network.family());
    let address = family.field();
    let mut made = Transaction::new();
    made.remove_table(table);
    made.add_table(table, None);
    for scope in [Scope::Service, Scope::Node] {
        let fields = scope.fields(family);
        made.add_set(table, Set::verdicts(scope.set(Place::Sticky), &fields));
        made.add_set(table, Set::new(scope.set(Place::Local), &fields));
        made.add_set(table, Set::new(scope.set(Place::External), &fields));
        for here in [false, true] {
            made.add_chain(table, Chain::new(scope.chain(here)));
            pick_chain(&mut made, table, (scope, here), [].into_iter());
        }
    }
    let fields = Scope::Service.fields(family);
    made.add_set(table, Set::verdicts("guards", &fields));
    made.add_set(table, Set::new("unserved", &fields));
    made.add_set(table, Set::new("dropped", &fields));
    made.add_set(table, Set::new("hairpin", &[address, address]));
    made.add_set(table, Set::ranges("cluster", address));
    let pods = network
        .pods
        .map(|pods| Element::range(pods.address(), pods.bits()));
    made.add_elements(table, "cluster", Vec::from_iter(pods));
    for (chain, rules) in base_chains(network) {
        let name = chain.name.clone();
        made.add_chain(table, chain);
        for rule in rules {
            made.add_rule(table, name.as_str(), rule);
        }
    }
    made
}

/// Each chain with its rules, after those it leads to.
fn base_chains(network: &Network) -> Vec<(Chain, Vec<Rule>)> {
    use {ChainKind::Filter, ChainKind::Nat};
    let jump = || vec![Rule::new().verdict(Verdict::jump("translate"))];
    let destination = TRANSLATE_DESTINATION;
    let unserved = unserved(network);
    let hooked = Chain::hooked;
    vec![
        (Chain::new("nodeports"), node_ports(network.family())),
        (Chain::new("translate"), translate(network)),
        (
            hooked("prerouting", Nat, Hook::Prerouting, destination),
            jump(),
        ),
        (hooked("output", Nat, Hook::Output, destination), jump()),
        (
            hooked("postrouting", Nat, Hook::Postrouting, TRANSLATE_SOURCE),
            masquerade(network.family()),
        ),
        (unserved_on_the_way(network.family()), unserved.clone()),
        (
            hooked("unserved-output", Filter, Hook::Output, FILTER),
            unserved,
        ),
    ]
}

/// Where what comes from elsewhere is refused. The kernel takes a route of IPv6 to the loopback device for one that rejects (with "no
/// route", which is no answer to a client), so that packets have to be refused before they are routed.
fn unserved_on_the_way(family: Family) -> Chain {
    let (hook, priority) = match family {
        Family::Ip => (Hook::Forward, FILTER),
        Family::Ip6 => (Hook::Prerouting, TRANSLATED),
    };
    Chain::hooked("unserved-forward", ChainKind::Filter, hook, priority)
}

fn to_services(network: &Network) -> Rule {
    let destination = Selector::Destination(network.family());
    Rule::new().prefix(destination, network.services.pair())
}

fn translate(network: &Network) -> Vec<Rule> {
    let family = network.family();
    let anywhere = || Verdict::jump(Scope::Service.chain(false));
    let mut rules = Vec::new();
    if let Some((service, listen)) = network.dns {
        let dns = Rule::new()
            .equal(Selector::Destination(family), service)
            .protocols(&[Protocol::Tcp, Protocol::Udp])
            .equal(Selector::DestinationPort, Value::Port(53));
        rules.push(dns.redirect(listen, None));
    }
    // Callers from outside the cluster get their answer by way of this node.
    let from_outside = to_services(network).outside([Selector::Source(family)], "cluster");
    rules.push(from_outside.set_mark(MASQUERADE_MARK));
    rules.push(Rule::new().verdicts(Scope::Service.selectors(family), "guards"));
    rules.extend(special(family, Scope::Service));
    rules.push(Rule::new().verdict(anywhere()));
    // A packet may see the table before a change at one rule and after it at the next, and miss a service that is now in a map
    // it has passed. It is looked for once more before it is refused.
    rules.push(to_services(network).verdict(anywhere()));
    // Those of 127.0.0.1 too, for the node's own programs; from elsewhere nothing comes to that address. An answer to ::1 would not be
    // taken from a pod's link, so that there is nobody (as upstream's).
    let own = match family {
        Family::Ip => Rule::new(),
        Family::Ip6 => Rule::new().differs(
            Selector::Destination(family),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ),
    };
    let own = own.local(Selector::DestinationKind);
    rules.push(own.verdict(Verdict::goto("nodeports")));
    rules
}

fn node_ports(family: Family) -> Vec<Rule> {
    let mut rules = special(family, Scope::Node);
    let anywhere = Verdict::goto(Scope::Node.chain(false));
    rules.push(Rule::new().verdict(anywhere));
    rules
}

/// Frontends at which not all clients are treated alike.
fn special(family: Family, scope: Scope) -> Vec<Rule> {
    let key = || scope.selectors(family);
    let outsiders = Rule::new()
        .outside([Selector::Source(family)], "cluster")
        .not_local(Selector::SourceKind);
    vec![
        Rule::new().verdicts(key(), scope.set(Place::Sticky)),
        outsiders
            .within(key(), scope.set(Place::Local))
            .verdict(Verdict::goto(scope.chain(true))),
        // The node itself may go to other nodes' endpoints, which may have no way to the address that it called from.
        Rule::new()
            .local(Selector::SourceKind)
            .within(key(), scope.set(Place::Local))
            .set_mark(MASQUERADE_MARK),
        Rule::new()
            .within(key(), scope.set(Place::External))
            .set_mark(MASQUERADE_MARK),
    ]
}

fn masquerade(family: Family) -> Vec<Rule> {
    let ends = [Selector::Source(family), Selector::Destination(family)];
    vec![
        Rule::new().within(ends, "hairpin").masquerade(true),
        Rule::new()
            .unmarked(MASQUERADE_MARK)
            .verdict(Verdict::Return),
        Rule::new().clear_mark(MASQUERADE_MARK),
        // Clients that begin at once would else be given the same port, and one of them no answer.
        Rule::new().masquerade(true),
    ]
}

/// Whatever is still addressed to the service range has no endpoint: say so at once.
/// Resets for TCP: of the node's own packets, which are routed to the loopback device, the kernel sends no ICMP.
/// All else that the node forwards or sends comes by here, too: what is under way passes at the first rule, as upstream's.
fn unserved(network: &Network) -> Vec<Rule> {
    let key = || Scope::Service.selectors(network.family());
    let tcp = |rule: Rule| rule.protocol(Protocol::Tcp).reject(Reject::Reset);
    // Nor have these, outside of the range: they must not be asked for elsewhere.
    let beyond = || Rule::new().within(key(), "unserved");
    let dropped = Rule::new().within(key(), "dropped");
    vec![
        Rule::new().established().verdict(Verdict::Accept),
        dropped.drop(),
        tcp(to_services(network)),
        to_services(network).reject(Reject::Port),
        tcp(beyond()),
        beyond().reject(Reject::Port),
    ]
}

#[cfg(test)]
mod tests;
