//! Which node answers for an address: a pure function of what all nodes see alike.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use knarr_client::IndexKey;
use knarr_meta::prefix::Prefix;

use crate::{ranges::Ranges, socket::Interface};

/// Nodes with this label get no traffic from outside.
const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The autoscaler is about to take the node away.
const TO_BE_DELETED_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// The label by which a slice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// FNV-1a, of 64 bits.
const HASH_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0100_0000_01b3;

/// Slices by their Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SlicesOf {
    namespace: String,
    name: String,
}

impl SlicesOf {
    fn service(service: &Service) -> Self {
        let meta = &service.metadata;
        Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        }
    }
}

impl IndexKey<EndpointSlice> for SlicesOf {
    fn keys_of(slice: &EndpointSlice) -> Vec<Self> {
        let meta = &slice.metadata;
        let labels = meta.labels.iter();
        let names = labels.filter_map(|labels| labels.get(SERVICE_NAME_LABEL));
        let keys = names.map(|name| Self {
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: name.clone(),
        });
        keys.collect()
    }
}

/// A node that may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    name: String,
    addresses: Vec<IpAddr>,
}

impl Candidate {
    /// None of a node that is not ready, is going away, or is not to get traffic from outside.
    pub(crate) fn of(node: &Node) -> Option<Self> {
        let meta = &node.metadata;
        let is_excluded = (meta.labels.iter()).any(|labels| labels.contains_key(EXCLUDED_LABEL));
        let mut taints = node
            .spec
            .iter()
            .flat_map(|spec| spec.taints.iter().flatten());
        let is_leaving = meta.deletion_timestamp.is_some()
            || taints.any(|taint| taint.key == TO_BE_DELETED_TAINT);
        let status = node.status.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        let is_ready = conditions.any(|c| c.type_ == "Ready" && c.status == "True");
        if is_excluded || is_leaving || !is_ready {
            return None;
        }
        let addresses = status.addresses.iter().flatten();
        let addresses = addresses.filter(|address| address.type_ == "InternalIP");
        Some(Self {
            name: meta.name.clone()?,
            addresses: addresses
                .filter_map(|address| address.address.parse().ok())
                .collect(),
        })
    }

    fn is_in(&self, network: &Prefix) -> bool {
        self.addresses
            .iter()
            .any(|address| network.contains(*address))
    }
}

/// What is chosen from.
pub(crate) struct Choice<'a> {
    pub(crate) node: &'a str,
    pub(crate) ranges: &'a Ranges,
    pub(crate) candidates: Vec<Candidate>,
}

impl Choice<'_> {
    /// The addresses of a Service that this node answers for, each with the name of its link.
    pub(crate) fn of_service(
        &self,
        service: &Service,
        slices_of: impl Fn(&SlicesOf) -> Vec<Arc<EndpointSlice>>,
        interfaces: &[Interface],
    ) -> Vec<(String, IpAddr)> {
        let addresses = published(service);
        let addresses = addresses.filter(|address| self.ranges.contain(*address));
        let addresses: Vec<IpAddr> = addresses.collect();
        if addresses.is_empty() {
            return Vec::new();
        }
        let serving =
            is_local(service).then(|| serving_nodes(&slices_of(&SlicesOf::service(service))));
        let mut own = Vec::new();
        for address in addresses {
            for interface in interfaces {
                let mut networks = interface.networks.iter();
                let Some(network) = networks.find(|network| network.contains(address)) else {
                    // Nobody on this link asks for it there.
                    continue;
                };
                let chosen = self.chosen(address, network, serving.as_deref());
                if chosen == Some(self.node) {
                    own.push((interface.name.clone(), address));
                }
            }
        }
        own
    }

    /// The node with the highest hash: where one goes, only what it had moves.
    fn chosen(
        &self,
        address: IpAddr,
        network: &Prefix,
        serving: Option<&[String]>,
    ) -> Option<&str> {
        let candidates = self.candidates.iter();
        let able = candidates.filter(|candidate| {
            candidate.is_in(network) && serving.is_none_or(|nodes| nodes.contains(&candidate.name))
        });
        let chosen = able.max_by_key(|candidate| (hash(&candidate.name, address), &candidate.name));
        chosen.map(|candidate| candidate.name.as_str())
    }
}

/// The same on every node, whatever its program's version.
fn hash(node: &str, address: IpAddr) -> u64 {
    let address = address.to_string();
    let bytes = node.bytes().chain(*b"#").chain(address.bytes());
    let sum = bytes.fold(HASH_BASIS, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(HASH_PRIME)
    });
    // The last bytes have to tell as much as the first.
    let mixed = (sum ^ (sum >> 32)).wrapping_mul(HASH_BASIS);
    mixed ^ (mixed >> 29)
}

fn published(service: &Service) -> impl Iterator<Item = IpAddr> + '_ {
    let is_balanced =
        service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("LoadBalancer");
    let statuses = service.status.iter().filter(move |_| is_balanced);
    let ingress = statuses
        .flat_map(|status| &status.load_balancer)
        .flat_map(|balancer| balancer.ingress.iter().flatten());
    ingress.filter_map(|ingress| ingress.ip.as_ref()?.parse().ok())
}

