//! ServiceCIDRs are not deleted while a Service has an address that no other one contains, and say whether they can be used.
//!
//! As upstream's `controller/servicecidrs`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{IPAddress, ServiceCIDR};
use knarr_client::{Event, Informer, WorkQueue};
use knarr_meta::clock;
use kube::Api;
use kube::api::PostParams;

use crate::conditions;
use crate::protection::{self, Due};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;
const FINALIZER: &str = "networking.k8s.io/service-cidr-finalizer";
/// Labels addresses that Services have.
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const MANAGER: &str = "ipallocator.k8s.io";
/// Servers may not yet know that a range is being deleted, and give out an address of it.
const GRACE: Duration = Duration::from_secs(10);
const READY: &str = "Ready";
const IS_READY: &str = "Kubernetes Service CIDR is ready";
const IS_TERMINATING: &str = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR";

pub(crate) struct ServiceCidrs {
    client: kube::Client,
    ranges: Informer<ServiceCIDR>,
    addresses: Informer<IPAddress>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(ServiceCidrs {
        client: context.client("service-cidrs-controller"),
        ranges: context.informers.informer(),
        addresses: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let (queue, ranges) = (controller.queue.clone(), controller.ranges.clone());
    controller.ranges.on_event(move |event| {
        queue.add(Key::of(&**event.object()));
        if !matches!(event, Event::Updated { .. }) {
            // What was the only one to contain an address may be so no longer, or again.
            add_terminating(&ranges, &queue);
        }
    });
    let (queue, ranges) = (controller.queue.clone(), controller.ranges.clone());
    controller.addresses.on_event(move |event| {
        if let Event::Deleted(_) = &event {
            add_terminating(&ranges, &queue);
        }
    });
    let informers = vec![synced(&controller.ranges), synced(&controller.addresses)];
    context.start(controller, WORKERS, informers);
}

/// Only those that are being deleted wait for others.
fn add_terminating(ranges: &Informer<ServiceCIDR>, queue: &WorkQueue<Key>) {
    let ranges = ranges.list();
    let terminating = ranges
        .iter()
        .filter(|range| range.metadata.deletion_timestamp.is_some());
    terminating.for_each(|range| queue.add(Key::of(&**range)));
}

/// A range of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Prefix {
    base: u128,
    /// How many bits are the same in all addresses.
    length: u32,
    is_v6: bool,
}

impl Prefix {
    fn parse(text: &str) -> Option<Prefix> {
        let (address, length) = text.split_once('/')?;
        let (base, is_v6) = number(address.parse().ok()?);
        let length: u32 = length.parse().ok()?;
        let width = if is_v6 { 128 } else { 32 };
        (length <= width).then_some(Prefix {
            base,
            // Of 128 bits in either case.
            length: length + 128 - width,
            is_v6,
        })
    }

