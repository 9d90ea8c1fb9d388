//! What a node has to know of its cluster: the ConfigMap `kube-system/knarr-node-config`.
//!
//! The server writes it at its start; nodes read it at theirs.

use std::{collections::BTreeMap, net::IpAddr};

use knarr_auth::cluster_info::{SETTINGS_NAME, SETTINGS_NAMESPACE};

const CLUSTER_CIDR: &str = "clusterCIDR";
const SERVICE_CIDR: &str = "serviceCIDR";
const CLUSTER_DNS: &str = "clusterDNS";
const CLUSTER_DOMAIN: &str = "clusterDomain";
const NETWORK_POLICY: &str = "networkPolicy";
const LOAD_BALANCER_RANGES: &str = "loadBalancerRanges";

/// What nodes must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSettings {
    /// Addresses of pods, such as `10.42.0.0/16`, or of both families, `10.42.0.0/16,fd42::/48`.
    pub cluster_cidr: String,
    /// Addresses of Services, such as `10.43.0.0/16`, of the same families.
    pub service_cidr: String,
    /// Addresses of the `kube-dns` Service, of the same families.
    pub cluster_dns: Vec<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// Whether nodes enforce NetworkPolicies.
    pub network_policy: bool,
    /// Addresses of load balancers that nodes answer for, `192.0.2.10-192.0.2.20,fd00::10-fd00::20`; empty where they answer for none.
    pub load_balancer_ranges: String,
}

/// The server's ConfigMap is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ConfigMap {SETTINGS_NAMESPACE}/{SETTINGS_NAME} has no usable {0}")]
pub struct SettingsError(&'static str);

impl ClusterSettings {
    /// The ConfigMap's data.
    #[must_use]
    pub fn data(&self) -> BTreeMap<String, String> {
        let pairs = [
            (CLUSTER_CIDR, self.cluster_cidr.clone()),
            (SERVICE_CIDR, self.service_cidr.clone()),
            (CLUSTER_DNS, joined(&self.cluster_dns)),
            (CLUSTER_DOMAIN, self.cluster_domain.clone()),
            (NETWORK_POLICY, self.network_policy.to_string()),
            (LOAD_BALANCER_RANGES, self.load_balancer_ranges.clone()),
        ];
        let told = pairs
            .into_iter()
            .filter(|(key, value)| *key != LOAD_BALANCER_RANGES || !value.is_empty());
        told.map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Whether the cluster's pods have addresses of the family of another.
    #[must_use]
    pub fn has_family_of(&self, address: IpAddr) -> bool {
        let ranges = self.cluster_cidr.split(',');
        ranges
            .into_iter()
            .any(|range| range.contains(':') == address.is_ipv6())
    }

    /// Reads [`ClusterSettings::data`]; what else stands there is of a newer server.
    ///
    /// # Errors
    /// [`SettingsError`] names the key that is missing or damaged.
    pub fn from_data(data: &BTreeMap<String, String>) -> Result<Self, SettingsError> {
        let text = |key: &'static str| {
            let value = data.get(key).filter(|value| !value.is_empty());
            value.ok_or(SettingsError(key))
        };
        Ok(Self {
            cluster_cidr: text(CLUSTER_CIDR)?.clone(),
            service_cidr: text(SERVICE_CIDR)?.clone(),
            cluster_dns: split(text(CLUSTER_DNS)?).ok_or(SettingsError(CLUSTER_DNS))?,
            cluster_domain: text(CLUSTER_DOMAIN)?.clone(),
            network_policy: text(NETWORK_POLICY)?
                .parse()
                .map_err(|_| SettingsError(NETWORK_POLICY))?,
            // An older server does not tell, and has nobody answer.
            load_balancer_ranges: data.get(LOAD_BALANCER_RANGES).cloned().unwrap_or_default(),
        })
    }
}

fn joined(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    texts.join(",")
}

fn split(text: &str) -> Option<Vec<IpAddr>> {
    text.split(',').map(|one| one.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_were_written() {
        let settings = ClusterSettings {
            cluster_cidr: "10.42.0.0/16,fd42::/48".to_owned(),
            service_cidr: "10.43.0.0/16,fd43::/112".to_owned(),
            cluster_dns: ["10.43.0.10", "fd43::a"]
                .map(|ip| ip.parse().unwrap())
                .into(),
            cluster_domain: "cluster.local".to_owned(),
            network_policy: true,
            load_balancer_ranges: "192.0.2.10-192.0.2.20".to_owned(),
        };
        let mut data = settings.data();
        data.insert("newer".to_owned(), "x".to_owned());
        assert_eq!(ClusterSettings::from_data(&data), Ok(settings));
        for key in [CLUSTER_CIDR, SERVICE_CIDR, CLUSTER_DNS, NETWORK_POLICY] {
            let mut broken = data.clone();
            broken.insert(key.to_owned(), String::new());
            let read = ClusterSettings::from_data(&broken);
            assert_eq!(read, Err(SettingsError(key)));
        }
    }
}
