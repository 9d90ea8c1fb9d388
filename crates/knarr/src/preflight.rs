//! What must be so before anything is made: found out first, and said in one line.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    os::fd::AsRawFd,
    path::Path,
};

use anyhow::{Context, Result, bail};
use knarr_cni::{InstanceId, node as claim};
use knarr_meta::prefix::Prefix;
use knarr_runtime::Registries;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use crate::{
    cli::{Agent, KubeletAlone, NodeFlags, Part, ProxyAlone, Server, ServerFlags, Up},
    datastore, given_file,
    instance::{self, Instance},
    network,
    node::{self, ClusterSettings, Host},
    ranges::Ranges,
    traffic,
};

const CGROUP: &str = "/sys/fs/cgroup";
/// Bytes that the path of a socket may have.
const MAX_SOCKET_PATH: usize = 107;
/// Those with the longest paths, below a data directory and below the kubelet's root.
const OWN_SOCKET: &str = "run/snapshot.sock";
const KUBELET_SOCKET: &str = "device-plugins/kubelet.sock";

/// Checks privileges, the kernel, the network and its ports, and ranges.
pub fn check(flags: &Up) -> Result<()> {
    machine("up")?;
    server(&flags.server)?;
    traffic::check(flags)?;
    if flags.nodes > 1 && !flags.without.has(Part::Kubelet) {
        bail!(
            "--without kubelet leaves nodes that never get ready; it is for one node, not for --nodes {}",
            flags.nodes
        );
    }
    if flags.nodes > 1 {
        nodes_can_be(flags)?;
    }
    node(&flags.node, &flags.data_dir)?;
    not_nested(&flags.data_dir)?;
    let own = own(&flags.data_dir)?;
    let ranges = [
        (&flags.server.cluster_cidr, "pods", Some("--cluster-cidr")),
        (
            &flags.server.service_cidr,
            "Services",
            Some("--service-cidr"),
        ),
    ];
    alone(network_is_free(own.as_ref(), &flags.node, &ranges))?;
    api_can_listen(&flags.server)?;
    node_ports_are_free()
}

/// As [`check`], for a control plane alone, which needs nothing of the machine but its port.
pub fn check_server(flags: &Server) -> Result<()> {
    flags.without.check_server()?;
    server(&flags.server)?;
    not_nested(&flags.data_dir)?;
    own(&flags.data_dir)?;
    api_can_listen(&flags.server)
}

/// As [`check`], for a proxy alone.
pub fn check_proxy(flags: &ProxyAlone) -> Result<()> {
    root("proxy")?;
    if let Some(services) = &flags.service_cluster_ip_range {
        families_fit(&flags.cluster_cidr, services, "--service-cluster-ip-range")?;
    }
    nf_tables()
}

/// As [`check`], for a kubelet alone.
pub fn check_kubelet(flags: &KubeletAlone) -> Result<()> {
    machine("kubelet")?;
    node(&flags.node, &flags.data_dir)?;
    not_nested(&flags.data_dir)?;
    let own = own(&flags.data_dir)?;
    let services = &flags.service_cluster_ip_range;
    families_fit(&flags.cluster_cidr, services, "--service-cluster-ip-range")?;
    if flags.node.container_runtime_endpoint.is_none() {
        let ranges = [
            (&flags.cluster_cidr, "pods", Some("--cluster-cidr")),
            (services, "Services", Some("--service-cluster-ip-range")),
        ];
        alone(network_is_free(own.as_ref(), &flags.node, &ranges))?;
    }
    kubelet_port_is_free()
}

/// What a control plane was given.
fn server(flags: &ServerFlags) -> Result<()> {
    let (pods, services) = (&flags.cluster_cidr, &flags.service_cidr);
    families_fit(pods, services, "--service-cidr")?;
    if let Some((pods, services)) = overlap(pods, services) {
        bail!("--cluster-cidr {pods} and --service-cidr {services} overlap");
    }
    flags.scheduler()?;
    if let Some(kubeconfig) = &flags.kubeconfig {
        given_file::check(kubeconfig)?;
    }
    cluster_dns(&flags.cluster_dns, services)?;
    datastore::check(&flags.datastore)
}

/// Nodes and Services have addresses of the families that pods have.
fn families_fit(pods: &Ranges, services: &Ranges, flag: &str) -> Result<()> {
    if !pods.fits(services) {
        bail!(
            "--cluster-cidr {pods} and {flag} {services} must be of the same families, in the same order"
        );
    }
    Ok(())
}

fn overlap(pods: &Ranges, services: &Ranges) -> Option<(Prefix, Prefix)> {
    let pairs = pods.list().iter().zip(services.list());
    let mut overlap = pairs.filter(|(pods, services)| pods.overlaps(services));
    overlap.next().map(|(pods, services)| (*pods, *services))
}

