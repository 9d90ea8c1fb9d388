//! The flags of a control plane, which `up` and `server` have in common, and those of `knarr server`.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use knarr_etcd::Address;
use knarr_meta::names;

use super::{
    AuditFlags, AuthorizationFlags, DEFAULT_DATA_DIR, EncryptionFlags, IdentityFlags, Log,
    WithoutFlags, data_dir, duration,
};
use crate::ranges::{self, Ranges};

/// More requests at once than any machine has memory for.
const MAX_INFLIGHT: i64 = 1_000_000;
/// Of the API server, unless another one is given.
const API_PORT: u16 = 6443;
const PODS_IPV4: &str = "10.42.0.0/16";
const PODS_IPV6: &str = "fd42::/48";
const PODS_DUAL: &str = "10.42.0.0/16,fd42::/48";
const SERVICES_IPV4: &str = "10.43.0.0/16";
const SERVICES_IPV6: &str = "fd43::/112";
const SERVICES_DUAL: &str = "10.43.0.0/16,fd43::/112";

/// Which families of addresses a cluster has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IpFamily {
    Ipv4,
    Ipv6,
    // Both, IPv4 first. No text of its own: `--help` would become a page an argument.
    Dual,
}

#[derive(Args, Clone, Debug)]
pub struct Server {
    /// Where everything is kept: keys, store, logs
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA_DIR, value_parser = data_dir::parser())]
    pub data_dir: PathBuf,

    /// Name of this server, which no other of the cluster has [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// Address at which nodes and pods reach this server [default: that of the default route]
    #[arg(long, value_name = "ADDR")]
    pub advertise_address: Option<IpAddr>,

    #[command(flatten)]
    pub server: ServerFlags,

    #[command(flatten)]
    pub without: WithoutFlags,

    /// Return when the server is ready and leave it running in the background
    #[arg(long)]
    pub detach: bool,

    #[command(flatten)]
    pub log: Log,
}

#[derive(Args, Clone, Debug)]
pub struct ServerFlags {
    /// Where to write the administrator's kubeconfig [default: admin.kubeconfig in the data directory]
    #[arg(long, value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,

    /// Address and port of the API server [default: 0.0.0.0:6443; [::]:6443, which is both families', where the cluster has IPv6]
    #[arg(long, value_name = "ADDR:PORT")]
    pub listen: Option<SocketAddr>,

    /// A further name or address by which clients reach the API server, for its certificate; any number of them, a list
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = server_name)]
    pub tls_san: Vec<String>,

    /// Which families of addresses the cluster has, with ranges for pods and Services that are usual here [default: ipv4]
    // The defaults of those follow from it.
    #[allow(dead_code)]
    #[arg(long, value_enum, conflicts_with_all = ["cluster_cidr", "service_cidr"])]
    pub ip_family: Option<IpFamily>,

    /// Addresses of pods: a range of either family, or of each one, the primary first (10.42.0.0/16,fd42::/48); a node gets a piece of
    /// /24 and of /64
    #[arg(
        long,
        value_name = "CIDRS",
        default_value = PODS_IPV4,
        default_value_ifs = [("ip_family", "ipv6", PODS_IPV6), ("ip_family", "dual", PODS_DUAL)],
        value_parser = ranges::pods
    )]
    pub cluster_cidr: Ranges,

    /// Addresses of Services, of the same families in the same order
    #[arg(
        long,
        value_name = "CIDRS",
        default_value = SERVICES_IPV4,
        default_value_ifs = [("ip_family", "ipv6", SERVICES_IPV6), ("ip_family", "dual", SERVICES_DUAL)],
        value_parser = ranges::services
    )]
    pub service_cidr: Ranges,

    /// Addresses of cluster DNS, one a family [default: the tenth of each Service range]
    #[arg(long, value_name = "ADDRS", value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,

    /// Domain of the cluster's names
    #[arg(long, value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Whether NetworkPolicies are enforced; leave it to a pod network of your own that does so [true, false]
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        num_args = 0..=1,
        default_missing_value = "true",
        action = clap::ArgAction::Set,
        hide_possible_values = true
    )]
    pub network_policy: bool,

    /// How long Events are kept
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub event_ttl: Duration,

    /// With --max-mutating-requests-inflight: how many requests of clients run at once, of all priority levels together
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..=MAX_INFLIGHT))]
    pub max_requests_inflight: u32,

    /// See --max-requests-inflight
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(0..=MAX_INFLIGHT))]
    pub max_mutating_requests_inflight: u32,

    /// How likely a request ends its HTTP/2 connection once it is answered, so that clients spread over the servers behind a load balancer;
    /// at most 0.02, and 0 with one server
    #[arg(long, value_name = "CHANCE", default_value_t = 0.0, value_parser = goaway_chance)]
    pub goaway_chance: f64,

    /// An AdmissionConfiguration: what plugins of admission are told (PodSecurity: defaults, exemptions)
    #[arg(long, value_name = "FILE")]
    pub admission_control_config_file: Option<PathBuf>,

    /// Serve metrics.k8s.io, for kubectl top and autoscalers; false leaves it to a server that is installed with Helm, which takes
    /// over nothing that it did not make (metrics-server's manifest takes its place in any case)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub metrics_api: bool,

    /// A KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1): profiles, plugins and their arguments, extenders
    #[arg(long, value_name = "FILE")]
    pub scheduler_config: Option<PathBuf>,

    #[command(flatten)]
    pub datastore: DatastoreFlags,

    #[command(flatten)]
    pub audit: AuditFlags,

    #[command(flatten)]
    pub encryption: EncryptionFlags,

    #[command(flatten)]
    pub identity: IdentityFlags,

    #[command(flatten)]
    pub authorization: AuthorizationFlags,
}

