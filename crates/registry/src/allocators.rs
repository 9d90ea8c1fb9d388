//! Service addresses and node ports.
//!
//! What is taken is derived from the Services themselves: at start from the watch cache, later through the hooks around their
//! writes. Each address that a Service has is also an IPAddress, which is created before the Service ([`claims`]); node ports likewise are
//! keys of the store where several servers share one. What a server has in memory is only where it begins to look. Addresses come from
//! the cluster's ranges, one a family, and from those of ServiceCIDRs, which come and go ([`ranges`]). A write holds what it takes in a [`taking::Taking`], which knows what to give back when it
//! fails. [`Allocators::repair`] compares with what is stored, should a write have been cut off, and finds Services that share a
//! number.
//!
//! Both ranges are split in two bands, as upstream's are: automatic choices come from the upper band while it lasts, so that
//! the lower one stays free for addresses that people choose.

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use knarr_api::Kind;
use knarr_auth::objects::Objects;
use knarr_meta::{object, prefix::Prefix, status::Status};
use knarr_store::Store;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::hook::{Taken, WriteHook};

mod cidr;
mod claims;
mod cluster_ip;
mod families;
mod node_port;
mod pool;
mod ranges;
mod service;
mod taking;
#[cfg(test)]
mod tests;

use cidr::{Cidr, Family};
use claims::{Claims, Number, Owner};
use pool::Pool;
use ranges::Ranges;
use taking::{Pools, Taking};

/// What is taken without a stored Service is given back after this long: no write lasts longer.
const UNCLAIMED_LIFE: Duration = Duration::from_secs(120);
/// How often the server should call [`Allocators::repair`].
pub const REPAIR_PERIOD: Duration = Duration::from_secs(180);

/// Who reports in events.
const COMPONENT: &str = "service-allocation-repair-controller";

/// Ranges to allocate from.
#[derive(Clone, Debug)]
pub struct Config {
    /// `10.43.0.0/16`, and one of the other family where the cluster has both; the first is of the primary one.
    pub service_cidrs: Vec<Prefix>,
    /// Upstream's default: 30000-32767.
    pub node_ports: RangeInclusive<u16>,
}

impl Config {
    /// The usual node ports.
    pub fn new(service_cidrs: Vec<Prefix>) -> Config {
        Config {
            service_cidrs,
            node_ports: 30000..=32767,
        }
    }
}

/// A range that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("service CIDR {0:?} is not an address range")]
    Cidr(String),
    #[error("there must be one service CIDR, or one of each family")]
    Families,
    #[error("service CIDR {0:?} is too small: it needs at least 8 addresses")]
    CidrTooSmall(String),
    #[error("node port range {0}-{1} is empty")]
    Ports(u16, u16),
}

/// Allocates for Services.
pub struct Allocators {
    objects: Arc<dyn Objects>,
    pools: Arc<Pools>,
}

/// A Service that has a number which another one has too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// The younger of the two.
    pub service: Value,
    pub reason: &'static str,
    /// Upstream's words.
    pub message: String,
}

impl Duplicate {
    /// The event of the finding. Its name follows from what was found.
    pub fn event(&self, now: &str) -> Value {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.message.as_bytes());
        let hash: String = digest.as_ref()[..8]
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let (namespace, name) = (
            object::namespace(&self.service),
            object::name(&self.service),
        );
        json!({
            "metadata": {"name": format!("{name}.{hash}"), "namespace": namespace},
            "involvedObject": {
                "kind": "Service",
                "apiVersion": "v1",
                "namespace": namespace,
                "name": name,
                "uid": object::uid(&self.service),
            },
            "type": "Warning",
            "reason": self.reason,
            "message": self.message,
            "source": {"component": COMPONENT},
            "reportingComponent": COMPONENT,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        })
    }
}

