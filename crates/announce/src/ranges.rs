//! The ranges that addresses are given out of, as nodes are told them.

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

/// Ranges of addresses, `192.0.2.10-192.0.2.20`, with commas between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<RangeInclusive<IpAddr>>);

/// A text that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of addresses FIRST-LAST")]
pub struct BadRanges(String);

impl Ranges {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = (self.0.iter())
            .map(|range| format!("{}-{}", range.start(), range.end()))
            .collect();
        f.write_str(&texts.join(","))
    }
}

impl FromStr for Ranges {
    type Err = BadRanges;

    fn from_str(text: &str) -> Result<Self, BadRanges> {
        let texts = text.split(',').filter(|one| !one.is_empty());
        let range = |one: &str| {
            let (first, last) = one.split_once('-')?;
            let (first, last): (IpAddr, IpAddr) = (first.parse().ok()?, last.parse().ok()?);
            (first.is_ipv4() == last.is_ipv4()).then_some(first..=last)
        };
        texts
            .map(|one| range(one).ok_or_else(|| BadRanges(one.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_they_are_written() {
        let text = "192.0.2.10-192.0.2.20,fd00::10-fd00::20";
        let ranges: Ranges = text.parse().expect("ranges");
        assert_eq!(ranges.to_string(), text);
        for (address, wanted) in [
            ("192.0.2.10", true),
            ("192.0.2.21", false),
            ("fd00::20", true),
            ("fd00::f", false),
        ] {
            assert_eq!(ranges.contain(address.parse().expect(address)), wanted);
        }
        assert!("".parse::<Ranges>().expect("none").is_empty());
        for text in ["192.0.2.1", "a-b", "192.0.2.1-fd00::1"] {
            assert!(text.parse::<Ranges>().is_err(), "{text}");
        }
    }
}