impl ServerFlags {
    /// Where the API server listens: at all addresses of the cluster's families, unless one is given.
    pub fn listen(&self) -> SocketAddr {
        let any = match self.cluster_cidr.has_ipv6() {
            // Of IPv4, too.
            true => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            false => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        self.listen.unwrap_or(SocketAddr::new(any, API_PORT))
    }

    /// Addresses of cluster DNS, in the order of the Service ranges.
    pub fn cluster_dns(&self) -> Vec<IpAddr> {
        let tenth = self.service_cidr.nth(10).into_iter();
        let chosen = |ipv6| {
            let mut given = self.cluster_dns.iter();
            given.find(move |given| given.is_ipv6() == ipv6).copied()
        };
        tenth
            .map(|tenth| chosen(tenth.is_ipv6()).unwrap_or(tenth))
            .collect()
    }

    /// Seats for requests of clients.
    pub fn seats(&self) -> u32 {
        self.max_requests_inflight
            .saturating_add(self.max_mutating_requests_inflight)
    }

    /// Files are found from wherever the process is by then.
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        if let Some(path) = &mut self.scheduler_config {
            let absolute = std::path::absolute(&path);
            *path = absolute.context("--scheduler-config is not a path")?;
        }
        if let Some(path) = &mut self.admission_control_config_file {
            let absolute = std::path::absolute(&path);
            *path = absolute.context("--admission-control-config-file is not a path")?;
        }
        self.audit.make_paths_absolute()?;
        self.encryption.make_paths_absolute()?;
        self.identity.make_paths_absolute()?;
        self.authorization.make_paths_absolute()
    }

    /// What plugins of admission are told.
    pub fn admission(&self) -> Result<knarr_admission::Configuration> {
        let file = self.admission_control_config_file.as_deref();
        let read = file.map(knarr_admission::Configuration::read).transpose();
        Ok(read
            .context("--admission-control-config-file")?
            .unwrap_or_default())
    }

    /// How pods are scheduled.
    pub fn scheduler(&self) -> Result<knarr_scheduler::Config> {
        let config = self.scheduler_config.as_deref();
        let config = config.map(knarr_scheduler::Config::read).transpose();
        Ok(config.context("--scheduler-config")?.unwrap_or_default())
    }
}

/// Of upstream's range.
fn goaway_chance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(chance @ 0.0..=0.02) => Ok(chance),
        _ => Err("--goaway-chance can not be less than 0 or greater than 0.02".to_owned()),
    }
}

/// A name or an address as a certificate has it: what is not would be found out by clients only.
fn server_name(text: &str) -> Result<String, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return match address.is_unspecified() {
            true => Err("is the address of nobody".to_owned()),
            false => Ok(address.to_string()),
        };
    }
    let name = text.to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    if !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("is no address, though it looks like one".to_owned());
    }
    let problems = match name.starts_with("*.") {
        true => names::wildcard_dns1123_subdomain(&name),
        false => names::dns1123_subdomain(&name),
    };
    match problems.is_empty() {
        true => Ok(name),
        false => Err("is neither an address nor a DNS name".to_owned()),
    }
}

#[derive(Args, Clone, Debug)]
pub struct DatastoreFlags {
    /// An etcd cluster that has all objects (etcd://HOST:PORT,HOST:PORT), for one or several servers [default: the embedded store]
    #[arg(long, value_name = "URL")]
    pub datastore: Option<Address>,

    /// Certificate of etcd's authority, PEM; without it only an etcd of this machine is spoken to
    #[arg(long, value_name = "FILE", requires = "datastore")]
    pub datastore_ca: Option<PathBuf>,

    /// Certificate that is shown to etcd, PEM
    #[arg(long, value_name = "FILE", requires_all = ["datastore_ca", "datastore_key"])]
    pub datastore_cert: Option<PathBuf>,

    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "datastore_cert")]
    pub datastore_key: Option<PathBuf>,

    /// What all servers of a datastore know, at least 16 characters: it encrypts the cluster's keys there
    #[arg(
        long,
        value_name = "TOKEN",
        env = "KNARR_SERVER_TOKEN",
        hide_env_values = true
    )]
    pub token: Option<String>,

    /// File with that token, so that it is on no command line
    #[arg(long, value_name = "FILE", conflicts_with = "token")]
    pub token_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::server_name;

    #[test]
    fn names_of_the_server_are_what_a_certificate_can_say() {
        for (given, meant) in [
            ("203.0.113.7", Some("203.0.113.7")),
            ("2001:DB8:0::7", Some("2001:db8::7")),
            ("API.Example.org", Some("api.example.org")),
            ("*.example.org", Some("*.example.org")),
            ("localhost", Some("localhost")),
            ("", None),
            ("0.0.0.0", None),
            ("::", None),
            ("999.999.999.999", None),
            ("api.example.org:6443", None),
            ("https://api.example.org", None),
            ("a b", None),
            ("a.*.example.org", None),
        ] {
            assert_eq!(server_name(given).ok().as_deref(), meant, "{given}");
        }
    }
}
