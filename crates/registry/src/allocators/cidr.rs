//! A range of addresses that Services may have.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::Error;

/// Larger ranges are used in part only.
const MAX_ADDRESSES: u64 = 1 << 20;

/// The size of the band for addresses that people choose, as upstream computes it: a sixteenth, within 16 and 256.
pub(super) fn band(size: u64) -> u64 {
    if size < 16 {
        0
    } else {
        (size / 16).clamp(16, 256).min(size)
    }
}

/// The addresses of a range that Services may have: all but the first and, with IPv4, the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    text: String,
    /// The first usable address.
    base: u128,
    size: u64,
    mask: u128,
    v6: bool,
}

impl Cidr {
    /// The range of a cluster.
    pub(super) fn parse(text: &str) -> Result<Cidr, Error> {
        Cidr::with_bits(text, 3)
    }

    /// The range of a ServiceCIDR, which may be of any size.
    pub(super) fn of_object(text: &str) -> Result<Cidr, Error> {
        Cidr::with_bits(text, 0)
    }

    fn with_bits(text: &str, least: u32) -> Result<Cidr, Error> {
        let bad = || Error::Cidr(text.to_owned());
        let (ip, prefix) = text.split_once('/').ok_or_else(bad)?;
        let ip: IpAddr = ip.parse().map_err(|_| bad())?;
        let prefix: u32 = prefix.parse().map_err(|_| bad())?;
        let width = if ip.is_ipv6() { 128 } else { 32 };
        let bits = u32::checked_sub(width, prefix).ok_or_else(bad)?;
        if bits < least {
            return Err(Error::CidrTooSmall(text.to_owned()));
        }
        let all: u128 = if bits >= 64 {
            u128::from(u64::MAX)
        } else {
            1 << bits
        };
        let mask = if bits == 128 { 0 } else { u128::MAX << bits };
        let usable = all.saturating_sub(if ip.is_ipv6() { 1 } else { 2 });
        Ok(Cidr {
            text: text.to_owned(),
            base: (number(ip) & mask).saturating_add(1),
            size: u64::try_from(usable).unwrap_or(u64::MAX).min(MAX_ADDRESSES),
            mask,
            v6: ip.is_ipv6(),
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn is_v6(&self) -> bool {
        self.v6
    }

    /// Whether both are the same addresses, however they are written.
    pub(super) fn is_same(&self, other: &Cidr) -> bool {
        (self.base, self.mask, self.v6) == (other.base, other.mask, other.v6)
    }

    /// Whether an address is within, also one that no Service may have.
    pub(super) fn is_around(&self, ip: IpAddr) -> bool {
        let network = self.base.saturating_sub(1);
        ip.is_ipv6() == self.v6 && number(ip) & self.mask == network
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The first address of the range, which no Service may have.
    pub(super) fn network(&self) -> IpAddr {
        self.of_number(self.base.saturating_sub(1))
    }

    pub(super) fn address(&self, offset: u64) -> IpAddr {
        self.of_number(self.base.saturating_add(u128::from(offset)))
    }

    fn of_number(&self, address: u128) -> IpAddr {
        match self.v6 {
            true => Ipv6Addr::from(address).into(),
            // Within 32 bits: base and offset come from an IPv4 range.
            false => Ipv4Addr::from(address as u32).into(),
        }
    }

    /// `None` outside the range.
    pub(super) fn offset(&self, ip: IpAddr) -> Option<u64> {
        if ip.is_ipv6() != self.v6 {
            return None;
        }
        let offset = u64::try_from(number(ip).checked_sub(self.base)?).ok()?;
        (offset < self.size).then_some(offset)
    }
}

/// A family of addresses, as Services name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

impl Family {
    pub(super) fn of(v6: bool) -> Family {
        if v6 { Family::Ipv6 } else { Family::Ipv4 }
    }

    /// None of what is no family: for validation to refuse.
    pub(super) fn parse(text: &str) -> Option<Family> {
        [Family::Ipv4, Family::Ipv6]
            .into_iter()
            .find(|family| family.as_str() == text)
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        }
    }

    pub(super) fn other(self) -> Family {
        Family::of(self == Family::Ipv4)
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}