fn cluster_dns(given: &[IpAddr], services: &Ranges) -> Result<()> {
    for (place, dns) in given.iter().enumerate() {
        if !services.list().iter().any(|range| range.contains(*dns)) {
            bail!("--cluster-dns {dns} is not within --service-cidr {services}");
        }
        if given[..place]
            .iter()
            .any(|other| other.is_ipv4() == dns.is_ipv4())
        {
            bail!("--cluster-dns has two addresses of one family");
        }
    }
    Ok(())
}

fn api_can_listen(flags: &ServerFlags) -> Result<()> {
    let listen = flags.listen();
    can_listen(listen)
        .with_context(|| format!("cannot listen on {listen}; choose another with --listen"))
}

/// As [`check`], for a node alone; what it needs to know of its cluster comes later ([`ranges_are_free`]). `local`: its directory
/// is within that of its cluster.
pub fn check_agent(flags: &Agent, local: bool) -> Result<()> {
    machine("agent")?;
    flags.without.check_node()?;
    node(&flags.node, &flags.data_dir)?;
    if !local {
        not_nested(&flags.data_dir)?;
    }
    let own = own(&flags.data_dir)?;
    alone(network_is_free(own.as_ref(), &flags.node, &[]))?;
    node_ports_are_free()
}

/// Whether nobody else has addresses of the cluster that a machine is about to be a node of.
pub async fn ranges_are_free(
    host: &Host,
    flags: &NodeFlags,
    cluster: &ClusterSettings,
) -> Result<()> {
    let ranges = [
        (&cluster.cluster_cidr, "the cluster's pods", None),
        (&cluster.service_cidr, "the cluster's Services", None),
    ];
    network_is_free(Some(&host.instance), flags, &ranges).await
}

/// Privileges and the kernel.
fn machine(command: &str) -> Result<()> {
    root(command)?;
    nf_tables()?;
    // Where control groups are not mounted, sysfs has the directory for them all the same.
    let mut mounted = fs::read_dir(CGROUP)
        .with_context(|| format!("knarr needs control groups, version 1 or 2, in {CGROUP}"))?;
    if mounted.next().is_none() {
        bail!(
            "no control groups are mounted in {CGROUP} (ip netns exec hides them; enter a network namespace with: \
             nsenter --net=/run/netns/NAME knarr {command})"
        );
    }
    Ok(())
}

fn root(command: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("knarr needs root to run containers; try: sudo knarr {command}");
    }
    Ok(())
}

/// The kernel loads the module, if it has one.
fn nf_tables() -> Result<()> {
    knarr_nft::Connection::open()
        .and_then(|mut connection| connection.generation())
        .map(drop)
        .context("knarr needs nf_tables of the kernel, for Services and pods")
}

/// What other nodes of this machine need of the first.
fn nodes_can_be(flags: &Up) -> Result<()> {
    let first = node::check_name(&flags.node, &flags.data_dir)?;
    let last = format!("{first}-{}", flags.nodes);
    if let Err(reason) = node::node_name(&last) {
        bail!(
            "--nodes {}: {reason}; choose another with --node-name",
            flags.nodes
        );
    }
    sockets_fit(&flags.node, &instance::of_node(&flags.data_dir, &last))?;
    if let Some(address) = flags.node.node_ip.first() {
        bail!(
            "--node-ip {address} and --nodes cannot both be: the nodes' addresses are of a network of their own"
        );
    }
    if let Some(endpoint) = &flags.node.container_runtime_endpoint {
        bail!(
            "--container-runtime-endpoint {endpoint} has the network of one node; --nodes needs the embedded runtime"
        );
    }
    if let Some(dir) = &flags.node.root_dir {
        bail!(
            "--root-dir {} is of one node; with --nodes each has its own",
            dir.display()
        );
    }
    let listen = flags.server.listen();
    if !listen.ip().is_unspecified() || listen.is_ipv4() && flags.server.cluster_cidr.has_ipv6() {
        bail!(
            "--listen {listen} is not reached by other nodes; --nodes needs 0.0.0.0, or [::] with IPv6"
        );
    }
    Ok(())
}

/// What a node was given, and where it is kept.
fn node(flags: &NodeFlags, data_dir: &Path) -> Result<()> {
    node::check_name(flags, data_dir)?;
    sockets_fit(flags, data_dir)?;
    for dir in &flags.image_dir {
        if !dir.is_dir() {
            bail!("--image-dir {} is not a directory", dir.display());
        }
    }
    flags.forwarding()?;
    if let Some(dir) = &flags.root_dir
        && !dir.is_absolute()
    {
        bail!("--root-dir {} is not an absolute path", dir.display());
    }
    if let Some(path) = &flags.registries {
        Registries::read(path).context("--registries")?;
    }
    node_ips(&flags.node_ip)
}