    fn contains(&self, other: &Prefix) -> bool {
        let differing = (self.base ^ other.base).leading_zeros();
        self.is_v6 == other.is_v6 && self.length <= other.length && differing >= self.length
    }
}

fn number(address: IpAddr) -> (u128, bool) {
    match address {
        IpAddr::V4(address) => (u32::from(address).into(), false),
        IpAddr::V6(address) => (address.into(), true),
    }
}

fn prefixes(range: &ServiceCIDR) -> Vec<Prefix> {
    let spec = range.spec.as_ref().and_then(|spec| spec.cidrs.as_ref());
    let texts = spec.into_iter().flatten();
    texts.filter_map(|text| Prefix::parse(text)).collect()
}

/// The address, if a Service has it.
fn of_service(address: &IPAddress) -> Option<Prefix> {
    let labels = address.metadata.labels.as_ref()?;
    if labels.get(MANAGED_BY).map(String::as_str) != Some(MANAGER) {
        return None;
    }
    let (base, is_v6) = number(address.metadata.name.as_deref()?.parse().ok()?);
    Some(Prefix {
        base,
        length: 128,
        is_v6,
    })
}

/// Whether a range may go: others contain it, or every address of it that a Service has.
fn may_go(range: &ServiceCIDR, all: &[Arc<ServiceCIDR>], addresses: &[Arc<IPAddress>]) -> bool {
    let own = prefixes(range);
    let others = all
        .iter()
        .filter(|other| other.metadata.name != range.metadata.name);
    let others: Vec<Prefix> = others.flat_map(|other| prefixes(other)).collect();
    let elsewhere = |one: &Prefix| others.iter().any(|other| other.contains(one));
    if own.iter().all(elsewhere) {
        return true;
    }
    let of_services = addresses.iter().filter_map(|address| of_service(address));
    let mut here = of_services.filter(|address| own.iter().any(|own| own.contains(address)));
    here.all(|address| elsewhere(&address))
}

/// How much longer a range stays that may go.
fn rest(range: &ServiceCIDR, now: Timestamp) -> Duration {
    let Some(deleted) = &range.metadata.deletion_timestamp else {
        return GRACE;
    };
    let passed = now.duration_since(deleted.0);
    GRACE.saturating_sub(Duration::try_from(passed).unwrap_or_default())
}

impl ServiceCidrs {
    async fn tell(
        &self,
        range: &ServiceCIDR,
        ready: bool,
        reason: &str,
        message: &str,
    ) -> Result<(), Error> {
        let mut told = range.clone();
        let status = told.status.get_or_insert_default();
        let all = status.conditions.get_or_insert_default();
        if !conditions::set(all, READY, ready, reason, message, clock::now()) {
            return Ok(());
        }
        let name = range.metadata.name.as_deref().unwrap_or_default();
        let api: Api<ServiceCIDR> = Api::all(self.client.clone());
        api.replace_status(name, &PostParams::default(), &told)
            .await?;
        Ok(())
    }
}

impl Reconciler for ServiceCidrs {
    const NAME: &'static str = "service-cidr";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(range) = self.ranges.get("", &key.name) else {
            return Ok(());
        };
        let api: Api<ServiceCIDR> = Api::all(self.client.clone());
        let due = protection::due(&range.metadata, FINALIZER);
        if range.metadata.deletion_timestamp.is_none() {
            if due == Due::Add {
                // Its change brings it here again.
                return protection::write(&api, &*range, FINALIZER, true).await;
            }
            return self.tell(&range, true, "", IS_READY).await;
        }
        if !may_go(&range, &self.ranges.list(), &self.addresses.list()) {
            return self
                .tell(&range, false, "Terminating", IS_TERMINATING)
                .await;
        }
        let rest = rest(&range, clock::now());
        if !rest.is_zero() {
            self.queue.add_after(key.clone(), rest);
            return Ok(());
        }
        match due {
            Due::RemoveIfUnused => protection::write(&api, &*range, FINALIZER, false).await,
            Due::Add | Due::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::{now, object};

    fn range(name: &str, cidrs: &[&str]) -> Arc<ServiceCIDR> {
        Arc::new(object(
            json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}}),
        ))
    }

    fn address(name: &str, manager: &str) -> Arc<IPAddress> {
        Arc::new(object(
            json!({"metadata": {"name": name, "labels": {MANAGED_BY: manager}}}),
        ))
    }

    #[test]
    fn prefixes_contain_each_other() {
        let prefix = |text| Prefix::parse(text).expect(text);
        for (outer, inner, wanted) in [
            ("10.0.0.0/8", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.0.0.0/8", false),
            ("10.1.0.0/16", "10.1.0.0/16", true),
            ("10.1.0.0/16", "10.2.0.0/24", false),
            ("0.0.0.0/0", "10.2.0.0/24", true),
            ("fd00::/8", "fd00:1::/64", true),
            ("::/0", "10.0.0.0/8", false),
        ] {
            assert_eq!(
                prefix(outer).contains(&prefix(inner)),
                wanted,
                "{outer} {inner}"
            );
        }
        for bad in ["", "10.0.0.0", "10.0.0.0/33", "a/8", "::/129"] {
            assert_eq!(Prefix::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_range_stays_for_addresses_that_are_nowhere_else() {
        let one = range("one", &["10.1.0.0/24", "fd00::/64"]);
        let all = |others: &[&Arc<ServiceCIDR>]| -> Vec<Arc<ServiceCIDR>> {
            others.iter().copied().chain([&one]).cloned().collect()
        };
        let (used, foreign) = (
            address("10.1.0.7", MANAGER),
            address("10.1.0.8", "somebody"),
        );
        let six = address("fd00::5", MANAGER);
        let whole = range("whole", &["10.0.0.0/8", "fd00::/8"]);
        let (part, other) = (
            range("part", &["10.1.0.0/28"]),
            range("other", &["10.2.0.0/24"]),
        );
        for (others, addresses, wanted) in [
            (vec![], vec![], true),
            (vec![], vec![&used], false),
            (vec![], vec![&six], false),
            (vec![], vec![&foreign], true),
            (vec![&whole], vec![&used, &six], true),
            (vec![&part], vec![&used], true),
            (vec![&part], vec![&used, &six], false),
            (vec![&other], vec![&used], false),
        ] {
            let addresses: Vec<_> = addresses.into_iter().cloned().collect();
            assert_eq!(
                may_go(&one, &all(&others), &addresses),
                wanted,
                "{others:?}"
            );
        }
    }

    #[test]
    fn a_range_stays_for_a_while_in_any_case() {
        let deleted = |at: &str| -> ServiceCIDR {
            object(json!({"metadata": {"name": "a", "deletionTimestamp": at}}))
        };
        for (at, seconds) in [
            ("2030-01-01T12:00:00Z", 10),
            ("2030-01-01T11:59:53Z", 3),
            ("2030-01-01T11:00:00Z", 0),
        ] {
            assert_eq!(
                rest(&deleted(at), now()),
                Duration::from_secs(seconds),
                "{at}"
            );
        }
    }
}
