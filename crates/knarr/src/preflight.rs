//! What must be so before anything is made: found out first, and said in one line.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, UdpSocket},
    os::fd::AsRawFd,
    path::Path,
};

use anyhow::{Context, Result, bail};
use knarr_cni::{InstanceId, node};
use knarr_runtime::Registries;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt,
};

use crate::{
    cli::Up,
    instance::{self, Instance},
    network,
};

const CGROUP: &str = "/sys/fs/cgroup";

/// Checks privileges, the kernel, the network and its ports, and ranges.
pub fn check(flags: &Up) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("knarr needs root to run containers; try: sudo knarr up");
    }
    // The kernel loads the module, if it has one.
    knarr_nft::Connection::open()
        .and_then(|mut connection| connection.generation())
        .context("knarr needs nf_tables of the kernel, for Services and pods")?;
    // Where control groups are not mounted, sysfs has the directory for them all the same.
    let mut mounted = fs::read_dir(CGROUP)
        .with_context(|| format!("knarr needs control groups, version 1 or 2, in {CGROUP}"))?;
    if mounted.next().is_none() {
        bail!(
            "no control groups are mounted in {CGROUP} (ip netns exec hides them; enter a network namespace with: \
             nsenter --net=/run/netns/NAME knarr up)"
        );
    }
    if flags.cluster_cidr.overlaps(flags.service_cidr) {
        bail!(
            "--cluster-cidr {} and --service-cidr {} overlap",
            flags.cluster_cidr,
            flags.service_cidr
        );
    }
    let dns = network::cluster_dns(flags);
    if !flags.service_cidr.contains(dns) {
        bail!(
            "--cluster-dns {dns} is not within --service-cidr {}",
            flags.service_cidr
        );
    }
    for dir in &flags.node.image_dir {
        if !dir.is_dir() {
            bail!("--image-dir {} is not a directory", dir.display());
        }
    }
    if let Some(path) = &flags.node.registries {
        Registries::read(path).context("--registries")?;
    }
    if let Some(address) = flags.node.node_ip
        && UdpSocket::bind((address, 0)).is_err()
    {
        bail!("--node-ip {address} is not an address of this machine");
    }
    not_nested(&flags.data_dir)?;
    let own = if flags.data_dir.is_dir() {
        // Says which instance has it: better than the port that it has, too.
        Instance::acquire(&flags.data_dir)?;
        instance::identity(&flags.data_dir)?
    } else {
        None
    };
    network_is_free(flags, own.as_ref())?;
    ports_are_free(flags)
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

/// A network namespace can have one cluster, whose addresses nobody else may have.
fn network_is_free(flags: &Up, own: Option<&InstanceId>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        let had = node::check(own, network::DNS_LISTEN).await?;
        // What is there now may be this cluster's pods', by whatever plugin another runtime uses.
        if had || flags.node.container_runtime_endpoint.is_some() {
            return Ok(());
        }
        let ranges = [
            (flags.cluster_cidr, "pods", "--cluster-cidr"),
            (flags.service_cidr, "Services", "--service-cidr"),
        ];
        for (range, whose, flag) in ranges {
            if let Some(found) = node::overlap(range.pair()).await? {
                bail!("this machine uses {found}, of the addresses of {whose}, {range}; choose others with {flag}");
            }
        }
        Ok(())
    })
}

/// The servers bind again when they start; asking now keeps a second instance from making anything.
fn ports_are_free(flags: &Up) -> Result<()> {
    TcpListener::bind(flags.listen).map(drop).with_context(|| {
        format!(
            "cannot listen on {}; choose another with --listen",
            flags.listen
        )
    })?;
    let kubelet = SocketAddr::from((Ipv4Addr::UNSPECIFIED, knarr_kubelet::DEFAULT_PORT));
    TcpListener::bind(kubelet)
        .map(drop)
        .with_context(|| format!("cannot listen on {kubelet}, the kubelet's port"))?;
    let dns = SocketAddrV4::new(network::DNS_LISTEN, network::DNS_PORT);
    for kind in [SockType::Datagram, SockType::Stream] {
        can_have(dns, kind).with_context(|| format!("cannot listen on {dns}, for cluster DNS"))?;
    }
    Ok(())
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
