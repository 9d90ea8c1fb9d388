//! The flags of parts that run by themselves, beside any API server. Where upstream's mean the same they are named so.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{ArgAction, Args};
use knarr_join::ServerAddress;

use super::{Log, NodeFlags, data_dir, duration};
use crate::ranges::Ranges;

const PROXY_DATA_DIR: &str = "/var/lib/knarr-proxy";
const KUBELET_DATA_DIR: &str = "/var/lib/knarr-kubelet";

/// The way to the API server.
#[derive(Args, Clone, Debug)]
pub struct ApiFlags {
    /// Kubeconfig with the API server and the identity under which this part acts (knarr kubeconfig makes one)
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: PathBuf,

    /// URL of the API server, in place of the kubeconfig's
    #[arg(long, value_name = "URL")]
    pub master: Option<ServerAddress>,
}

#[derive(Args, Clone, Debug)]
pub struct ElectionFlags {
    /// Work only while this process holds the Lease that all who could do so want; false where there is one of them
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub leader_elect: bool,

    /// Name of that Lease, in kube-system [default: upstream's of this part]
    #[arg(long, value_name = "NAME")]
    pub leader_elect_resource_name: Option<String>,
}

#[derive(Args, Clone, Debug)]
pub struct ServingFlags {
    /// Address at which health is told, on TLS
    #[arg(long, value_name = "ADDR", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub bind_address: IpAddr,

    /// Port of it; 0 tells nobody [default: upstream's of this part]
    #[arg(long, value_name = "PORT")]
    pub secure_port: Option<u16>,

    /// Certificate that is shown there, PEM [default: one of its own making]
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub struct SchedulerAlone {
    #[command(flatten)]
    pub api: ApiFlags,

    #[command(flatten)]
    pub election: ElectionFlags,

    #[command(flatten)]
    pub serving: ServingFlags,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct ControllerManagerAlone {
    #[command(flatten)]
    pub api: ApiFlags,

    /// Whether each controller acts under its own service account, by a token that the kubeconfig's identity gets it; false lets all
    /// act under that identity, which then needs the rights of all
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set
    )]
    pub use_service_account_credentials: bool,

    /// Which controllers run: * for all that are on by default, NAME for one more, -NAME for one less
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "*",
        allow_hyphen_values = true
    )]
    pub controllers: Vec<String>,

    /// Key (RSA, ECDSA P-256 or P-384, PEM) by which tokens of Secrets are signed; without it nobody signs them
    #[arg(long, value_name = "FILE")]
    pub service_account_private_key_file: Option<PathBuf>,

    /// Authority that pods are told to believe, PEM [default: the kubeconfig's]
    #[arg(long, value_name = "FILE")]
    pub root_ca_file: Option<PathBuf>,

    /// Authority (RSA, ECDSA P-256 or P-384, PEM) that signs certificate requests; without it nobody signs them
    #[arg(long, value_name = "FILE", requires = "cluster_signing_key_file")]
    pub cluster_signing_cert_file: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cluster_signing_cert_file")]
    pub cluster_signing_key_file: Option<PathBuf>,

    /// Give each node its piece of --cluster-cidr
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = false,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        action = ArgAction::Set,
    )]
    pub allocate_node_cidrs: bool,

    /// Addresses of pods, of either family or of each one, the primary first
    #[arg(
        long,
        value_name = "CIDRS",
        required_if_eq("allocate_node_cidrs", "true")
    )]
    pub cluster_cidr: Option<Ranges>,

    /// Prefix length of a node's piece, where the cluster has one family [default: 24 of IPv4, 64 of IPv6]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(8..=126))]
    pub node_cidr_mask_size: Option<u8>,

    /// Prefix length of a node's piece of IPv4 [default: 24]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(8..=30))]
    pub node_cidr_mask_size_ipv4: Option<u8>,

    /// Prefix length of a node's piece of IPv6 [default: 64]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u8).range(8..=126))]
    pub node_cidr_mask_size_ipv6: Option<u8>,

    /// Addresses of Services, of either family or of each one
    #[arg(long, value_name = "CIDRS")]
    pub service_cluster_ip_range: Option<Ranges>,

    /// How late a node's Lease may be before the node counts as unreachable
    #[arg(long, value_name = "DURATION", default_value = "50s", value_parser = duration)]
    pub node_monitor_grace_period: Duration,

    /// Terminated pods that are kept; of more the oldest are deleted. 0 keeps all
    #[arg(long, value_name = "N", default_value_t = 12_500)]
    pub terminated_pod_gc_threshold: usize,

    /// For how long a token that was made with its service account is not used before it is marked as invalid, and is so before it is
    /// deleted
    #[arg(long, value_name = "DURATION", default_value = "8760h", value_parser = duration)]
    pub legacy_service_account_token_clean_up_period: Duration,

    #[command(flatten)]
    pub election: ElectionFlags,

    #[command(flatten)]
    pub serving: ServingFlags,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct ProxyAlone {
    #[command(flatten)]
    pub api: ApiFlags,

    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,

    /// Addresses of pods, of either family or of each one: who has one keeps it when it calls a Service
    #[arg(long, value_name = "CIDRS")]
    pub cluster_cidr: Ranges,

    /// Addresses of Services [default: the ServiceCIDR kubernetes says]
    #[arg(long, value_name = "CIDRS")]
    pub service_cluster_ip_range: Option<Ranges>,

    /// Address and port at which health is told, in the clear; port 0 tells nobody
    #[arg(long, value_name = "ADDR:PORT", default_value = "0.0.0.0:10256")]
    pub healthz_bind_address: SocketAddr,

    /// Where it is kept whose rules these are
    #[arg(long, value_name = "DIR", default_value = PROXY_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("identity").required(true).multiple(false))]
pub struct KubeletAlone {
    /// Kubeconfig with the API server and the node's own identity (system:node:NAME)
    #[arg(long, value_name = "FILE", group = "identity")]
    pub kubeconfig: Option<PathBuf>,

    /// Kubeconfig with a bootstrap token, by which the node gets a certificate of its own and keeps it up
    #[arg(long, value_name = "FILE", group = "identity")]
    pub bootstrap_kubeconfig: Option<PathBuf>,

    /// Authority of the clients that the kubelet's server believes, PEM [default: the kubeconfig's]
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,

    /// Certificate of the kubelet's server, PEM [default: one of its own making]
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub tls_cert_file: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub tls_private_key_file: Option<PathBuf>,

    /// Addresses of cluster DNS, for pods
    #[arg(long, value_name = "ADDRS", value_delimiter = ',', required = true)]
    pub cluster_dns: Vec<IpAddr>,

    /// Domain of the cluster's names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Addresses of pods, for the network that the embedded runtime gives them
    #[arg(long, value_name = "CIDRS")]
    pub cluster_cidr: Ranges,

    /// Addresses of Services, for the same, of the same families
    #[arg(long, value_name = "CIDRS")]
    pub service_cluster_ip_range: Ranges,

    /// Where everything is kept: keys, images, containers, logs
    #[arg(long, value_name = "DIR", default_value = KUBELET_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    /// Return when the node is ready and leave it running in the background
    #[arg(long)]
    pub detach: bool,

    #[command(flatten)]
    pub node: NodeFlags,

    #[command(flatten)]
    pub log: Log,
}
