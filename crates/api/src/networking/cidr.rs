//! Ranges of addresses.

use std::net::IpAddr;

/// A range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    /// The first address, as a number.
    first: u128,
    length: u32,
    v6: bool,
}

impl Cidr {
    /// Reads `10.0.0.0/8`; bits behind the prefix are taken for zeros.
    pub(super) fn parse(text: &str) -> Option<Cidr> {
        let (ip, length) = text.split_once('/')?;
        let length: u32 = length.parse().ok()?;
        let (number, bits, v6) = match ip.parse().ok()? {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), 32u32, false),
            IpAddr::V6(ip) => (u128::from(ip), 128, true),
        };
        let rest = bits.checked_sub(length).filter(|_| length <= bits)?;
        let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
        Some(Cidr {
            first: number & mask,
            length,
            v6,
        })
    }

    pub(super) fn is_v6(&self) -> bool {
        self.v6
    }

    /// The usual form.
    pub(super) fn canonical(&self) -> String {
        let ip = match self.v6 {
            true => IpAddr::from(self.first.to_be_bytes()),
            false => {
                let [.., a, b, c, d] = self.first.to_be_bytes();
                IpAddr::from([a, b, c, d])
            }
        };
        format!("{ip}/{}", self.length)
    }

    /// Whether another range is a part of this one, and not all of it.
    pub(super) fn has_within(&self, other: &Cidr) -> bool {
        let bits: u32 = if self.v6 { 128 } else { 32 };
        let rest = bits.saturating_sub(self.length);
        let mask = u128::MAX.checked_shl(rest).unwrap_or(0);
        self.v6 == other.v6 && self.length < other.length && other.first & mask == self.first
    }
}

/// What is wrong with a range that is to be in its usual form, in upstream's words.
pub(super) fn errors(text: &str) -> Vec<String> {
    let wrong = knarr_meta::names::cidr(text);
    if !wrong.is_empty() {
        return wrong;
    }
    let canonical = Cidr::parse(text).map(|range| range.canonical());
    match canonical {
        Some(canonical) if canonical != text => {
            vec![format!("must be in canonical form ({canonical:?})")]
        }
        _ => Vec::new(),
    }
}
