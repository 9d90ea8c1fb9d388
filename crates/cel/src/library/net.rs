//! Addresses and ranges of them.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Other, Result, other};
use crate::{eval::Error, value::Val};

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    ip: IpAddr,
    length: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.length)
    }
}

impl Cidr {
    fn parse(text: &str) -> Option<Cidr> {
        let (ip, length) = text.split_once('/')?;
        let ip = parse_ip(ip)?;
        let digits = !length.is_empty()
            && length.bytes().all(|b| b.is_ascii_digit())
            && (length == "0" || !length.starts_with('0'));
        let length: u8 = length.parse().ok().filter(|_| digits)?;
        (length <= if ip.is_ipv4() { 32 } else { 128 }).then_some(Cidr { ip, length })
    }

    /// Bytes of the address that the prefix covers.
    pub fn prefix_bytes(&self) -> u64 {
        u64::from(self.length.div_ceil(8))
    }

    fn masked(self) -> Cidr {
        let ip = match self.ip {
            IpAddr::V4(ip) => {
                let host_bits = u32::BITS.saturating_sub(u32::from(self.length));
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(ip) & mask))
            }
            IpAddr::V6(ip) => {
                let host_bits = u128::BITS.saturating_sub(u32::from(self.length));
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(ip) & mask))
            }
        };
        Cidr { ip, ..self }
    }

    fn contains(self, ip: IpAddr) -> bool {
        let same_family = self.ip.is_ipv4() == ip.is_ipv4();
        same_family && Cidr { ip, ..self }.masked().ip == self.masked().ip
    }
}

/// Addresses of IPv4 in IPv6, and with zones, are none here.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let ip: IpAddr = text.parse().ok()?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => None,
        ip => Some(ip),
    }
}

pub fn call<'a>(name: &str, member: bool, values: &[Val<'a>]) -> Option<Result<'a>> {
    if let ([Val::Text(text)], false) = (values, member) {
        return of_text(name, text.as_str());
    }
    let (Val::Other(first), rest) = values.split_first()? else {
        return None;
    };
    match &**first {
        Other::Ip(ip) => of_ip(name, *ip, rest),
        Other::Cidr(cidr) => of_cidr(name, *cidr, rest),
        _ => None,
    }
}

fn of_text<'a>(name: &str, text: &str) -> Option<Result<'a>> {
    let unparsed = |what: &str| {
        Error::failed(format!(
            "{what} parse error during conversion from string: {:?}",
            text.chars().take(100).collect::<String>()
        ))
    };
    Some(match name {
        "isIP" => Ok(Val::Bool(parse_ip(text).is_some())),
        "ip" => parse_ip(text)
            .map(|ip| other(Other::Ip(ip)))
            .ok_or_else(|| unparsed("IP Address")),
        "ip.isCanonical" => parse_ip(text)
            .map(|ip| Val::Bool(ip.to_string() == text))
            .ok_or_else(|| unparsed("IP Address")),
        "isCIDR" => Ok(Val::Bool(Cidr::parse(text).is_some())),
        "cidr" => Cidr::parse(text)
            .map(|cidr| other(Other::Cidr(cidr)))
            .ok_or_else(|| unparsed("network address")),
        _ => return None,
    })
}

fn of_ip<'a>(name: &str, ip: IpAddr, rest: &[Val<'a>]) -> Option<Result<'a>> {
    if !rest.is_empty() {
        return None;
    }
    let link_local = match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.segments()[0] & 0xffc0 == 0xfe80,
    };
    let link_local_multicast = match ip {
        IpAddr::V4(ip) => ip.octets()[..3] == [224, 0, 0],
        IpAddr::V6(ip) => ip.segments()[0] & 0xff0f == 0xff02,
    };
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    let is = match name {
        "family" => return Some(Ok(Val::Int(if ip.is_ipv4() { 4 } else { 6 }))),
        "isUnspecified" => ip.is_unspecified(),
        "isLoopback" => ip.is_loopback(),
        "isLinkLocalMulticast" => link_local_multicast,
        "isLinkLocalUnicast" => link_local,
        "isGlobalUnicast" => {
            !ip.is_unspecified()
                && !ip.is_loopback()
                && !ip.is_multicast()
                && !link_local
                && !broadcast
        }
        _ => return None,
    };
    Some(Ok(Val::Bool(is)))
}

fn of_cidr<'a>(name: &str, cidr: Cidr, rest: &[Val<'a>]) -> Option<Result<'a>> {
    Some(Ok(match (name, rest) {
        ("ip", []) => other(Other::Ip(cidr.ip)),
        ("masked", []) => other(Other::Cidr(cidr.masked())),
        ("prefixLength", []) => Val::Int(i64::from(cidr.length)),
        ("containsIP", [Val::Text(text)]) => match parse_ip(text.as_str()) {
            Some(ip) => Val::Bool(cidr.contains(ip)),
            None => return of_text("ip", text.as_str()),
        },
        ("containsCIDR", [Val::Text(text)]) => match Cidr::parse(text.as_str()) {
            Some(inner) => Val::Bool(cidr.length <= inner.length && cidr.contains(inner.ip)),
            None => return of_text("cidr", text.as_str()),
        },
        ("containsIP" | "containsCIDR", [Val::Other(value)]) => match &**value {
            Other::Ip(ip) => Val::Bool(cidr.contains(*ip)),
            Other::Cidr(inner) => Val::Bool(cidr.length <= inner.length && cidr.contains(inner.ip)),
            _ => return None,
        },
        _ => return None,
    }))
}
