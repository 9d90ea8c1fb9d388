//! Rules: what is looked at, and what becomes of a packet.
//!
//! A rule is a list of statements, each of which reads registers that it has filled itself: they begin anew with the first
//! register.

mod encode;

use std::{fmt, net::IpAddr, sync::Arc};

use crate::{
    set::{Contents, Element, Set},
    table::{Family, Verdict},
    value::{AddressKind, Field, Protocol, Value, joined},
};

/// What can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    Source(Family),
    Destination(Family),
    /// Of whatever transport protocol has ports.
    DestinationPort,
    Protocol,
    Mark,
    InputInterface,
    OutputInterface,
    SourceKind,
    DestinationKind,
    /// Whether answers would go by the interface that a packet came by.
    WayBack,
    /// Which side of its connection a packet comes from; of packets that have none, nothing.
    ConnectionDirection,
    ConnectionState,
    /// Any number below `modulus`, plus `offset`.
    Random {
        modulus: u32,
        offset: u32,
    },
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(family) => write!(f, "{family} saddr"),
            Self::Destination(family) => write!(f, "{family} daddr"),
            Self::DestinationPort => f.write_str("th dport"),
            Self::Protocol => f.write_str("meta l4proto"),
            Self::Mark => f.write_str("meta mark"),
            Self::InputInterface => f.write_str("iifname"),
            Self::OutputInterface => f.write_str("oifname"),
            Self::SourceKind => f.write_str("fib saddr type"),
            Self::DestinationKind => f.write_str("fib daddr type"),
            Self::WayBack => f.write_str("fib saddr . iif oif"),
            Self::ConnectionDirection => f.write_str("ct direction"),
            Self::ConnectionState => f.write_str("ct state"),
            Self::Random { modulus, offset } => {
                write!(f, "numgen random mod {modulus}")?;
                if *offset > 0 {
                    write!(f, " offset {offset}")?;
                }
                Ok(())
            }
        }
    }
}

/// How a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    /// Of TCP only.
    Reset,
    /// By ICMP: there is no such port.
    Port,
}

/// What the kernel knows of the connection that a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    Established,
    Related,
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Established => "established",
            Self::Related => "related",
        })
    }
}

/// Where a lookup looks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Named(Arc<str>),
    Anonymous(Contents),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => write!(f, "@{name}"),
            Self::Anonymous(contents) => write!(f, "{contents}"),
        }
    }
}

/// Where a connection is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Address(IpAddr, Option<u16>),
    /// An address and a port.
    Mapped(Vec<Selector>, Place),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Statement {
    /// Goes on if equal, or else if `inverted`; where there is a mask, bits outside of it do not count.
    Compare {
        what: Selector,
        mask: Option<u32>,
        value: Value,
        inverted: bool,
    },
    /// Goes on if an address begins with so many of another's bits.
    Prefix {
        what: Selector,
        address: IpAddr,
        prefix: u8,
        inverted: bool,
    },
    State(ConnectionState),
    NeighbourDiscovery,
    Within {
        what: Vec<Selector>,
        place: Place,
        inverted: bool,
    },
    Verdicts {
        what: Vec<Selector>,
        place: Place,
    },
    /// The mark's bits of `and`, with those of `xor` turned over.
    Mark {
        and: u32,
        xor: u32,
    },
    Update {
        set: Arc<str>,
        key: Vec<Selector>,
    },
    Translate {
        family: Family,
        target: Target,
    },
    Masquerade {
        fully_random: bool,
    },
    Reject(Reject),
    Verdict(Verdict),
}

/// A rule, statement by statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule(Vec<Statement>);

impl Rule {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn equal(self, what: Selector, value: impl Into<Value>) -> Self {
        self.compare(what, None, value.into(), false)
    }

    pub fn differs(self, what: Selector, value: impl Into<Value>) -> Self {
        self.compare(what, None, value.into(), true)
    }

    /// No bit of `mask` is in the mark.
    pub fn unmarked(self, mask: u32) -> Self {
        self.compare(Selector::Mark, Some(mask), Value::Mark(0), false)
    }

    /// With a chance of one in `modulus`.
    pub fn one_in(self, modulus: u32) -> Self {
        let any = Selector::Random { modulus, offset: 0 };
        self.compare(any, None, Value::Number(0), false)
    }

