//! Traffic from outside: what the flags say of load balancers, Ingresses and Gateways.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use anyhow::{Context, Result, bail};
use knarr_client::{Clients, Informers};
use knarr_controllers::service_lb::{self, Pool, Protocol, Reserved};
use knarr_ingress::Ingress;
use knarr_tasks::Tasks;

use crate::{cli::Up, network, node};

/// Where nodes speak VXLAN with each other, over UDP (`knarr_cni::peers`).
const VXLAN_PORT: u16 = 8472;

/// Checks the flags.
///
/// # Errors
/// A range of addresses that are pods' or Services'; one port for two things; an address for Gateways that is none of this machine.
pub fn check(flags: &Up) -> Result<()> {
    let (http, https) = (
        flags.traffic.ingress_http_port,
        flags.traffic.ingress_https_port,
    );
    if http == https {
        bail!("--ingress-http-port and --ingress-https-port are both {http}");
    }
    for range in &flags.traffic.lb_range {
        check_range(flags, range)?;
    }
    for address in &flags.traffic.gateway_addresses {
        check_gateway_address(flags, *address)?;
    }
    Ok(())
}

/// It is to be one of this machine, and nobody else's.
fn check_gateway_address(flags: &Up, address: IpAddr) -> Result<()> {
    if let Some(range) = (flags.traffic.lb_range.iter()).find(|range| range.contains(address)) {
        bail!("--gateway-addresses {address} is in --lb-range {range}");
    }
    TcpListener::bind(SocketAddr::new(address, 0))
        .with_context(|| format!("--gateway-addresses {address} is no address of this machine"))?;
    Ok(())
}

fn check_range(flags: &Up, range: &Pool) -> Result<()> {
    if !flags.traffic.load_balancer {
        bail!("--lb-range {range} is for --load-balancer, which is false");
    }
    let all = flags.traffic.lb_range.iter();
    if all
        .filter(|other| other.is_ipv4() == range.is_ipv4())
        .count()
        > 1
    {
        bail!("--lb-range has two ranges of one family");
    }
    let others = [
        ("--cluster-cidr", &flags.server.cluster_cidr),
        ("--service-cidr", &flags.server.service_cidr),
    ];
    for (flag, cidrs) in others {
        for cidr in cidrs.list() {
            if range.overlaps(cidr) {
                bail!("--lb-range {range} and {flag} {cidr} overlap");
            }
        }
    }
    Ok(())
}

/// What Services of type LoadBalancer may get, if that is ours to say.
pub fn service_lb(flags: &Up, node: &node::Settings) -> Option<service_lb::Config> {
    let traffic = &flags.traffic;
    traffic.load_balancer.then(|| service_lb::Config {
        ranges: traffic.lb_range.clone(),
        reserved: reserved(flags, node),
    })
}

/// Addresses of load balancers that nodes answer for.
///
/// # Errors
/// None: ranges that were read can be written.
pub fn announced(flags: &Up) -> Result<knarr_announce::Ranges> {
    let ranges = flags.traffic.lb_range.iter().map(Pool::to_string);
    let text = ranges.collect::<Vec<_>>().join(",");
    text.parse().context("--lb-range")
}

/// TCP ports of this machine that are knarr's, or kept for its administrators.
pub fn own_ports(flags: &Up) -> Vec<u16> {
    let traffic = &flags.traffic;
    let mut ports = vec![flags.server.listen().port(), knarr_kubelet::DEFAULT_PORT];
    if traffic.ingress {
        ports.extend([traffic.ingress_http_port, traffic.ingress_https_port]);
    }
    ports.extend(&traffic.lb_reserved_ports);
    ports
}

