//! IPv4 ranges of the command line.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use knarr_meta::prefix::Prefix;

/// An IPv4 range in CIDR notation; the address is the range's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub base: Ipv4Addr,
    pub prefix: u8,
}

impl Cidr {
    /// The address `index` places into the range.
    pub fn nth(self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.base).wrapping_add(index))
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.base)
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.contains(other.base) || other.contains(self.base)
    }

    pub fn pair(self) -> (Ipv4Addr, u8) {
        (self.base, self.prefix)
    }

    fn mask(self) -> u32 {
        u32::MAX << (32 - self.prefix)
    }
}

impl From<Cidr> for Prefix {
    fn from(cidr: Cidr) -> Self {
        Self::new(IpAddr::V4(cidr.base), cidr.prefix)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || format!("{text:?} is not an IPv4 range such as 10.42.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address: Ipv4Addr = address.parse().map_err(|_| error())?;
        let prefix: u8 = prefix.parse().map_err(|_| error())?;
        if !(8..=28).contains(&prefix) {
            return Err(format!("{text:?} must have a prefix of 8 to 28 bits"));
        }
        let cidr = Self {
            base: address,
            prefix,
        };
        let base = Ipv4Addr::from(u32::from(address) & cidr.mask());
        Ok(Self { base, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_normalized_and_compared() {
        let cidr: Cidr = "10.43.5.6/16".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.43.0.0/16");
        assert_eq!(cidr.nth(10), Ipv4Addr::new(10, 43, 0, 10));
        assert!(cidr.overlaps("10.43.128.0/20".parse().unwrap()));
        assert!(!cidr.overlaps("10.42.0.0/16".parse().unwrap()));
        for bad in ["10.0.0.0", "10.0.0.0/31", "x/8", "::/64"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }
}
