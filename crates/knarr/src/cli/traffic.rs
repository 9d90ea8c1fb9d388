//! What `up` is told of traffic from outside.

use std::net::IpAddr;

use clap::Args;
use knarr_controllers::service_lb::Pool;

/// Whoever takes this one keeps administrators out.
const SSH_PORT: u16 = 22;

#[derive(Args, Clone, Debug)]
pub struct TrafficFlags {
    /// Give Services of type LoadBalancer their addresses; false leaves them to another controller, such as MetalLB or a cloud's
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub load_balancer: bool,

    /// Addresses for Services of type LoadBalancer, one each of their families, as CIDR or FIRST-LAST, at most one range a family. On
    /// networks that nodes are in, one node at a time answers for each by ARP and neighbour discovery; others must be routed to a
    /// node [default: Services share the nodes' own addresses, by port]
    #[arg(long, value_name = "RANGES", value_delimiter = ',')]
    pub lb_range: Vec<Pool>,

    /// TCP ports of the nodes' own addresses that no Service gets, beside those of knarr and node ports
    #[arg(long, value_name = "PORTS", value_delimiter = ',', default_values_t = [SSH_PORT])]
    pub lb_reserved_ports: Vec<u16>,

    /// Serve Ingresses of class knarr, on every address of this machine; false leaves them to another controller, such as ingress-nginx
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub ingress: bool,

    /// Port for Ingresses over HTTP; where it is taken, it is waited for
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 80,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub ingress_http_port: u16,

    /// Port for Ingresses over HTTPS
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 443,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub ingress_https_port: u16,

    /// Serve Gateways of class knarr, with their HTTPRoutes and GRPCRoutes, on every address of this machine. The Gateway API's
    /// definitions are installed where there are none
    #[arg(long, value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set, hide_possible_values = true)]
    pub gateway_api: bool,

    /// Addresses of this machine for one Gateway each, beside the others' [default: Gateways share the node's addresses, by hosts]
    #[arg(
        long,
        value_name = "ADDRESSES",
        value_delimiter = ',',
        requires = "gateway_api"
    )]
    pub gateway_addresses: Vec<IpAddr>,
}
