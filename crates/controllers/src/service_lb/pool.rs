//! Addresses to give out, one a Service.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use k8s_openapi::api::core::v1::Service;

use super::{
    ADDRESS_ANNOTATION,
    candidates::has_family,
    claims::{Claim, Claims, Wanted},
    published,
};
use crate::runner::Key;

/// Most addresses of a range: looking for a free one walks along it.
const MAX_ADDRESSES: u32 = 1 << 16;

/// A range of addresses, the first and the last included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    first: Ipv4Addr,
    last: Ipv4Addr,
}

/// Why a text is no range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPool {
    #[error("it is neither a CIDR nor FIRST-LAST, of IPv4 addresses")]
    Syntax,
    #[error("its last address comes before its first")]
    Backwards,
    #[error("it has more than {MAX_ADDRESSES} addresses")]
    Large,
}

impl Pool {
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if (self.first..=self.last).contains(&address))
    }

    /// Whether it has an address in common with a CIDR, whose first address `base` is.
    #[must_use]
    pub fn overlaps(&self, base: Ipv4Addr, prefix: u8) -> bool {
        let hosts = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
        let (first, last) = (base.to_bits() & !hosts, base.to_bits() | hosts);
        self.first.to_bits() <= last && first <= self.last.to_bits()
    }

    fn iter(&self) -> impl Iterator<Item = IpAddr> {
        let numbers = self.first.to_bits()..=self.last.to_bits();
        numbers.map(|number| IpAddr::V4(Ipv4Addr::from_bits(number)))
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for Pool {
    type Err = BadPool;

    /// `192.0.2.0/24`, without the network's own address and that of broadcasts; or `192.0.2.10-192.0.2.20`.
    fn from_str(text: &str) -> Result<Self, BadPool> {
        let parse = |text: &str| text.trim().parse::<Ipv4Addr>().map_err(|_| BadPool::Syntax);
        let (first, last) = if let Some((network, prefix)) = text.split_once('/') {
            let prefix: u32 = prefix.trim().parse().map_err(|_| BadPool::Syntax)?;
            let host_bits = 32_u32.checked_sub(prefix).ok_or(BadPool::Syntax)?;
            let hosts = u32::MAX.checked_shr(prefix).unwrap_or(0);
            let network = parse(network)?.to_bits() & !hosts;
            // Of one or two addresses all are hosts (RFC 3021).
            let edge = u32::from(host_bits > 1);
            let last = (network | hosts).saturating_sub(edge);
            (
                Ipv4Addr::from_bits(network.saturating_add(edge)),
                Ipv4Addr::from_bits(last),
            )
        } else {
            let (first, last) = text.split_once('-').ok_or(BadPool::Syntax)?;
            (parse(first)?, parse(last)?)
        };
        let span = last.to_bits().checked_sub(first.to_bits());
        match span.ok_or(BadPool::Backwards)? {
            span if span >= MAX_ADDRESSES => Err(BadPool::Large),
            _ => Ok(Self { first, last }),
        }
    }
}

/// The address that a Service asks for.
pub(super) fn requested(service: &Service) -> Option<&str> {
    let annotations = service.metadata.annotations.as_ref();
    let annotated = annotations.and_then(|a| a.get(ADDRESS_ANNOTATION));
    let spec = service.spec.as_ref();
    let by_field = spec.and_then(|spec| spec.load_balancer_ip.as_ref());
    annotated
        .or(by_field)
        .map(|text| text.trim())
        .filter(|text| !text.is_empty())
}

/// Why a Service gets none.
pub(super) fn why_nothing(pool: &Pool, service: &Service) -> String {
    let spec = service.spec.as_ref();
    if !spec.is_some_and(|spec| has_family(spec, IpAddr::V4(pool.first))) {
        return format!("the range {pool} has no address of its families");
    }
    match requested(service) {
        Some(address) => format!("{address} is no address of the range {pool}"),
        None => format!("all addresses of the range {pool} are taken"),
    }
}

/// The address that it gets: the one that it asks for, else the one that it has, else the first that is free.
pub(super) fn wanted(pool: &Pool, service: &Service, claims: &Claims) -> Option<Wanted> {
    let spec = service.spec.as_ref()?;
    if !has_family(spec, IpAddr::V4(pool.first)) {
        return None;
    }
    let key = Key::of(service);
    let claim = |address| Claim {
        address,
        port: None,
    };
    let is_free = |address: &IpAddr| claims.is_free(&claim(*address), &key);
    let address = match requested(service) {
        // Who has it is asked for: this one may have to wait.
        Some(text) => text
            .parse()
            .ok()
            .filter(|address| pool.contains(*address))?,
        None => {
            let mut has = published(service).into_iter();
            let has = has.find(|address| pool.contains(*address) && is_free(address));
            has.or_else(|| pool.iter().find(is_free))?
        }
    };
    Some(Wanted {
        address,
        claims: BTreeSet::from([claim(address)]),
        problem: None,
        refused: None,
    })
}
