//! Ranges of addresses of both families.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A range in CIDR notation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first address, as a number.
    first: u128,
    is_v6: bool,
    /// How many bits of an address differ within it.
    host_bits: u32,
}

impl Range {
    /// How many addresses there are.
    pub fn size(&self) -> u128 {
        1_u128.checked_shl(self.host_bits).unwrap_or(u128::MAX)
    }

    /// The address so many places into the range; `None` behind its end.
    pub fn nth(&self, place: u128) -> Option<IpAddr> {
        if place >= self.size() {
            return None;
        }
        let address = self.first.checked_add(place)?;
        match self.is_v6 {
            true => Some(IpAddr::V6(Ipv6Addr::from(address))),
            false => Some(IpAddr::V4(Ipv4Addr::from(u32::try_from(address).ok()?))),
        }
    }

    /// Which place an address has; `None` where it is of another range.
    pub fn place(&self, address: IpAddr) -> Option<u128> {
        let place = number(address).checked_sub(self.first)?;
        (address.is_ipv6() == self.is_v6 && place < self.size()).then_some(place)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is no range of addresses such as 10.244.0.0/16");
        let (address, prefix) = text.split_once('/').ok_or_else(error)?;
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let prefix: u32 = prefix.parse().map_err(|_| error())?;
        let bits: u32 = if address.is_ipv6() { 128 } else { 32 };
        let host_bits: u32 = bits.checked_sub(prefix).ok_or_else(error)?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Ok(Self {
            first: number(address) & mask,
            is_v6: address.is_ipv6(),
            host_bits,
        })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.is_v6 { 128 } else { 32 };
        match self.nth(0) {
            Some(first) => write!(f, "{first}/{}", bits - self.host_bits),
            None => f.write_str("no range"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_addresses_belong_together() {
        for (text, shown, place, address) in [
            ("10.42.7.9/24", "10.42.7.0/24", 5, Some("10.42.7.5")),
            ("10.42.7.0/24", "10.42.7.0/24", 256, None),
            (
                "255.255.255.255/32",
                "255.255.255.255/32",
                0,
                Some("255.255.255.255"),
            ),
            ("0.0.0.0/0", "0.0.0.0/0", 1, Some("0.0.0.1")),
            ("fd00::/64", "fd00::/64", 0x1_0000, Some("fd00::1:0")),
            ("::/0", "::/0", 2, Some("::2")),
        ] {
            let range: Range = text.parse().expect(text);
            assert_eq!(range.to_string(), shown);
            let nth = range.nth(place);
            assert_eq!(
                nth,
                address.map(|a| a.parse().expect("an address")),
                "{text}"
            );
            if let Some(address) = nth {
                assert_eq!(range.place(address), Some(place), "{text}");
            }
        }
        let range: Range = "10.0.0.0/24".parse().expect("a range");
        for other in ["10.0.1.0", "9.255.255.255", "::a00:1"] {
            assert_eq!(range.place(other.parse().expect(other)), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/33",
            "x/8",
            "::/129",
            "10.0.0.0/-1",
        ] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}
