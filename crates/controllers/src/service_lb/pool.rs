//! Addresses to give out, one of each family a Service.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use knarr_meta::prefix::Prefix;

use super::{
    ADDRESS_ANNOTATION,
    candidates::has_family,
    claims::{Claim, Claims, Wanted},
    published,
};
use crate::runner::Key;

/// Most addresses of a range: looking for a free one walks along it.
const MAX_ADDRESSES: u128 = 1 << 16;

/// A range of addresses of one family, the first and the last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    first: IpAddr,
    last: IpAddr,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    #[error("it is neither a CIDR nor FIRST-LAST")]
    Syntax,
    #[error("its last address comes before its first, or is of another family")]
    Backwards,
    #[error("it has more than {MAX_ADDRESSES} addresses")]
    Large,
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Pool {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        // Those of IPv4 are the lesser ones.
        (self.first..=self.last).contains(&address)
    }

    #[must_use]
    pub fn is_ipv4(&self) -> bool {
        self.first.is_ipv4()
    }

    /// Whether it has an address in common with another range.
    #[must_use]
    pub fn overlaps(&self, other: &Prefix) -> bool {
        let first = other.address();
        other.contains(self.first) || other.contains(self.last) || self.contains(first)
    }

    fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let of_ipv4 = self.is_ipv4();
        (number(self.first)..=number(self.last)).map(move |number| match u32::try_from(number) {
            Ok(number) if of_ipv4 => IpAddr::V4(Ipv4Addr::from_bits(number)),
            _ => IpAddr::V6(Ipv6Addr::from_bits(number)),
        })
    }

    fn fits(&self, spec: &ServiceSpec) -> bool {
        has_family(spec, self.first)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for Pool {
    type Err = BadPool;

    /// `192.0.2.0/24`, without the network's own address and that of broadcasts; `2001:db8::/120`, without the first address, which
    /// is the routers' (RFC 4291); or `192.0.2.10-192.0.2.20`.
    fn from_str(text: &str) -> Result<Self, BadPool> {
        let pool = match text.trim().parse::<Prefix>() {
            Ok(prefix) => Self::of(&prefix)?,
            Err(_) => {
                let (first, last) = text.split_once('-').ok_or(BadPool::Syntax)?;
                let parse = |text: &str| text.trim().parse().map_err(|_| BadPool::Syntax);
                let (first, last): (IpAddr, IpAddr) = (parse(first)?, parse(last)?);
                Self { first, last }
            }
        };
        if pool.first.is_ipv4() != pool.last.is_ipv4() || pool.first > pool.last {
            return Err(BadPool::Backwards);
        }
        match number(pool.last) - number(pool.first) {
            span if span >= MAX_ADDRESSES => Err(BadPool::Large),
            _ => Ok(pool),
        }
    }
}

impl Pool {
    fn of(prefix: &Prefix) -> Result<Self, BadPool> {
        let base = prefix.address();
        let width: u8 = if base.is_ipv4() { 32 } else { 128 };
        let host_bits = width - prefix.bits();
        let hosts = match host_bits {
            0..=16 => (1_u32 << host_bits) - 1,
            // One that is just too large without its edges is in reach.
            _ => return Err(BadPool::Large),
        };
        // Of one or two addresses all are hosts (RFC 3021, RFC 6164).
        let edge = u32::from(host_bits > 1);
        let last = if base.is_ipv4() { hosts - edge } else { hosts };
        let at = |place| prefix.nth(place).ok_or(BadPool::Syntax);
        Ok(Self {
            first: at(edge)?,
            last: at(last)?,
        })
    }
}

/// The addresses that a Service asks for, of either family.
pub(super) fn requested(service: &Service) -> impl Iterator<Item = &str> {
    let annotations = service.metadata.annotations.as_ref();
    let annotated = annotations.and_then(|a| a.get(ADDRESS_ANNOTATION));
    let spec = service.spec.as_ref();
    let by_field = spec.and_then(|spec| spec.load_balancer_ip.as_ref());
    let texts = annotated.or(by_field).into_iter();
    let texts = texts.flat_map(|text| text.split(',')).map(str::trim);
    texts.filter(|text| !text.is_empty())
}

/// Why a Service gets none.
pub(super) fn why_nothing(pools: &[Pool], service: &Service) -> String {
    let ranges = match pools {
        [pool] => format!("the range {pool}"),
        _ => {
            let shown: Vec<_> = pools.iter().map(ToString::to_string).collect();
            format!("the ranges {}", shown.join(" and "))
        }
    };
    let spec = service.spec.as_ref();
    if !spec.is_some_and(|spec| pools.iter().any(|pool| pool.fits(spec))) {
        return format!("{ranges} has no address of its families");
    }
    match beyond(pools, service) {
        Some(address) => format!("{address} is no address of {ranges}"),
        None => format!("all addresses of {ranges} are taken"),
    }
}

/// What a Service asks for that is none of ours.
fn beyond<'a>(pools: &[Pool], service: &'a Service) -> Option<&'a str> {
    let is_ours = |address: IpAddr| pools.iter().any(|pool| pool.contains(address));
    requested(service).find(|text| !text.parse().is_ok_and(is_ours))
}

/// The addresses that it gets, one of each of its families that there is a range of: the one that it asks for, else the one that it
/// has, else the first that is free. None if it asks for one that is not ours.
pub(super) fn wanted(pools: &[Pool], service: &Service, claims: &Claims) -> Vec<Wanted> {
    let Some(spec) = service.spec.as_ref() else {
        return Vec::new();
    };
    if beyond(pools, service).is_some() {
        return Vec::new();
    }
    let key = Key::of(service);
    let claim = |address| Claim {
        address,
        port: None,
    };
    let is_free = |address: &IpAddr| claims.is_free(&claim(*address), &key);
    let address_of = |pool: &Pool| {
        let mut asked = requested(service).filter_map(|text| text.parse().ok());
        // Who has it is asked for: this one may have to wait.
        if let Some(address) = asked.find(|address| pool.contains(*address)) {
            return Some(address);
        }
        let mut has = published(service).into_iter();
        let has = has.find(|address| pool.contains(*address) && is_free(address));
        has.or_else(|| pool.iter().find(is_free))
    };
    let fitting = pools.iter().filter(|pool| pool.fits(spec));
    let wanted = fitting.filter_map(address_of).map(|address| Wanted {
        address,
        claims: BTreeSet::from([claim(address)]),
        problem: None,
        refused: None,
    });
    wanted.collect()
}
