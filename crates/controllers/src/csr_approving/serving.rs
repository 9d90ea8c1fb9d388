//! What a node's server may be called.
//!
//! Upstream leaves these requests to people and add-ons. A certificate of the cluster's authority for an address vouches for whoever
//! answers there, so a node gets one for its own name and for addresses that are nobody else's: not another node's, not the API
//! server's, and none of pods or Services. What else its server is called somebody has to approve.

use std::net::IpAddr;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::Node;
use knarr_meta::prefix::Prefix;
use knarr_x509::Request;

use crate::certificates::{NODE_PREFIX, NODES, check_kubelet_serving};

/// More names than any machine has.
const NAMES_MAX: usize = 32;

/// What nodes' servers are not called.
#[derive(Clone, Debug, Default)]
pub(super) struct Reserved {
    /// Names and addresses of the API server.
    pub names: Vec<String>,
    /// Ranges of pods' and Services' addresses.
    pub ranges: Vec<Prefix>,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Approve,
    /// For good, and why.
    Deny(String),
    /// Somebody else's business.
    Leave,
}

/// Decides about a request of a node for its own server.
pub(super) fn verdict(
    csr: &CertificateSigningRequest,
    request: &Request,
    nodes: &[impl AsRef<Node>],
    reserved: &Reserved,
) -> Verdict {
    let asks_for_itself = csr.spec.username.as_deref() == Some(&request.common_name)
        && csr.spec.groups.iter().flatten().any(|group| group == NODES);
    let name = request.common_name.trim_start_matches(NODE_PREFIX);
    let count = request
        .dns_names
        .len()
        .saturating_add(request.ip_addresses.len());
    if !asks_for_itself || check_kubelet_serving(csr, request).is_err() || count > NAMES_MAX {
        return Verdict::Leave;
    }
    if is_reserved(name, reserved) {
        return Verdict::Deny(format!("{name} is the API server's, or a Service's"));
    }
    if request.dns_names.iter().any(|asked| asked != name) {
        return Verdict::Leave;
    }
    for bytes in &request.ip_addresses {
        let Some(address) = address(bytes) else {
            return Verdict::Leave;
        };
        if let Some(why) = foreign(address, name, nodes, reserved) {
            return Verdict::Deny(why);
        }
    }
    Verdict::Approve
}

/// Whether clients look for something else by this name.
fn is_reserved(name: &str, reserved: &Reserved) -> bool {
    let own = reserved.names.iter().any(|own| own == name);
    own || name.ends_with(".svc") || name.contains(".svc.")
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes)
            .ok()
            .map(|bytes| IpAddr::from(bytes).to_canonical()),
        _ => None,
    }
}

/// Why an address is not this node's.
fn foreign(
    address: IpAddr,
    name: &str,
    nodes: &[impl AsRef<Node>],
    reserved: &Reserved,
) -> Option<String> {
    if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
        return Some(format!("{address} is no address of one machine"));
    }
    if reserved.names.iter().any(|own| own.parse() == Ok(address)) {
        return Some(format!("{address} is the API server's"));
    }
    if reserved.ranges.iter().any(|range| range.contains(address)) {
        return Some(format!("{address} is of the range of pods or Services"));
    }
    let owner = nodes
        .iter()
        .map(AsRef::as_ref)
        .find(|node| node.metadata.name.as_deref() != Some(name) && has_address(node, address))?;
    let owner = owner.metadata.name.as_deref().unwrap_or_default();
    Some(format!("{address} is the address of node {owner}"))
}

fn has_address(node: &Node, address: IpAddr) -> bool {
    let mut addresses = node
        .status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten());
    addresses.any(|own| own.address.parse() == Ok(address))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::SanType;
    use serde_json::json;

    use super::*;
    use crate::certificates::{
        KUBELET_SERVING,
        tests::{csr, pem},
    };
    use crate::fixtures::object;

    const USAGES: [&str; 2] = ["digital signature", "server auth"];

    fn names(names: &[&str]) -> Vec<SanType> {
        let san = |name: &&str| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName((*name).try_into().expect("a name")),
        };
        names.iter().map(san).collect()
    }

    fn decide(node: &str, user: &str, group: &str, sans: &[&str]) -> Verdict {
        let other: Node = object(json!({
            "metadata": {"name": "n2"},
            "status": {"addresses": [
                {"type": "InternalIP", "address": "10.0.0.2"}, {"type": "Hostname", "address": "n2"},
            ]},
        }));
        let reserved = Reserved {
            names: vec![
                "kubernetes.default.svc".into(),
                "server".into(),
                "10.0.0.9".into(),
            ],
            ranges: ["10.42.0.0/16", "10.43.0.0/16", "fd43::/112"]
                .map(|range| range.parse().expect("a range"))
                .into(),
        };
        let pem = pem(&format!("system:node:{node}"), "system:nodes", names(sans));
        let mut csr = csr(KUBELET_SERVING, &pem, &USAGES);
        csr.spec.username = Some(user.to_owned());
        csr.spec.groups = Some(vec![group.to_owned()]);
        let request = Request::from_pem(pem.as_bytes()).expect("a request");
        verdict(&csr, &request, &[Arc::new(other)], &reserved)
    }

    #[test]
    fn nodes_serve_under_their_own_names() {
        let n1 = |sans: &[&str]| decide("n1", "system:node:n1", NODES, sans);
        let deny = |why: &str| Verdict::Deny(why.to_owned());
        assert_eq!(n1(&["n1", "10.0.0.1"]), Verdict::Approve);
        assert_eq!(n1(&["10.0.0.1", "fd00::1"]), Verdict::Approve);
        assert_eq!(n1(&["n1"]), Verdict::Approve);
        assert_eq!(n1(&[]), Verdict::Leave);
        assert_eq!(n1(&["n1", "n1.example.com"]), Verdict::Leave);
        assert_eq!(n1(&["n2"]), Verdict::Leave);
        assert_eq!(
            n1(&["10.0.0.2"]),
            deny("10.0.0.2 is the address of node n2")
        );
        assert_eq!(
            n1(&["10.0.0.1", "10.0.0.9"]),
            deny("10.0.0.9 is the API server's")
        );
        let range = "is of the range of pods or Services";
        assert_eq!(n1(&["10.43.0.1"]), deny(&format!("10.43.0.1 {range}")));
        assert_eq!(n1(&["10.42.7.1"]), deny(&format!("10.42.7.1 {range}")));
        let machine = "is no address of one machine";
        assert_eq!(n1(&["127.0.0.1"]), deny(&format!("127.0.0.1 {machine}")));
        assert_eq!(
            n1(&["::ffff:127.0.0.1"]),
            deny(&format!("127.0.0.1 {machine}"))
        );
    }

    #[test]
    fn nobody_serves_as_somebody_else() {
        for node in [
            "server",
            "kubernetes.default.svc",
            "a.b.svc",
            "a.svc.cluster.local",
        ] {
            let user = format!("system:node:{node}");
            let verdict = decide(node, &user, NODES, &[node]);
            assert!(matches!(verdict, Verdict::Deny(_)), "{node}: {verdict:?}");
        }
        for (user, group) in [
            ("system:node:n3", NODES),
            ("system:bootstrap:abc123", "system:bootstrappers"),
            ("system:node:n1", "system:bootstrappers"),
        ] {
            let verdict = decide("n1", user, group, &["n1"]);
            assert_eq!(verdict, Verdict::Leave, "{user} {group}");
        }
        let many: Vec<String> = (0..40).map(|at| format!("10.1.0.{at}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(decide("n1", "system:node:n1", NODES, &many), Verdict::Leave);
    }
}