fn reserved(flags: &Up, node: &node::Settings) -> Vec<Reserved> {
    let of = |protocol, port, holder: &str| Reserved {
        protocol,
        port,
        holder: holder.to_owned(),
    };
    let tcp = |port, holder| of(Protocol::Tcp, port, holder);
    let mut reserved = vec![
        tcp(flags.server.listen().port(), "the API server"),
        tcp(knarr_kubelet::DEFAULT_PORT, "the kubelet"),
        of(Protocol::Udp, VXLAN_PORT, "the pod network"),
    ];
    if node.dns_also.is_some() {
        let port = network::DNS_PORT;
        let dns = [Protocol::Tcp, Protocol::Udp];
        reserved.extend(dns.map(|protocol| of(protocol, port, "cluster DNS")));
    }
    let traffic = &flags.traffic;
    if traffic.ingress {
        let ports = [traffic.ingress_http_port, traffic.ingress_https_port];
        // Whoever took one would get what is for everybody's hosts.
        reserved.extend(ports.map(|port| tcp(port, "Ingresses (--ingress=false gives it up)")));
    }
    let kept = traffic.lb_reserved_ports.iter();
    reserved.extend(kept.map(|port| tcp(*port, "the nodes (--lb-reserved-ports)")));
    reserved
}

/// What is to be said of ports for Ingresses that another program has: the cluster starts without them, and waits for them.
pub fn taken_ports(flags: &Up) -> Vec<String> {
    let traffic = &flags.traffic;
    if !traffic.ingress {
        return Vec::new();
    }
    let any: IpAddr = match flags.server.cluster_cidr.has_ipv6() {
        true => Ipv6Addr::UNSPECIFIED.into(),
        false => Ipv4Addr::UNSPECIFIED.into(),
    };
    let ports = [
        ("--ingress-http-port", traffic.ingress_http_port),
        ("--ingress-https-port", traffic.ingress_https_port),
    ];
    let taken = ports.map(|(flag, port)| taken(SocketAddr::new(any, port), flag));
    taken.into_iter().flatten().collect()
}

fn taken(address: SocketAddr, flag: &str) -> Option<String> {
    let error = TcpListener::bind(address).err()?;
    Some(format!(
        "Ingresses are not served on port {} until it is free: cannot listen on {address}: {error}; choose another with {flag}, \
         or leave them to another controller with --ingress=false",
        address.port()
    ))
}

/// Where this machine serves Ingresses and Gateways, if that is ours to do.
pub fn ingress(flags: &Up, node: &node::Settings) -> Option<knarr_ingress::Config> {
    let traffic = &flags.traffic;
    let served = traffic.ingress || traffic.gateway_api;
    let ports = (traffic.ingress_http_port, traffic.ingress_https_port);
    served.then(|| knarr_ingress::Config {
        ingresses: traffic.ingress.then_some(ports),
        gateways: traffic.gateway_api,
        gateway_addresses: traffic.gateway_addresses.clone(),
        addresses: node.ips.clone(),
    })
}

/// Serves Ingresses and Gateways on this machine.
pub fn start_ingress(
    config: knarr_ingress::Config,
    clients: &dyn Clients,
    tasks: &Tasks,
) -> Result<()> {
    let token = tasks.token().child_token();
    let of = |user: &str| {
        let client = clients.as_user(user, &["system:authenticated"]);
        let informers = Informers::new(client.clone(), token.clone());
        (client, informers)
    };
    let (client, informers) = of("system:knarr:ingress");
    let for_gateways = of("system:knarr:gateway");
    let ingress = Ingress::new(config, client, &informers, for_gateways).context("Ingresses")?;
    tasks.keep("Ingresses", ingress.run(token));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_of_another_program_is_told_with_what_to_do() {
        let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = other.local_addr().expect("an address");
        let said = taken(address, "--ingress-http-port").expect("it is taken");
        for part in [
            &*format!("cannot listen on {address}: Address already in use"),
            "choose another with --ingress-http-port",
            "--ingress=false",
        ] {
            assert!(said.contains(part), "{said}");
        }
        drop(other);
        assert_eq!(taken(address, "--ingress-http-port"), None);
    }
}