fn is_local(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.external_traffic_policy.as_deref()) == Some("Local")
}

/// Nodes with ready endpoints.
fn serving_nodes(slices: &[Arc<EndpointSlice>]) -> Vec<String> {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|endpoint| {
        // Unknown readiness is to be read as ready.
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready);
        ready.unwrap_or(true)
    });
    ready
        .filter_map(|endpoint| endpoint.node_name.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, from_value, json};

    use super::*;

    fn node(name: &str, ip: &str, ready: &str, labels: Value) -> Option<Candidate> {
        let node: Node = from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "status": {
                "addresses": [{"type": "InternalIP", "address": ip}],
                "conditions": [{"type": "Ready", "status": ready}],
            },
        }))
        .expect("a node");
        Candidate::of(&node)
    }

    fn service(policy: &str, address: &str) -> Service {
        from_value(json!({
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy},
            "status": {"loadBalancer": {"ingress": [{"ip": address}]}},
        }))
        .expect("a service")
    }

    fn slice(node: &str, ready: bool) -> Arc<EndpointSlice> {
        Arc::new(
            from_value(json!({
                "metadata": {
                    "name": "web-1", "namespace": "default",
                    "labels": {SERVICE_NAME_LABEL: "web"},
                },
                "addressType": "IPv4",
                "endpoints": [{"addresses": ["10.42.0.9"], "nodeName": node, "conditions": {"ready": ready}}],
            }))
            .expect("a slice"),
        )
    }

    /// Who answers, of all who think that they do.
    fn answering(
        candidates: &[Candidate],
        service: &Service,
        slices: &[Arc<EndpointSlice>],
    ) -> Vec<String> {
        let ranges = "192.0.2.64-192.0.2.95".parse().expect("ranges");
        let interface = Interface::of_test("eth0", &["192.0.2.0/24"]);
        let slices_of = |wanted: &SlicesOf| -> Vec<Arc<EndpointSlice>> {
            let its = slices
                .iter()
                .filter(|slice| SlicesOf::keys_of(slice).contains(wanted));
            its.cloned().collect()
        };
        let is_one = |node: &&Candidate| {
            let choice = Choice {
                node: &node.name,
                ranges: &ranges,
                candidates: candidates.to_vec(),
            };
            !choice
                .of_service(service, slices_of, std::slice::from_ref(&interface))
                .is_empty()
        };
        let names = candidates.iter().filter(is_one);
        names.map(|node| node.name.clone()).collect()
    }

    #[test]
    fn one_node_answers_and_another_when_it_is_gone() {
        let all: Vec<Candidate> = (1..=3)
            .filter_map(|n| node(&format!("n{n}"), &format!("192.0.2.{n}"), "True", json!({})))
            .collect();
        let mut owners = BTreeSet::new();
        for last in 64..96 {
            let service = service("Cluster", &format!("192.0.2.{last}"));
            let before = answering(&all, &service, &[]);
            assert_eq!(before.len(), 1, "{last}");
            for gone in &all {
                let rest: Vec<Candidate> = all.iter().filter(|one| *one != gone).cloned().collect();
                let after = answering(&rest, &service, &[]);
                assert_eq!(after.len(), 1);
                assert!(
                    before == after || before[0] == gone.name,
                    "nothing else moves"
                );
            }
            owners.extend(before);
        }
        assert_eq!(owners.len(), 3, "addresses are spread: {owners:?}");
    }

    #[test]
    fn what_is_not_given_out_here_is_nobodys() {
        let all: Vec<Candidate> = node("n1", "192.0.2.1", "True", json!({}))
            .into_iter()
            .collect();
        for (address, wanted) in [
            ("192.0.2.64", 1),
            ("192.0.2.63", 0),
            ("198.51.100.64", 0),
            ("fd00::64", 0),
        ] {
            let found = answering(&all, &service("Cluster", address), &[]);
            assert_eq!(found.len(), wanted, "{address}");
        }
        let mut other = service("Cluster", "192.0.2.64");
        other.spec.as_mut().expect("a spec").type_ = Some("ClusterIP".to_owned());
        assert!(answering(&all, &other, &[]).is_empty());
    }

    #[test]
    fn only_nodes_that_may_and_can_do_answer() {
        let excluded = json!({EXCLUDED_LABEL: ""});
        assert!(node("a", "192.0.2.1", "True", excluded).is_none());
        assert!(node("a", "192.0.2.1", "Unknown", json!({})).is_none());
        let all: Vec<Candidate> = [
            ("n1", "192.0.2.1"),
            ("n2", "192.0.2.2"),
            ("far", "10.9.9.9"),
        ]
        .into_iter()
        .filter_map(|(name, ip)| node(name, ip, "True", json!({})))
        .collect();
        let local = service("Local", "192.0.2.64");
        for (slice, wanted) in [
            (slice("n1", true), vec!["n1"]),
            (slice("n2", true), vec!["n2"]),
            (slice("n2", false), vec![]),
            (slice("far", true), vec![]),
        ] {
            assert_eq!(answering(&all, &local, &[slice]), wanted);
        }
    }
}