/// The first addresses of the service CIDRs: that of the `default/kubernetes` Service, and what it would be in the other family.
///
/// # Errors
/// Ranges that a cluster cannot have.
pub fn first_service_ips(service_cidrs: &[Prefix]) -> Result<Vec<IpAddr>, Error> {
    let ranges = of_cluster(service_cidrs)?;
    Ok(ranges.iter().map(|range| range.address(0)).collect())
}

fn of_cluster(service_cidrs: &[Prefix]) -> Result<Vec<Cidr>, Error> {
    let ranges = service_cidrs
        .iter()
        .map(|range| Cidr::parse(&range.to_string()));
    let ranges: Vec<Cidr> = ranges.collect::<Result<_, _>>()?;
    match ranges.as_slice() {
        [_] => Ok(ranges),
        [one, other] if one.is_v6() != other.is_v6() => Ok(ranges),
        _ => Err(Error::Families),
    }
}

impl Allocators {
    /// Takes what the cached Services have; call it when the cache has been filled. `store`: where what is taken is claimed, and
    /// whether other servers have it, too; without one nothing is.
    pub fn new(
        config: &Config,
        objects: Arc<dyn Objects>,
        store: Option<(Arc<dyn Store>, bool)>,
    ) -> Result<Allocators, Error> {
        let cidrs = of_cluster(&config.service_cidrs)?;
        let (first, last) = (*config.node_ports.start(), *config.node_ports.end());
        if first == 0 || first > last {
            return Err(Error::Ports(first, last));
        }
        let ports = Pool::new(
            first.into()..u64::from(last) + 1,
            node_port::band(u64::from(last.abs_diff(first)) + 1),
        );
        let allocators = Allocators {
            pools: Arc::new(Pools {
                families: cidrs
                    .iter()
                    .map(|range| Family::of(range.is_v6()))
                    .collect(),
                ips: Mutex::new(Ranges::new(cidrs)),
                ports: Mutex::new(ports),
                claims: store.map(|(store, shared)| Claims::new(store, shared)),
            }),
            objects,
        };
        allocators.repair();
        Ok(allocators)
    }

    /// The cached Services, the oldest first.
    fn stored(&self) -> Vec<Value> {
        let all = self.objects.list("", "services", "");
        let parse = |service: &knarr_auth::objects::Object| serde_json::from_slice(&service.json);
        let mut stored: Vec<Value> = all.iter().filter_map(|one| parse(one).ok()).collect();
        stored.sort_by_cached_key(|service| object::creation_timestamp(service).to_owned());
        stored
    }

    /// Makes the claims of a shared store agree with the cached Services.
    ///
    /// # Errors
    /// What the store answered; the next call goes on.
    pub async fn repair_claims(&self) -> Result<(), knarr_store::Error> {
        match &self.pools.claims {
            Some(claims) => claims.repair(&self.stored(), UNCLAIMED_LIFE).await,
            None => Ok(()),
        }
    }

    /// Whether a Service has an address without an IPAddress: somebody has deleted that.
    pub fn lacks_addresses(&self) -> bool {
        let stored = self.stored();
        let ips = stored.iter().flat_map(service::ips);
        self.pools.claims.is_some()
            && ips
                .map(|ip| ip.to_string())
                .any(|ip| (self.objects.get(ranges::GROUP, "ipaddresses", "", &ip)).is_none())
    }

