//! The ranges that Services get addresses from: those that the cluster was made with, and those of ServiceCIDRs.
//!
//! As upstream's `ipallocator.MetaAllocator`: a range of a ServiceCIDR that is being deleted, or that is said not to be ready, gives
//! out nothing more; what Services have of it stays theirs. Ranges may overlap: an address is taken in all that have it.

use std::{collections::HashMap, net::IpAddr, time::Duration};

use knarr_api::networking::service_cidr;
use knarr_auth::objects::Objects;
use knarr_meta::object::{self, list_at, str_at};
use serde_json::Value;

use super::{
    cidr::{self, Cidr, Family},
    pool::{Found, Pool, Refused},
};

pub(super) const GROUP: &str = "networking.k8s.io";
pub(super) const RESOURCE: &str = "servicecidrs";

struct Range {
    cidr: Cidr,
    pool: Pool,
    /// It gives out addresses.
    usable: bool,
}

/// All ranges.
pub(super) struct Ranges {
    /// Those of the cluster, which are there whatever objects are.
    cluster: Vec<Cidr>,
    all: Vec<Range>,
    /// Of the ServiceCIDRs that they are of.
    seen: u64,
}

impl Range {
    fn new((cidr, usable): (Cidr, bool)) -> Range {
        let size = cidr.size();
        Range {
            pool: Pool::new(0..size, cidr::band(size)),
            cidr,
            usable,
        }
    }
}

impl Ranges {
    pub(super) fn new(cluster: Vec<Cidr>) -> Ranges {
        let all = cluster
            .iter()
            .map(|range| Range::new((range.clone(), true)));
        Ranges {
            all: all.collect(),
            cluster,
            seen: 0,
        }
    }

    /// Looks at the stored ServiceCIDRs, where they have changed. True: there are other ranges now, which do not know yet what is
    /// taken.
    pub(super) fn follow(&mut self, objects: &dyn Objects) -> bool {
        let revision = objects.revision_of(GROUP, RESOURCE);
        if revision == self.seen {
            return false;
        }
        let stored = objects.list(GROUP, RESOURCE, "");
        let parse = |one: &knarr_auth::objects::Object| serde_json::from_slice(&one.json).ok();
        let stored: Vec<Value> = stored.iter().filter_map(parse).collect();
        self.seen = revision;
        self.set(&stored)
    }

    fn set(&mut self, stored: &[Value]) -> bool {
        let cluster = &self.cluster;
        let is_clusters = |cidr: &Cidr| cluster.iter().any(|own| own.is_same(cidr));
        let has_family = |cidr: &Cidr| cluster.iter().any(|own| own.is_v6() == cidr.is_v6());
        // Services had addresses of the cluster's own ranges before those were an object.
        let own = cluster.iter();
        let mut wanted: Vec<(Cidr, bool)> = own.map(|cidr| (cidr.clone(), true)).collect();
        for object in stored {
            let usable = is_usable(object);
            let texts = list_at(object, &["spec", "cidrs"]).iter();
            for cidr in texts.filter_map(|text| Cidr::of_object(text.as_str()?).ok()) {
                match wanted.iter_mut().find(|(known, _)| known.is_same(&cidr)) {
                    Some((known, of_cluster)) if is_clusters(known) => {
                        *of_cluster &= usable || object::name(object) != service_cidr::DEFAULT;
                    }
                    // Two that are the same are usable while one is.
                    Some((_, known)) => *known |= usable,
                    None if has_family(&cidr) => wanted.push((cidr, usable)),
                    None => {}
                }
            }
        }
        let mut before = std::mem::take(&mut self.all);
        let mut fresh = false;
        for (cidr, usable) in wanted {
            let known = before.iter().position(|range| range.cidr.is_same(&cidr));
            let range = match known {
                Some(at) => Range {
                    usable,
                    ..before.swap_remove(at)
                },
                None => {
                    fresh = true;
                    Range::new((cidr, usable))
                }
            };
            self.all.push(range);
        }
        fresh
    }

    /// Takes an address for a write that is under way.
    pub(super) fn take_any(&mut self, family: Family) -> Result<IpAddr, Refused> {
        let gives = |range: &&mut Range| range.usable && Family::of(range.cidr.is_v6()) == family;
        for at in 0..self.all.len() {
            while let Some(range) = self.all.get_mut(at).filter(gives)
                && let Ok(number) = range.pool.take_any()
            {
                let ip = range.cidr.address(number);
                if self.take_elsewhere(at, ip) {
                    return Ok(ip);
                }
                // Another range has it taken: it stays so here, until a repair knows better.
            }
        }
        Err(Refused::Full)
    }

