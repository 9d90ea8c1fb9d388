//! What must be so before anything is made: found out first, and said in one line.

use std::{env, net::TcpListener, path::Path};

use anyhow::{Context, Result, bail};

use crate::{cli::Up, instance::Instance, network};

/// Checks privileges, programs, ports and ranges.
pub fn check(flags: &Up) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("knarr needs root to run containers; try: sudo knarr up");
    }
    if !on_path("nft") {
        bail!("nft is missing; install the package nftables");
    }
    if !Path::new("/sys/fs/cgroup").is_dir() {
        bail!("/sys/fs/cgroup is missing; knarr needs control groups, version 1 or 2");
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
    for dir in &flags.image_dir {
        if !dir.is_dir() {
            bail!("--image-dir {} is not a directory", dir.display());
        }
    }
    if flags.data_dir.is_dir() {
        // Says which instance has it: better than the port that it has, too.
        Instance::acquire(&flags.data_dir)?;
    }
    // The server binds again when it starts; asking now keeps a second instance from making anything.
    TcpListener::bind(flags.listen).map(drop).with_context(|| {
        format!(
            "cannot listen on {}; choose another with --listen",
            flags.listen
        )
    })
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}
