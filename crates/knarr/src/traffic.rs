//! Traffic from outside: what the flags say of load balancers.

use anyhow::{Result, bail};
use knarr_controllers::service_lb::{self, Protocol, Reserved};

use crate::{cli::Up, network, node};

/// Where nodes speak VXLAN with each other, over UDP (`knarr_cni::peers`).
const VXLAN_PORT: u16 = 8472;

/// Checks the flags.
///
/// # Errors
/// A range of addresses that are pods' or Services'.
pub fn check(flags: &Up) -> Result<()> {
    let Some(range) = flags.traffic.lb_range else {
        return Ok(());
    };
    if !flags.traffic.load_balancer {
        bail!("--lb-range {range} is for --load-balancer, which is false");
    }
    let others = [
        ("--cluster-cidr", flags.cluster_cidr),
        ("--service-cidr", flags.service_cidr),
    ];
    for (flag, cidr) in others {
        if range.overlaps(cidr.base, cidr.prefix) {
            bail!("--lb-range {range} and {flag} {cidr} overlap");
        }
    }
    Ok(())
}

/// What Services of type LoadBalancer may get, if that is ours to say. `api_port` is where the API server listens.
pub fn service_lb(flags: &Up, node: &node::Settings, api_port: u16) -> Option<service_lb::Config> {
    let traffic = &flags.traffic;
    traffic.load_balancer.then(|| service_lb::Config {
        range: traffic.lb_range,
        reserved: reserved(flags, node, api_port),
    })
}

fn reserved(flags: &Up, node: &node::Settings, api_port: u16) -> Vec<Reserved> {
    let of = |protocol, port, holder: &str| Reserved {
        protocol,
        port,
        holder: holder.to_owned(),
    };
    let tcp = |port, holder| of(Protocol::Tcp, port, holder);
    let mut reserved = vec![
        tcp(api_port, "the API server"),
        tcp(knarr_kubelet::DEFAULT_PORT, "the kubelet"),
        of(Protocol::Udp, VXLAN_PORT, "the pod network"),
    ];
    if node.dns_also.is_some() {
        let port = network::DNS_PORT;
        let dns = [Protocol::Tcp, Protocol::Udp];
        reserved.extend(dns.map(|protocol| of(protocol, port, "cluster DNS")));
    }
    let kept = flags.traffic.lb_reserved_ports.iter();
    reserved.extend(kept.map(|port| tcp(*port, "the nodes (--lb-reserved-ports)")));
    reserved
}