    /// Takes an address in all ranges but one; false where it is taken there.
    fn take_elsewhere(&mut self, but: usize, ip: IpAddr) -> bool {
        let others = (self.all.iter_mut().enumerate()).filter(|(at, _)| *at != but);
        let mut free = true;
        for (_, range) in others {
            if let Some(number) = range.cidr.offset(ip) {
                free &= range.pool.take(number).is_ok();
            }
        }
        free
    }

    /// Takes an address that somebody has chosen.
    pub(super) fn take(&mut self, ip: IpAddr) -> Result<(), Refused> {
        self.check(ip)?;
        let mut taken = Ok(());
        self.each(ip, |pool, number| {
            taken = taken.and(pool.take(number));
        });
        taken
    }

    /// Whether a range that gives out addresses has this one.
    pub(super) fn check(&self, ip: IpAddr) -> Result<(), Refused> {
        let mut usable = self.all.iter().filter(|range| range.usable);
        match usable.any(|range| range.cidr.offset(ip).is_some()) {
            true => Ok(()),
            false => Err(Refused::OutOfRange),
        }
    }

    /// The range that a dry run looks at, whatever others there are, as upstream's.
    pub(super) fn first_of(&self, family: Family) -> Option<&Cidr> {
        let mut of_family = self.all.iter().filter(|range| range.usable);
        let first = of_family.find(|range| Family::of(range.cidr.is_v6()) == family);
        first.map(|range| &range.cidr)
    }

    /// The range that gives out addresses, but not this one of its own: its first or its last.
    pub(super) fn around(&self, ip: IpAddr) -> Option<&str> {
        let mut usable = self.all.iter().filter(|range| range.usable);
        let around = usable.find(|range| range.cidr.is_around(ip));
        around.map(|range| range.cidr.text())
    }

    /// Whether any range has an address, usable or not.
    pub(super) fn has(&self, ip: IpAddr) -> bool {
        self.all.iter().any(|range| range.cidr.offset(ip).is_some())
    }

    /// Does something with an address in each range that has it.
    pub(super) fn each(&mut self, ip: IpAddr, mut act: impl FnMut(&mut Pool, u64)) {
        for range in &mut self.all {
            if let Some(number) = range.cidr.offset(ip) {
                act(&mut range.pool, number);
            }
        }
    }

    /// As [`Pool::reconcile`], for all ranges; places of duplicates are those in `claims`.
    pub(super) fn reconcile(&mut self, claims: &[(IpAddr, &str)], life: Duration) -> Found {
        let mut found = Found::default();
        for range in &mut self.all {
            let own = claims.iter();
            let own = own.filter_map(|(ip, uid)| Some((range.cidr.offset(*ip)?, *uid)));
            let of_range = range.pool.reconcile(own, life);
            found.leaked = found.leaked.saturating_add(of_range.leaked);
        }
        let mut owners: HashMap<IpAddr, &str> = HashMap::new();
        for (at, (ip, uid)) in claims.iter().enumerate() {
            if *owners.entry(*ip).or_insert(uid) != *uid {
                found.duplicates.push(at);
            }
        }
        found
    }

    #[cfg(test)]
    pub(super) fn taken(&self) -> usize {
        self.all.iter().map(|range| range.pool.taken()).sum()
    }
}