    pub fn local(self, what: Selector) -> Self {
        self.compare(what, None, Value::Kind(AddressKind::Local), false)
    }

    pub fn not_local(self, what: Selector) -> Self {
        self.compare(what, None, Value::Kind(AddressKind::Local), true)
    }

    /// From the side of a connection that was called.
    pub fn reply(self) -> Self {
        self.equal(Selector::ConnectionDirection, Value::Reply)
    }

    /// Of a connection that another one has announced, or an error about one.
    pub fn related(self) -> Self {
        self.push(Statement::State(ConnectionState::Related))
    }

    /// Of a connection that both sides have spoken on.
    pub fn established(self) -> Self {
        self.push(Statement::State(ConnectionState::Established))
    }

    /// How nodes of a link find each other (RFC 4861), in a table of IPv6: solicitations and advertisements.
    pub fn neighbour_discovery(self) -> Self {
        self.push(Statement::NeighbourDiscovery)
    }

    pub fn protocol(self, protocol: Protocol) -> Self {
        self.equal(Selector::Protocol, Value::Protocol(protocol))
    }

    /// One of several.
    pub fn protocols(self, protocols: &[Protocol]) -> Self {
        let elements = protocols
            .iter()
            .map(|protocol| Element::new([Value::Protocol(*protocol)]));
        let set = Set::new("", &[Field::Protocol]);
        self.within_any([Selector::Protocol], Contents::new(set, elements.collect()))
    }

    /// The address begins with `prefix` bits of `address`.
    pub fn prefix(self, what: Selector, (address, prefix): (IpAddr, u8)) -> Self {
        self.push(Statement::Prefix {
            what,
            address,
            prefix,
            inverted: false,
        })
    }

    /// The address does not begin so.
    pub fn outside_prefix(self, what: Selector, (address, prefix): (IpAddr, u8)) -> Self {
        self.push(Statement::Prefix {
            what,
            address,
            prefix,
            inverted: true,
        })
    }

    pub fn within(self, what: impl Into<Vec<Selector>>, set: &str) -> Self {
        self.lookup(what.into(), Place::Named(set.into()), false)
    }

    pub fn outside(self, what: impl Into<Vec<Selector>>, set: &str) -> Self {
        self.lookup(what.into(), Place::Named(set.into()), true)
    }

    pub fn within_any(self, what: impl Into<Vec<Selector>>, contents: Contents) -> Self {
        self.lookup(what.into(), Place::Anonymous(contents), false)
    }

    pub fn outside_any(self, what: impl Into<Vec<Selector>>, contents: Contents) -> Self {
        self.lookup(what.into(), Place::Anonymous(contents), true)
    }

    /// The verdict of a map, if it has the key.
    pub fn verdicts(self, what: impl Into<Vec<Selector>>, map: &str) -> Self {
        let (what, place) = (what.into(), Place::Named(map.into()));
        self.push(Statement::Verdicts { what, place })
    }

    pub fn verdicts_of(self, what: impl Into<Vec<Selector>>, contents: Contents) -> Self {
        let (what, place) = (what.into(), Place::Anonymous(contents));
        self.push(Statement::Verdicts { what, place })
    }

    pub fn set_mark(self, bits: u32) -> Self {
        let (and, xor) = (!bits, bits);
        self.push(Statement::Mark { and, xor })
    }

    pub fn clear_mark(self, bits: u32) -> Self {
        let (and, xor) = (!bits, 0);
        self.push(Statement::Mark { and, xor })
    }

    /// Adds the key to a set with a lifetime, or begins its lifetime anew.
    pub fn update(self, set: &str, key: impl Into<Vec<Selector>>) -> Self {
        let (set, key) = (set.into(), key.into());
        self.push(Statement::Update { set, key })
    }

    /// Sends a connection elsewhere, to the same port unless one is given.
    pub fn redirect(self, address: IpAddr, port: Option<u16>) -> Self {
        self.push(Statement::Translate {
            family: Family::of(address),
            target: Target::Address(address, port),
        })
    }

    /// Sends a connection to the address and port of a map, if it has the key.
    pub fn redirect_by(self, family: Family, key: impl Into<Vec<Selector>>, map: &str) -> Self {
        let target = Target::Mapped(key.into(), Place::Named(map.into()));
        self.push(Statement::Translate { family, target })
    }

