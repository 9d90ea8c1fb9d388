//! What keys, data and comparisons are made of.

use std::{fmt, net::IpAddr};

use crate::kernel;

/// The kind of a field: nft's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Ipv4,
    Ipv6,
    Protocol,
    Port,
    Mark,
    /// Of anonymous maps only: nft has no name for it.
    Number,
}

impl Field {
    pub(crate) fn bytes(self) -> u32 {
        match self {
            Self::Protocol => 1,
            Self::Port => 2,
            Self::Ipv4 | Self::Mark | Self::Number => 4,
            Self::Ipv6 => 16,
        }
    }

    /// How nft numbers it; for those who list the set.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Number => 4,
            Self::Ipv4 => 7,
            Self::Ipv6 => 8,
            Self::Protocol => 12,
            Self::Port => 13,
            Self::Mark => 19,
        }
    }

    pub(crate) fn order(self) -> u32 {
        match self {
            Self::Mark | Self::Number => kernel::set::HOST_ORDER,
            _ => kernel::set::NETWORK_ORDER,
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ipv4 => "ipv4_addr",
            Self::Ipv6 => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Mark => "mark",
            Self::Number => "integer",
        })
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// What the routing table says of an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AddressKind {
    /// The machine's own.
    Local,
}

impl AddressKind {
    fn number(self) -> u32 {
        match self {
            Self::Local => 2,
        }
    }
}

/// One field.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    Address(IpAddr),
    Protocol(Protocol),
    Port(u16),
    /// What a packet is marked with; as part of a key also what [`crate::Selector::Random`] gives.
    Mark(u32),
    /// What [`crate::Selector::Random`] gives.
    Number(u32),
    /// An interface's name; those that begin so, if a `*` follows.
    Interface(String),
    Kind(AddressKind),
    /// There is no [`crate::Selector::WayBack`].
    Missing,
    /// Of a packet within its connection: from the one that was called.
    Reply,
}

impl Value {
    pub(crate) fn push(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Address(IpAddr::V4(address)) => bytes.extend(address.octets()),
            Self::Address(IpAddr::V6(address)) => bytes.extend(address.octets()),
            Self::Protocol(protocol) => bytes.push(protocol.number()),
            Self::Port(port) => bytes.extend(port.to_be_bytes()),
            Self::Mark(number) | Self::Number(number) => bytes.extend(number.to_ne_bytes()),
            Self::Kind(kind) => bytes.extend(kind.number().to_ne_bytes()),
            Self::Reply => bytes.push(kernel::ct::REPLY),
            // As wide as the register: older kernels write all of it, newer ones its first byte and zeros.
            Self::Missing => bytes.extend([0; 4]),
            Self::Interface(name) => match name.strip_suffix('*') {
                Some(start) => bytes.extend(start.as_bytes()),
                None => {
                    let end = bytes.len().saturating_add(16);
                    bytes.extend(name.as_bytes());
                    bytes.resize(end, 0);
                }
            },
        }
    }
}

impl From<IpAddr> for Value {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Protocol(protocol) => write!(f, "{protocol}"),
            Self::Port(port) => write!(f, "{port}"),
            Self::Mark(mark) => write!(f, "{mark:#x}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Interface(name) => write!(f, "\"{name}\""),
            Self::Kind(AddressKind::Local) => write!(f, "local"),
            Self::Reply => write!(f, "reply"),
            Self::Missing => write!(f, "missing"),
        }
    }
}

/// The fields of a key or of data, each at a multiple of four bytes if there are several.
pub(crate) fn concatenated(values: &[Value]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len().saturating_mul(4));
    for value in values {
        value.push(&mut bytes);
        if values.len() > 1 {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
    }
    bytes
}

/// Bytes of a key or of data of these fields.
pub(crate) fn length(fields: &[Field]) -> u32 {
    match fields {
        [field] => field.bytes(),
        _ => fields.iter().map(|f| f.bytes().next_multiple_of(4)).sum(),
    }
}

/// nft's number of a concatenation.
pub(crate) fn type_number(fields: &[Field]) -> u32 {
    fields.iter().fold(0, |number, field| {
        number << kernel::set::TYPE_BITS | field.number()
    })
}

/// `a . b . c`, as nft has it.
pub(crate) fn joined<T: fmt::Display>(
    f: &mut fmt::Formatter<'_>,
    parts: impl IntoIterator<Item = T>,
    between: &str,
) -> fmt::Result {
    for (i, part) in parts.into_iter().enumerate() {
        if i > 0 {
            f.write_str(between)?;
        }
        write!(f, "{part}")?;
    }
    Ok(())
}