/// One without a condition is ready: nobody may be there to say so.
fn is_usable(object: &Value) -> bool {
    let deleted = !str_at(object, &["metadata", "deletionTimestamp"]).is_empty();
    let conditions = list_at(object, &["status", "conditions"]);
    let ready = conditions.iter().find(|c| str_at(c, &["type"]) == "Ready");
    !deleted && ready.is_none_or(|ready| str_at(ready, &["status"]) == "True")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stored(name: &str, cidr: &str) -> Value {
        json!({"metadata": {"name": name}, "spec": {"cidrs": [cidr]}})
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn ranges(stored: &[Value]) -> Ranges {
        of_cluster(&["10.9.0.0/29"], stored)
    }

    fn of_cluster(cluster: &[&str], stored: &[Value]) -> Ranges {
        let cluster = cluster.iter();
        let cluster = cluster.map(|cidr| Cidr::parse(cidr).expect("a range"));
        let mut ranges = Ranges::new(cluster.collect());
        ranges.set(stored);
        ranges
    }

    fn all(ranges: &mut Ranges) -> usize {
        of_family(ranges, Family::Ipv4)
    }

    fn of_family(ranges: &mut Ranges, family: Family) -> usize {
        std::iter::from_fn(|| ranges.take_any(family).ok()).count()
    }

    #[test]
    fn ranges_give_out_addresses_while_they_are_ready() {
        let mut deleted = stored("b", "10.8.0.0/29");
        deleted["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        let mut not_ready = stored("b", "10.8.0.0/29");
        not_ready["status"] = json!({"conditions": [{"type": "Ready", "status": "False"}]});
        let mut of_cluster = stored(service_cidr::DEFAULT, "10.9.0.0/29");
        for (objects, wanted) in [
            (vec![], 6),
            (vec![of_cluster.clone()], 6),
            (vec![stored("b", "10.8.0.0/29")], 12),
            (vec![stored("b", "10.8.0.0/30")], 8),
            (vec![stored("b", "fd00::/64")], 6),
            (vec![stored("b", "10.9.0.0/29"), of_cluster.clone()], 6),
            (vec![deleted.clone()], 6),
            (vec![not_ready], 6),
            (vec![deleted, stored("c", "10.8.0.0/29")], 12),
        ] {
            assert_eq!(all(&mut ranges(&objects)), wanted, "{objects:?}");
        }
        of_cluster["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        assert_eq!(all(&mut ranges(&[of_cluster])), 0);
    }

    #[test]
    fn each_family_has_its_ranges() {
        let objects = [
            json!({"metadata": {"name": service_cidr::DEFAULT}, "spec": {"cidrs": ["10.9.0.0/29", "fd09::/125"]}}),
            stored("b", "fd08::/126"),
            stored("c", "10.8.0.0/30"),
        ];
        let mut both = of_cluster(&["10.9.0.0/29", "fd09::/125"], &objects);
        assert_eq!(of_family(&mut both, Family::Ipv4), 6 + 2);
        assert_eq!(of_family(&mut both, Family::Ipv6), 7 + 3);
        let mut gone = objects[0].clone();
        gone["metadata"]["deletionTimestamp"] = json!("2030-01-01T00:00:00Z");
        let mut gone = of_cluster(&["10.9.0.0/29", "fd09::/125"], &[gone]);
        assert_eq!(of_family(&mut gone, Family::Ipv4), 0);
        assert_eq!(of_family(&mut gone, Family::Ipv6), 0);
        let mut one = of_cluster(&["fd09::/125"], &objects);
        assert_eq!(
            of_family(&mut one, Family::Ipv4),
            0,
            "the cluster has it not"
        );
        assert_eq!(of_family(&mut one, Family::Ipv6), 7 + 3);
    }

    #[test]
    fn an_address_is_taken_wherever_it_is() {
        let mut two = ranges(&[stored("b", "10.9.0.0/28")]);
        assert_eq!(two.take(ip("10.9.0.3")), Ok(()));
        assert_eq!(two.take(ip("10.9.0.3")), Err(Refused::Taken));
        assert_eq!(two.take(ip("10.9.0.12")), Ok(()));
        assert_eq!(two.take(ip("10.8.0.1")), Err(Refused::OutOfRange));
        assert_eq!(
            (two.around(ip("10.9.0.0")), two.around(ip("10.8.0.0"))),
            (Some("10.9.0.0/29"), None)
        );
        two.each(ip("10.9.0.3"), Pool::undo);
        assert_eq!(two.take(ip("10.9.0.3")), Ok(()));
        // A range that goes takes nothing along that others have.
        assert!(!two.set(&[]));
        assert_eq!(two.take(ip("10.9.0.3")), Err(Refused::Taken));
        assert!(two.set(&[stored("c", "10.9.0.0/28")]));
        let claims = [
            (ip("10.9.0.3"), "a"),
            (ip("10.9.0.3"), "b"),
            (ip("10.9.0.12"), "c"),
        ];
        assert_eq!(two.reconcile(&claims, Duration::ZERO).duplicates, [1]);
        assert_eq!(two.take(ip("10.9.0.12")), Err(Refused::Taken));
    }
}