    /// Gives a connection the address of the interface it leaves by. Fully random ports are not looked for, one after the other,
    /// from the packet's own on.
    pub fn masquerade(self, fully_random: bool) -> Self {
        self.push(Statement::Masquerade { fully_random })
    }

    pub fn reject(self, how: Reject) -> Self {
        self.push(Statement::Reject(how))
    }

    pub fn verdict(self, verdict: Verdict) -> Self {
        self.push(Statement::Verdict(verdict))
    }

    pub fn drop(self) -> Self {
        self.verdict(Verdict::Drop)
    }

    /// Its anonymous sets, in order.
    pub(crate) fn anonymous(&self) -> impl Iterator<Item = &Contents> {
        self.0.iter().filter_map(|statement| match statement {
            Statement::Within { place, .. }
            | Statement::Verdicts { place, .. }
            | Statement::Translate {
                target: Target::Mapped(_, place),
                ..
            } => match place {
                Place::Anonymous(contents) => Some(contents),
                Place::Named(_) => None,
            },
            _ => None,
        })
    }

    fn compare(self, what: Selector, mask: Option<u32>, value: Value, inverted: bool) -> Self {
        self.push(Statement::Compare {
            what,
            mask,
            value,
            inverted,
        })
    }

    fn lookup(self, what: Vec<Selector>, place: Place, inverted: bool) -> Self {
        self.push(Statement::Within {
            what,
            place,
            inverted,
        })
    }

    fn push(mut self, statement: Statement) -> Self {
        self.0.push(statement);
        self
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        joined(f, &self.0, " ")
    }
}

impl fmt::Display for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compare {
                what,
                mask,
                value,
                inverted,
            } => {
                write!(f, "{what}")?;
                if let Some(mask) = mask {
                    write!(f, " & {mask:#x}")?;
                }
                let not = if *inverted { "!= " } else { "" };
                let bare = mask.is_none() && !matches!(what, Selector::Random { .. });
                let equal = if bare || *inverted { "" } else { "== " };
                write!(f, " {not}{equal}{value}")
            }
            Self::Prefix {
                what,
                address,
                prefix,
                inverted,
            } => {
                let not = if *inverted { "!= " } else { "" };
                write!(f, "{what} {not}{address}/{prefix}")
            }
            Self::Within {
                what,
                place,
                inverted,
            } => {
                joined(f, what, " . ")?;
                let not = if *inverted { "!= " } else { "" };
                write!(f, " {not}{place}")
            }
            Self::State(state) => write!(f, "ct state {state}"),
            Self::NeighbourDiscovery => f.write_str("icmpv6 type 135-136"),
            Self::Verdicts { what, place } => {
                joined(f, what, " . ")?;
                write!(f, " vmap {place}")
            }
            Self::Mark { and, xor } if *xor == !and => {
                write!(f, "meta mark set meta mark or {xor:#x}")
            }
            Self::Mark { and, xor } => {
                write!(f, "meta mark set meta mark & {and:#x}")?;
                match xor {
                    0 => Ok(()),
                    xor => write!(f, " ^ {xor:#x}"),
                }
            }
            Self::Update { set, key } => {
                write!(f, "update @{set} {{ ")?;
                joined(f, key, " . ")?;
                f.write_str(" }")
            }
            Self::Translate { family, target } => write!(f, "dnat {family} to {target}"),
            Self::Masquerade { fully_random } => f.write_str(match fully_random {
                true => "masquerade fully-random",
                false => "masquerade",
            }),
            Self::Reject(Reject::Reset) => f.write_str("reject with tcp reset"),
            Self::Reject(Reject::Port) => f.write_str("reject"),
            Self::Verdict(verdict) => write!(f, "{verdict}"),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, None) => write!(f, "{address}"),
            Self::Address(IpAddr::V4(address), Some(port)) => write!(f, "{address}:{port}"),
            Self::Address(IpAddr::V6(address), Some(port)) => write!(f, "[{address}]:{port}"),
            Self::Mapped(key, place) => {
                joined(f, key, " . ")?;
                write!(f, " map {place}")
            }
        }
    }
}
