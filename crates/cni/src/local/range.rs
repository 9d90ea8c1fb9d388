//! Which addresses the nodes of a machine get.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use knarr_meta::prefix::Prefix;
use rtnetlink::Handle;

use super::Error;
use crate::{InstanceId, node};

/// Each of these has 256 ranges of [`BITS`] bits: one of the private blocks, and one of what carriers use between them.
const POOLS: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 30, 0, 0), Ipv4Addr::new(100, 115, 0, 0)];
const BITS: u8 = 24;
/// Of IPv6 there is a pool of unique local addresses, with a range of so many bits for each cluster that there can be.
const POOL_IPV6: [u16; 2] = [0xfd6b, 0x6e61];
const BITS_IPV6: u8 = 64;
const SHORTEST_BITS: u8 = 8;

/// The wanted range, or one that nothing here uses; for a cluster always the same where others leave it alone.
pub async fn choose(
    handle: &Handle,
    instance: &InstanceId,
    wanted: Option<Prefix>,
) -> Result<Prefix, Error> {
    let used = node::used(handle).await?;
    if let Some(range) = wanted {
        if !range.address().is_ipv4() || !(SHORTEST_BITS..=BITS).contains(&range.bits()) {
            return Err(Error::Range(range));
        }
        return match used.iter().find(|(used, _)| range.covers(used)) {
            Some((used, link)) => Err(Error::Used {
                range,
                used: format!("{used} on {link}"),
            }),
            None => Ok(range),
        };
    }
    let ranges: Vec<Prefix> = used.into_iter().map(|(range, _)| range).collect();
    free(instance, &ranges).ok_or(Error::NoRange)
}

/// A range of IPv6 that nothing here uses; for a cluster always the same where others leave it alone.
pub async fn choose_ipv6(handle: &Handle, instance: &InstanceId) -> Result<Prefix, Error> {
    let used = node::used(handle).await?;
    let ranges: Vec<Prefix> = used.into_iter().map(|(range, _)| range).collect();
    free_ipv6(instance, &ranges).ok_or(Error::NoRange)
}

fn free_ipv6(instance: &InstanceId, used: &[Prefix]) -> Option<Prefix> {
    let [a, b] = POOL_IPV6;
    let candidates = (0..=u32::from(u8::MAX)).map(|step| {
        let number = instance.number().wrapping_add(step);
        let [c, d] = [number >> 16, number & 0xffff].map(|half| u16::try_from(half).unwrap_or(0));
        Prefix::new(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into(), BITS_IPV6)
    });
    first_free(candidates, used)
}

/// Whether a range is of a link, and of each link.
pub fn is_of_link(range: Prefix) -> bool {
    matches!(range.address(), IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The first range of a cluster's order that overlaps nothing. A default route leads everywhere and is in nobody's way.
fn free(instance: &InstanceId, used: &[Prefix]) -> Option<Prefix> {
    let [first, ..] = instance.number().to_be_bytes();
    let [.., last] = instance.number().to_be_bytes();
    let start = first ^ last;
    let candidates = POOLS.iter().flat_map(|pool| {
        let [a, b, ..] = pool.octets();
        (0..=u8::MAX).map(move |step| {
            let address = Ipv4Addr::new(a, b, start.wrapping_add(step), 0);
            Prefix::new(IpAddr::V4(address), BITS)
        })
    });
    first_free(candidates, used)
}

fn first_free(mut candidates: impl Iterator<Item = Prefix>, used: &[Prefix]) -> Option<Prefix> {
    candidates.find(|candidate| {
        let taken = |range: &Prefix| range.bits() > 0 && range.overlaps(candidate);
        !used.iter().any(taken)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(used: &[&str]) -> Option<String> {
        let instance: InstanceId = "abcdefgh".parse().unwrap();
        let used: Vec<Prefix> = used.iter().map(|range| range.parse().unwrap()).collect();
        free(&instance, &used).map(|range| range.to_string())
    }

    #[test]
    fn what_overlaps_in_either_way_is_left_alone() {
        let first = chosen(&[]).unwrap();
        assert!(first.starts_with("172.30.") && first.ends_with(".0/24"));
        assert_eq!(chosen(&["0.0.0.0/0", "10.0.0.0/8"]), Some(first.clone()));
        let within = first.replace(".0/24", ".77/32");
        let second = chosen(&[&within]).unwrap();
        assert_ne!(second, first);
        assert!(second.starts_with("172.30."));
        let beyond = chosen(&["172.16.0.0/12"]).unwrap();
        assert!(beyond.starts_with("100.115."), "{beyond}");
        assert_eq!(chosen(&["172.16.0.0/12", "100.64.0.0/10"]), None);
    }

    #[test]
    fn ranges_of_ipv6_follow_from_the_cluster() {
        let chosen = |instance: &str, used: &[&str]| {
            let used: Vec<Prefix> = used.iter().map(|range| range.parse().unwrap()).collect();
            free_ipv6(&instance.parse().unwrap(), &used).map(|range| range.to_string())
        };
        let first = chosen("abcdefgh", &["::/0", "fe80::/64", "ff00::/8"]).unwrap();
        assert!(
            first.starts_with("fd6b:6e61:") && first.ends_with("::/64"),
            "{first}"
        );
        assert_ne!(chosen("abcdefga", &[]), Some(first.clone()));
        assert_ne!(chosen("abcdefgh", &[&first]), Some(first));
        assert_eq!(chosen("abcdefgh", &["fd00::/8"]), None);
    }
}
