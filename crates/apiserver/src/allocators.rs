//! Service addresses and node ports.
//!
//! What is taken is derived from the Services themselves: at start from the watch cache, later through the hooks around their
//! writes. Upstream stores allocations as objects of their own, because several servers share them, and then needs repair loops
//! for when the two disagree; on one server the Services are the only truth and a restart repairs everything. [`Allocators::repair`]
//! does it without a restart, should a write have died between taking and committing.
//!
//! Both ranges are split in two bands, as upstream's are: automatic choices come from the upper band while it lasts, so that
//! the lower one stays free for addresses that people choose.

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use async_trait::async_trait;
use knarr_api::Kind;
use knarr_meta::status::Status;
use parking_lot::Mutex;
use serde_json::Value;

use crate::request::{Objects, WriteHook};

mod cluster_ip;
mod node_port;
mod pool;
mod service;
#[cfg(test)]
mod tests;

use cluster_ip::Cidr;
use pool::Pool;

/// What is taken without a stored Service is given back after this long: no write lasts longer.
const UNCLAIMED_LIFE: Duration = Duration::from_secs(120);
/// How often the server should call [`Allocators::repair`].
pub const REPAIR_PERIOD: Duration = Duration::from_secs(180);

/// Ranges to allocate from.
#[derive(Clone, Debug)]
pub struct Config {
    /// `10.43.0.0/16`
    pub service_cidr: String,
    /// Upstream's default: 30000-32767.
    pub node_ports: RangeInclusive<u16>,
}

impl Config {
    /// The usual node ports.
    pub fn new(service_cidr: impl Into<String>) -> Config {
        Config {
            service_cidr: service_cidr.into(),
            node_ports: 30000..=32767,
        }
    }
}

/// A range that cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("service CIDR {0:?} is not an address range")]
    Cidr(String),
    #[error("service CIDR {0:?} is too small: it needs at least 8 addresses")]
    CidrTooSmall(String),
    #[error("node port range {0}-{1} is empty")]
    Ports(u16, u16),
}

/// Allocates for Services.
pub struct Allocators {
    objects: Arc<dyn Objects>,
    cidr: Cidr,
    ips: Mutex<Pool>,
    ports: Mutex<Pool>,
}

/// The first address of a service CIDR: that of the `default/kubernetes` Service.
pub fn first_service_ip(service_cidr: &str) -> Result<IpAddr, Error> {
    Ok(Cidr::parse(service_cidr)?.address(0))
}

impl Allocators {
    /// Takes what the cached Services have; call it when the cache has been filled.
    pub fn new(config: &Config, objects: Arc<dyn Objects>) -> Result<Allocators, Error> {
        let cidr = Cidr::parse(&config.service_cidr)?;
        let (first, last) = (*config.node_ports.start(), *config.node_ports.end());
        if first == 0 || first > last {
            return Err(Error::Ports(first, last));
        }
        let allocators = Allocators {
            ips: Mutex::new(Pool::new(0..cidr.size(), cluster_ip::band(cidr.size()))),
            ports: Mutex::new(Pool::new(
                first.into()..u64::from(last) + 1,
                node_port::band(u64::from(last - first) + 1),
            )),
            cidr,
            objects,
        };
        allocators.repair();
        Ok(allocators)
    }

    /// Makes the pools agree with the cached Services again; what a running write has just taken stays taken.
    pub fn repair(&self) {
        let stored: Vec<Value> = self
            .objects
            .list("", "services", "")
            .iter()
            .filter_map(|service| serde_json::from_slice(&service.json).ok())
            .collect();
        let ips = stored
            .iter()
            .flat_map(service::ips)
            .filter_map(|ip| self.cidr.offset(ip));
        let leaked_ips = self.ips.lock().reconcile(ips, UNCLAIMED_LIFE);
        let leaked_ports = self
            .ports
            .lock()
            .reconcile(stored.iter().flat_map(service::node_ports), UNCLAIMED_LIFE);
        if leaked_ips + leaked_ports > 0 {
            tracing::info!(
                leaked_ips,
                leaked_ports,
                "gave back service addresses and node ports that no Service has"
            );
        }
    }

    fn release_ips(&self, ips: impl IntoIterator<Item = IpAddr>) {
        let mut pool = self.ips.lock();
        for offset in ips.into_iter().filter_map(|ip| self.cidr.offset(ip)) {
            pool.release(offset);
        }
    }

    fn release_ports(&self, ports: impl IntoIterator<Item = u64>) {
        let mut pool = self.ports.lock();
        for port in ports {
            pool.release(port);
        }
    }

    /// Takes what `new` needs beyond `old`; on an error everything taken here is given back.
    fn take(&self, new: &mut Value, old: Option<&Value>) -> Result<(), Status> {
        cluster_ip::init_families(new, old, &self.cidr)?;
        if cluster_ip::takes(new, old) {
            cluster_ip::take(new, &self.cidr, &mut self.ips.lock())?;
        }
        let ports = node_port::take(new, old, &mut self.ports.lock());
        if ports.is_err() && cluster_ip::takes(new, old) {
            self.release_ips(service::ips(new));
        }
        ports
    }
}

#[async_trait]
impl WriteHook for Allocators {
    fn handles(&self, kind: &Kind) -> bool {
        kind.group.is_empty() && kind.resource == "services"
    }

    async fn before_create(&self, object: &mut Value) -> Result<(), Status> {
        service::normalize_create(object);
        self.take(object, None)
    }

    async fn before_update(&self, new: &mut Value, old: &Value) -> Result<(), Status> {
        service::keep_allocated(new, old);
        service::normalize_update(new, old);
        self.take(new, Some(old))
    }

    async fn undo(&self, failed: &Value, old: Option<&Value>) {
        // Only what `take` takes: an update that names another Service's address has not taken it.
        if cluster_ip::takes(failed, old) {
            self.release_ips(service::ips(failed));
        }
        if service::wants_node_ports(failed) {
            let kept: Vec<u64> = old.map(service::node_ports).unwrap_or_default();
            self.release_ports(
                service::node_ports(failed)
                    .into_iter()
                    .filter(|port| !kept.contains(port)),
            );
        }
    }

    async fn after_update(&self, new: &Value, old: &Value) {
        let (ips, ports) = (service::ips(new), service::node_ports(new));
        self.release_ips(service::ips(old).into_iter().filter(|ip| !ips.contains(ip)));
        self.release_ports(
            service::node_ports(old)
                .into_iter()
                .filter(|port| !ports.contains(port)),
        );
    }

    async fn after_delete(&self, object: &Value) {
        self.release_ips(service::ips(object));
        self.release_ports(service::node_ports(object));
    }
}
