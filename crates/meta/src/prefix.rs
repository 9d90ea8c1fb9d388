//! Ranges of addresses of either family.

use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The addresses that have their first bits in common, as `10.42.0.0/16`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// The first of them.
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The range around an address, of which `bits` bits count. More than the address has are as many as it has.
    pub fn new(address: IpAddr, bits: u8) -> Self {
        let bits = bits.min(width(address));
        let kept = number(address) & mask(bits, width(address));
        Self {
            address: numbered(address, kept),
            bits,
        }
    }

    /// The range of one address.
    pub fn host(address: IpAddr) -> Self {
        Self::new(address, width(address))
    }

    /// The first address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self::new(address, self.bits) == *self
    }

    /// Whether all of another range is within this one.
    pub fn covers(&self, other: &Self) -> bool {
        self.bits <= other.bits && self.contains(other.address)
    }

    pub fn overlaps(&self, other: &Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// The address that many places behind the first, if it is within the range.
    pub fn nth(&self, place: u32) -> Option<IpAddr> {
        let number = number(self.address).checked_add(u128::from(place))?;
        let address = numbered(self.address, number);
        self.contains(address).then_some(address)
    }

    /// The first address, and how many bits count.
    pub fn pair(&self) -> (IpAddr, u8) {
        (self.address, self.bits)
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn mask(bits: u8, width: u8) -> u128 {
    let shift = u32::from(width.saturating_sub(bits));
    u128::MAX.checked_shl(shift).unwrap_or(0)
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address of this number, of the other's family. What does not fit into it wraps; callers check the range.
fn numbered(family: IpAddr, number: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => {
            let number = u32::try_from(number & u128::from(u32::MAX)).unwrap_or_default();
            IpAddr::V4(number.into())
        }
        IpAddr::V6(_) => IpAddr::V6(number.into()),
    }
}

impl From<(std::net::Ipv4Addr, u8)> for Prefix {
    fn from((address, bits): (std::net::Ipv4Addr, u8)) -> Self {
        Self::new(IpAddr::V4(address), bits)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a range of addresses.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a range of addresses, such as 10.42.0.0/16")]
pub struct InvalidPrefix(String);

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (address, bits) = text.split_once('/')?;
            let address: IpAddr = address.parse().ok()?;
            let bits: u8 = bits.parse().ok()?;
            (bits <= width(address)).then(|| Self::new(address, bits))
        };
        parse().ok_or_else(|| InvalidPrefix(text.to_owned()))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