/// The kernel takes no long paths of sockets, and those who connect to one know no other way to it.
fn sockets_fit(flags: &NodeFlags, data_dir: &Path) -> Result<()> {
    let (flag, root) = match &flags.root_dir {
        Some(root) => ("--root-dir", root.clone()),
        None => ("--data-dir", data_dir.join("kubelet")),
    };
    for (flag, socket) in [
        ("--data-dir", data_dir.join(OWN_SOCKET)),
        (flag, root.join(KUBELET_SOCKET)),
    ] {
        let length = socket.as_os_str().len();
        if length > MAX_SOCKET_PATH {
            bail!(
                "{flag} is too long by {} bytes: the socket {} could not be made",
                length - MAX_SOCKET_PATH,
                socket.display()
            );
        }
    }
    Ok(())
}

/// What a node was given of its addresses.
fn node_ips(given: &[IpAddr]) -> Result<()> {
    for (place, address) in given.iter().enumerate() {
        if given[..place]
            .iter()
            .any(|other| other.is_ipv4() == address.is_ipv4())
        {
            bail!("--node-ip has two addresses of one family; a node has one of each at most");
        }
        let of_link = match address {
            IpAddr::V4(address) => address.is_link_local(),
            IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if address.is_loopback() || address.is_unspecified() || of_link {
            bail!("--node-ip {address} cannot be reached by others");
        }
        if UdpSocket::bind((*address, 0)).is_err() {
            bail!("--node-ip {address} is not an address of this machine");
        }
    }
    Ok(())
}

/// The identity of the data directory, which nobody else may use.
fn own(data_dir: &Path) -> Result<Option<InstanceId>> {
    if !data_dir.is_dir() {
        return Ok(None);
    }
    // Says which instance has it: better than the port that it has, too.
    Instance::acquire(data_dir)?;
    instance::identity(data_dir)
}

/// Taking the outer cluster down would unmount and delete what the inner one has.
fn not_nested(data_dir: &Path) -> Result<()> {
    match data_dir
        .ancestors()
        .skip(1)
        .find(|dir| instance::is_data_dir(dir))
    {
        Some(outer) => bail!(
            "--data-dir {} is within the data directory of another cluster, {}",
            data_dir.display(),
            outer.display()
        ),
        None => Ok(()),
    }
}

/// Runs what is asked before there is a runtime for everything else.
fn alone(check: impl Future<Output = Result<()>>) -> Result<()> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?
        .block_on(check)
}

/// A network namespace can have one cluster, whose addresses nobody else may have: of each range, whose it is, and the flag that
/// chooses another.
async fn network_is_free(
    own: Option<&InstanceId>,
    flags: &NodeFlags,
    ranges: &[(&Ranges, &str, Option<&str>)],
) -> Result<()> {
    let had = claim::check(own, network::DNS_LISTEN.ipv4).await?;
    // What is there now may be this cluster's pods', by whatever plugin another runtime uses.
    if had || flags.container_runtime_endpoint.is_some() {
        return Ok(());
    }
    let each = ranges.iter();
    let each = each.flat_map(|(ranges, whose, flag)| {
        let ranges = ranges.list().iter();
        ranges.map(move |range| (*range, whose, flag))
    });
    for (range, whose, flag) in each {
        if let Some(found) = claim::overlap(range).await? {
            let advice = flag.map_or_else(
                || "it cannot be a node of this cluster".to_owned(),
                |flag| format!("choose others with {flag}"),
            );
            bail!("this machine uses {found}, of the addresses of {whose}, {range}; {advice}");
        }
    }
    Ok(())
}

fn can_listen(address: SocketAddr) -> io::Result<()> {
    TcpListener::bind(address).map(drop)
}

/// The servers bind again when they start; asking now keeps a second instance from making anything.
fn node_ports_are_free() -> Result<()> {
    kubelet_port_is_free()?;
    let dns = SocketAddrV4::new(network::DNS_LISTEN.ipv4, network::DNS_PORT);
    for kind in [SockType::Datagram, SockType::Stream] {
        can_have(dns, kind).with_context(|| format!("cannot listen on {dns}, for cluster DNS"))?;
    }
    Ok(())
}

fn kubelet_port_is_free() -> Result<()> {
    let kubelet = SocketAddr::from((Ipv4Addr::UNSPECIFIED, knarr_kubelet::DEFAULT_PORT));
    can_listen(kubelet).with_context(|| format!("cannot listen on {kubelet}, the kubelet's port"))
}

/// Whether a port would be free on an address that the machine has not yet.
fn can_have(address: SocketAddrV4, kind: SockType) -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    if kind == SockType::Stream {
        // As servers do: connections that have ended are no obstacle.
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    }
    Ok(bind(socket.as_raw_fd(), &SockaddrIn::from(address))?)
}
