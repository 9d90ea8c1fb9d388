//! Ranges of addresses of the command line: of one family, or of each one.

use std::{fmt, net::IpAddr, str::FromStr};

use knarr_meta::prefix::Prefix;

/// At least one range, and at most one a family; the primary one first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges(Vec<Prefix>);

/// How many bits a prefix may have: of IPv4, and of IPv6.
type Limits = [std::ops::RangeInclusive<u8>; 2];

/// Of all pods: 16 bits tell which node's, as upstream's controller has it, and a node has 24 or 64.
const PODS: Limits = [8..=24, 48..=64];
/// Of Services: upstream takes 64 bits to tell which one's at most.
const SERVICES: Limits = [8..=28, 64..=124];
/// Of what others have chosen.
const OTHERS: Limits = [8..=30, 8..=126];

/// The ranges of a cluster's pods.
///
/// # Errors
/// What they cannot be.
pub fn pods(text: &str) -> Result<Ranges, String> {
    Ranges::parse(text, &PODS)
}

/// The ranges of a cluster's Services.
///
/// # Errors
/// What they cannot be.
pub fn services(text: &str) -> Result<Ranges, String> {
    Ranges::parse(text, &SERVICES)
}

impl Ranges {
    fn parse(text: &str, limits: &Limits) -> Result<Self, String> {
        let mut ranges: Vec<Prefix> = Vec::new();
        for one in text.split(',') {
            let range: Prefix = one
                .trim()
                .parse()
                .map_err(|_| format!("{one:?} is not a range such as 10.42.0.0/16 or fd42::/48"))?;
            let limits = &limits[usize::from(range.address().is_ipv6())];
            if !limits.contains(&range.bits()) {
                let (least, most) = (limits.start(), limits.end());
                return Err(format!(
                    "{range} must have a prefix of {least} to {most} bits"
                ));
            }
            if ranges.iter().any(|other| alike(other, range.address())) {
                return Err(format!("{text:?} has two ranges of one family"));
            }
            ranges.push(range);
        }
        Ok(Self(ranges))
    }

    /// The ranges, the primary one first.
    pub fn list(&self) -> &[Prefix] {
        &self.0
    }

    pub fn to_vec(&self) -> Vec<Prefix> {
        self.0.clone()
    }

    /// Whether there is one of each family of others and none beside, in the same order.
    pub fn fits(&self, other: &Self) -> bool {
        let families = |ranges: &Self| -> Vec<bool> { ranges.families().collect() };
        families(self) == families(other)
    }

    /// Of each in order, whether it is of IPv6.
    pub fn families(&self) -> impl Iterator<Item = bool> {
        self.0.iter().map(|range| range.address().is_ipv6())
    }

    pub fn has_ipv6(&self) -> bool {
        self.families().any(|ipv6| ipv6)
    }

    /// Whether there is a range of the family of an address.
    pub fn has_family_of(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| alike(range, address))
    }

    /// Those of the families of others; `None` where there are none.
    pub fn of_families(&self, others: &Self) -> Option<Self> {
        let mut kept = self.0.clone();
        kept.retain(|range| others.has_family_of(range.address()));
        (!kept.is_empty()).then_some(Self(kept))
    }

    /// The address that many places into each.
    pub fn nth(&self, place: u32) -> Vec<IpAddr> {
        self.0.iter().filter_map(|range| range.nth(place)).collect()
    }
}

fn alike(range: &Prefix, address: IpAddr) -> bool {
    range.address().is_ipv4() == address.is_ipv4()
}

/// Of which others say that they are so.
impl FromStr for Ranges {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, &OTHERS)
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.0.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_of_one_family_or_of_each_one() {
        for (given, read) in [
            ("10.42.5.6/16", Some("10.42.0.0/16")),
            ("fd42::1/48", Some("fd42::/48")),
            ("10.42.0.0/16,fd42::/48", Some("10.42.0.0/16,fd42::/48")),
            ("fd42::/56, 10.42.0.0/16", Some("fd42::/56,10.42.0.0/16")),
            ("10.42.0.0/16,10.43.0.0/16", None),
            ("fd42::/48,fd43::/48,10.42.0.0/16", None),
            ("10.42.0.0/25", None),
            ("fd42::/47", None),
            ("fd42::/65", None),
            ("10.42.0.0", None),
            ("10.42.0.0/16,", None),
            ("", None),
        ] {
            let ranges = pods(given).ok().map(|ranges| ranges.to_string());
            assert_eq!(ranges.as_deref(), read, "{given}");
        }
        for (given, is_one) in [
            ("fd43::/112", true),
            ("fd43::/108", true),
            ("fd43::/64", true),
            ("fd43::/63", false),
            ("fd43::/125", false),
            ("10.43.0.0/28", true),
            ("10.43.0.0/29", false),
        ] {
            assert_eq!(services(given).is_ok(), is_one, "{given}");
        }
    }

    #[test]
    fn ranges_are_compared_by_their_families() {
        let ranges = |text: &str| -> Ranges { text.parse().unwrap() };
        let both = ranges("10.43.0.0/16,fd43::/112");
        assert!(both.fits(&ranges("10.42.0.0/16,fd42::/48")));
        assert!(!both.fits(&ranges("fd42::/48,10.42.0.0/16")));
        assert!(!both.fits(&ranges("10.42.0.0/16")));
        let tenth: Vec<String> = both.nth(10).iter().map(ToString::to_string).collect();
        assert_eq!(tenth, ["10.43.0.10", "fd43::a"]);
        assert!(both.has_ipv6() && !ranges("10.42.0.0/16").has_ipv6());
    }
}
