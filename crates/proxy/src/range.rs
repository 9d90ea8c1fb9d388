//! Ranges of addresses.

use std::{collections::BTreeSet, fmt, net::Ipv4Addr, str::FromStr};

/// The addresses that have a prefix in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    // In this order, wider ranges are the lesser ones.
    prefix: u8,
    network: u32,
}

impl Range {
    /// The range around an address. `prefix` counts its bits, at most 32.
    pub fn new(address: Ipv4Addr, prefix: u8) -> Self {
        let prefix = prefix.min(32);
        let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
        Self {
            prefix,
            network: address.to_bits() & mask,
        }
    }

    pub fn contains(&self, address: Ipv4Addr) -> bool {
        Self::new(address, self.prefix) == *self
    }

    /// The first address, and how many bits count.
    pub fn parts(&self) -> (Ipv4Addr, u8) {
        (Ipv4Addr::from_bits(self.network), self.prefix)
    }

    /// The ranges around this one, the widest first, itself the last.
    fn wider(&self) -> impl Iterator<Item = Self> {
        let address = Ipv4Addr::from_bits(self.network);
        (0..=self.prefix).map(move |prefix| Self::new(address, prefix))
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.network), self.prefix)
    }
}

/// Not a range of IPv4 addresses.
#[derive(Debug, PartialEq, Eq)]
pub struct NotIpv4;

impl FromStr for Range {
    type Err = NotIpv4;

    fn from_str(text: &str) -> Result<Self, NotIpv4> {
        let (address, prefix) = text.trim().split_once('/').ok_or(NotIpv4)?;
        let prefix = prefix.parse().map_err(|_| NotIpv4)?;
        if prefix > 32 {
            return Err(NotIpv4);
        }
        Ok(Self::new(address.parse().map_err(|_| NotIpv4)?, prefix))
    }
}

/// The same addresses without a range within another, which nft does not take.
pub fn disjoint(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort();
    let mut kept = BTreeSet::new();
    for range in ranges {
        if !range.wider().any(|wider| kept.contains(&wider)) {
            kept.insert(range);
        }
    }
    kept.into_iter().collect()
}

#[cfg(test)]
mod tests;