    /// Makes the pools agree with the cached Services again; what a running write has just taken stays taken. Returns what more
    /// than one Service has, which only its users can mend.
    pub fn repair(&self) -> Vec<Duplicate> {
        self.pools.ips.lock().follow(&*self.objects);
        let stored = self.stored();
        let mut ips: Vec<(&Value, IpAddr)> = stored
            .iter()
            .flat_map(|service| {
                service::ips(service)
                    .into_iter()
                    .map(move |ip| (service, ip))
            })
            .collect();
        let found_ips = {
            let mut ranges = self.pools.ips.lock();
            ips.retain(|(_, ip)| ranges.has(*ip));
            let claims: Vec<(IpAddr, &str)> = ips
                .iter()
                .map(|(service, ip)| (*ip, object::uid(service)))
                .collect();
            ranges.reconcile(&claims, UNCLAIMED_LIFE)
        };
        let ports: Vec<(&Value, u64)> = stored
            .iter()
            .flat_map(|s| {
                service::node_ports(s)
                    .into_iter()
                    .map(move |port| (s, port))
            })
            .collect();
        let claims = ports.iter().map(|(s, port)| (*port, object::uid(s)));
        let found_ports = self.pools.ports.lock().reconcile(claims, UNCLAIMED_LIFE);
        if found_ips.leaked > 0 || found_ports.leaked > 0 {
            tracing::info!(
                ips = found_ips.leaked,
                ports = found_ports.leaked,
                "gave back service addresses and node ports that no Service has"
            );
        }
        let ips = found_ips.duplicates.into_iter().map(|at| {
            let (service, ip) = ips[at];
            let family = Family::of(ip.is_ipv6());
            Duplicate {
                service: service.clone(),
                reason: "ClusterIPAlreadyAllocated",
                message: format!(
                    "Cluster IP [{family}]:{ip} was assigned to multiple services; please recreate service"
                ),
            }
        });
        let ports = found_ports.duplicates.into_iter().map(|at| {
            let (service, port) = ports[at];
            Duplicate {
                service: service.clone(),
                reason: "PortAlreadyAllocated",
                message: format!(
                    "Port {port} was assigned to multiple services; please recreate service"
                ),
            }
        });
        ips.chain(ports).collect()
    }

    /// Gives back what a Service has of these numbers.
    async fn release(&self, service: &Value, numbers: Vec<Number>) {
        let uid = object::uid(service);
        for number in &numbers {
            let release = |pool: &mut Pool, number| pool.release(number, uid);
            self.pools.each(*number, release);
        }
        let Some(claims) = &self.pools.claims else {
            return;
        };
        let owner = Owner::of(service);
        for number in numbers.into_iter().filter(|n| claims.are_for(*n)) {
            claims.release(number, &owner).await;
        }
    }

    /// Takes what `new` needs beyond `old`; on an error everything taken here is given back.
    async fn take(
        &self,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Box<dyn Taken>, Status> {
        let fresh = self.pools.ips.lock().follow(&*self.objects);
        if fresh {
            // A new range does not know yet what Services have of it.
            self.repair();
        }
        // What an update says of itself is still to be looked at.
        let mut taking = Box::new(Taking::new(self.pools.clone(), old.unwrap_or(new), dry_run));
        match self.take_into(&mut taking, new, old).await {
            Ok(()) => Ok(taking),
            Err(status) => {
                taking.undo().await;
                Err(status)
            }
        }
    }

    async fn take_into(
        &self,
        taking: &mut Taking,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<(), Status> {
        families::init(new, old, &self.pools.families)?;
        if let Some(from) = cluster_ip::takes_from(new, old) {
            cluster_ip::take(new, from, taking).await?;
        }
        node_port::take(new, old, taking).await
    }
}

#[async_trait]
impl WriteHook for Allocators {
    fn handles(&self, kind: &Kind) -> bool {
        kind.group.is_empty() && kind.resource == "services"
    }

    async fn before_create(
        &self,
        object: &mut Value,
        dry_run: bool,
    ) -> Result<Box<dyn Taken>, Status> {
        service::normalize_create(object);
        self.take(object, None, dry_run).await
    }

    async fn before_update(
        &self,
        new: &mut Value,
        old: &Value,
        dry_run: bool,
    ) -> Result<Box<dyn Taken>, Status> {
        service::keep_allocated(new, old);
        service::normalize_update(new, old);
        self.take(new, Some(old), dry_run).await
    }

    async fn after_update(&self, new: &Value, old: &Value) {
        let kept = claims::of_service(new);
        let mut gone = claims::of_service(old);
        gone.retain(|number| !kept.contains(number));
        self.release(old, gone).await;
    }

    async fn after_delete(&self, object: &Value) {
        self.release(object, claims::of_service(object)).await;
    }
}
