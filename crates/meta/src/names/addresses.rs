//! Texts that are addresses, and ranges of them.

use std::{borrow::Cow, net::IpAddr};

/// An IP address of either family, in no form that some programs read as another one, as by upstream's strict rule.
pub fn ip(value: &str) -> Vec<String> {
    let message = match without_leading_zeros(value).parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => {
            "must not be an IPv4-mapped IPv6 address"
        }
        Ok(_) if value.parse::<IpAddr>().is_ok() => return Vec::new(),
        Ok(_) => "must not have leading 0s",
        Err(_) => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    };
    vec![message.to_owned()]
}

/// The same, in the one form that programs write it in: the rule of fields that are new enough to ask for it.
pub fn canonical_ip(value: &str) -> Vec<String> {
    let messages = ip(value);
    if !messages.is_empty() {
        return messages;
    }
    match value.parse::<IpAddr>().map(|ip| ip.to_string()) {
        Ok(canonical) if canonical != value => {
            vec![format!("must be in canonical form ({canonical:?})")]
        }
        _ => Vec::new(),
    }
}

/// An IP address as upstream's lenient parser reads it.
pub fn lenient_ip(value: &str) -> Option<IpAddr> {
    without_leading_zeros(value).parse().ok()
}

/// A range of IP addresses of either family: the address that it begins with, and how many of its bits are the same for all. Forms that
/// some programs read as another range are refused, as by upstream's strict rule.
pub fn cidr(value: &str) -> Vec<String> {
    let message = match cidr_form(value) {
        Some(CidrForm::Clear) => return Vec::new(),
        Some(CidrForm::LeadingZeros) => "must not have leading 0s in IP or prefix length",
        Some(CidrForm::Mapped) => "must not have an IPv4-mapped IPv6 address",
        Some(CidrForm::BitsBeyond) => "must not have bits set beyond the prefix length",
        None => "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
    };
    vec![message.to_owned()]
}

/// A range as upstream's lenient parser reads it: the address that it begins with.
pub fn lenient_cidr(value: &str) -> Option<IpAddr> {
    cidr_form(value)?;
    lenient_ip(value.split_once('/')?.0)
}

enum CidrForm {
    Clear,
    LeadingZeros,
    Mapped,
    BitsBeyond,
}

/// None for what no program takes for a range.
fn cidr_form(value: &str) -> Option<CidrForm> {
    let (ip, length) = value.split_once('/')?;
    let plain = without_leading_zeros(ip);
    let address: IpAddr = plain.parse().ok()?;
    let (number, bits) = match address {
        IpAddr::V4(four) => (u128::from(u32::from(four)), 32u32),
        IpAddr::V6(six) => (u128::from(six), 128),
    };
    if length.is_empty() || !length.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let rest = bits.checked_sub(length.parse::<u32>().ok()?)?;
    let has_zeros = plain != ip || (length.len() > 1 && length.starts_with('0'));
    let is_mapped = matches!(address, IpAddr::V6(six) if six.to_ipv4_mapped().is_some());
    let is_beyond = u128::MAX
        .checked_shl(rest)
        .map_or(number != 0, |mask| number & !mask != 0);
    Some(match (has_zeros, is_mapped, is_beyond) {
        (true, ..) => CidrForm::LeadingZeros,
        (_, true, _) => CidrForm::Mapped,
        (.., true) => CidrForm::BitsBeyond,
        _ => CidrForm::Clear,
    })
}

/// `010.001.0.1` as programs that do not take it for octal read it; anything else as it is.
fn without_leading_zeros(ip: &str) -> Cow<'_, str> {
    let padded = |octet: &str| octet.len() > 1 && octet.starts_with('0');
    if ip.contains(':') || !ip.split('.').any(padded) {
        return Cow::Borrowed(ip);
    }
    let octets = ip
        .split('.')
        .map(|octet| match octet.trim_start_matches('0') {
            "" if !octet.is_empty() => "0",
            short => short,
        });
    Cow::Owned(octets.collect::<Vec<_>>().join("."))
}
