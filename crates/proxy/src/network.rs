//! What the table of one family is made from.

use std::net::IpAddr;

use knarr_meta::prefix::Prefix;
use knarr_nft::{Family, Table, Transaction};

use crate::Config;

/// The cluster in one family.
#[derive(Clone, Debug)]
pub struct Network {
    pub table: Table,
    /// Its pods; none where they have no addresses of this family.
    pub pods: Option<Prefix>,
    /// Its services.
    pub services: Prefix,
    /// The address of the cluster DNS Service, and where this node's own server listens.
    pub dns: Option<(IpAddr, IpAddr)>,
}

impl Network {
    /// One for each family that services have addresses of.
    pub fn of(config: &Config) -> Vec<Self> {
        let networks = config.service_cidrs.iter().map(|services| {
            let family = Family::of(services.address());
            let mut pods = config.cluster_cidrs.iter();
            let mut dns = config.node_local_dns.iter();
            Self {
                table: Table::new(family, &config.table),
                pods: pods
                    .find(|pods| Family::of(pods.address()) == family)
                    .copied(),
                services: *services,
                dns: dns
                    .find(|(service, _)| Family::of(*service) == family)
                    .copied(),
            }
        });
        networks.collect()
    }

    pub fn family(&self) -> Family {
        self.table.family
    }
}

/// Removes the tables of the families that the cluster does not have (any more).
pub fn remove_others(made: &mut Transaction, config: &Config, networks: &[Network]) {
    for family in Family::BOTH {
        if networks.iter().all(|network| network.family() != family) {
            made.remove_table(&Table::new(family, &config.table));
        }
    }
}
