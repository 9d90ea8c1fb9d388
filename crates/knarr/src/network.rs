//! Addresses that follow from the flags, and the node's CNI configuration.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use knarr_cni::{InstanceId, node::DnsListen, plugin};
use knarr_meta::prefix::Prefix;
use serde_json::{Value, json};

use crate::ranges::Ranges;

/// Where cluster DNS listens on every node. For IPv6 the address is unique local, with the five letters of our name as the 40 bits that
/// nobody else has chosen (RFC 4193): addresses of IPv6 that are good for one link are of no use, each link has its own.
pub const DNS_LISTEN: DnsListen = DnsListen {
    ipv4: Ipv4Addr::new(169, 254, 20, 10),
    ipv6: Ipv6Addr::new(0xfd6b, 0x6e61, 0x7272, 0, 0, 0, 0, 0x53),
};
pub const DNS_PORT: u16 = 53;

/// Where cluster DNS listens on every node for those who ask its Service's address `service`.
pub fn dns_listen(service: IpAddr) -> IpAddr {
    match service {
        IpAddr::V4(_) => DNS_LISTEN.ipv4.into(),
        IpAddr::V6(_) => DNS_LISTEN.ipv6.into(),
    }
}

/// The network's name in CNI's terms.
pub const NETWORK: &str = "knarr";
/// Its configuration, where runtimes look for one.
const CONFLIST: &str = "10-knarr.conflist";

/// The URL at which clients on this machine reach the API server.
pub fn api_url(listen: SocketAddr) -> String {
    let address = match listen.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    format!("https://{}", SocketAddr::new(address, listen.port()))
}

/// Where the CNI plugin tells of the addresses of pods.
pub fn policy_socket(data_dir: &Path) -> PathBuf {
    data_dir.join("run/policy.sock")
}

/// The network of a node's pods.
pub struct PodNetwork {
    pub instance: InstanceId,
    /// The node's own ranges.
    pub pods: Ranges,
    /// Longest packet that reaches the pods of every other node, in bytes.
    pub mtu: u32,
    pub network_policy: bool,
}

/// Writes the network configuration of this node's pods and puts the plugins where runtimes look for them: the network's, and
/// the one that containerd runs beside it whatever the configuration is.
pub fn write_cni(data_dir: &Path, network: &PodNetwork) -> Result<()> {
    let conf_dir = data_dir.join("cni/conf");
    let bin_dir = data_dir.join("cni/bin");
    for dir in [&conf_dir, &bin_dir] {
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let list = json!({
        "cniVersion": knarr_cni::CNI_VERSION,
        "name": NETWORK,
        "plugins": [{
            "type": plugin::NAME,
            "instance": network.instance,
            "subnets": network.pods.list(),
            "mtu": network.mtu,
            "dataDir": data_dir.join("cni"),
            "policySocket": network.network_policy.then(|| policy_socket(data_dir)),
            "capabilities": {"portMappings": true, "bandwidth": true},
        }],
    });
    let path = conf_dir.join(CONFLIST);
    knarr_host::write_atomically(&path, list.to_string().as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))?;
    // Through /proc/self/exe it would be the caller's program, not ours.
    let program = std::env::current_exe().context("cannot find knarr's own program file")?;
    for name in [plugin::NAME, plugin::loopback::NAME] {
        let link = bin_dir.join(name);
        if !fs::read_link(&link).is_ok_and(|known| known == program) {
            replace(&link, |temporary| symlink(&program, temporary))?;
        }
    }
    Ok(())
}

/// Removes the configuration that an earlier start has left, if pods would get addresses of families by it that the cluster does not have
/// any more, and that nobody enforces policies for: until there is another one, no pod starts.
///
/// # Errors
/// When it cannot be read or removed.
pub fn forget_cni_of_others(data_dir: &Path, cluster: &Ranges) -> Result<()> {
    let path = data_dir.join("cni/conf").join(CONFLIST);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let list: Value = serde_json::from_slice(&text).unwrap_or_default();
    let subnets = list.pointer("/plugins/0/subnets").and_then(Value::as_array);
    let of_cluster = |subnet: &Value| {
        let range = subnet.as_str().and_then(|text| text.parse::<Prefix>().ok());
        range.is_some_and(|range| cluster.has_family_of(range.address()))
    };
    if subnets.is_some_and(|subnets| subnets.iter().all(of_cluster)) {
        return Ok(());
    }
    fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))
}

/// Makes a file beside its place and moves it there: a pod that starts meanwhile sees the old or the new one.
fn replace(path: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> Result<()> {
    let temporary = path.with_extension("new");
    let _ = fs::remove_file(&temporary);
    make(&temporary)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_of_families_that_went_is_removed() {
        for (pods, cluster, stays) in [
            ("10.42.0.0/24", "10.42.0.0/16", true),
            ("10.42.0.0/24", "10.42.0.0/16,fd42::/48", true),
            ("10.42.0.0/24,fd42::/64", "10.42.0.0/16,fd42::/48", true),
            ("10.42.0.0/24,fd42::/64", "10.42.0.0/16", false),
            ("10.42.0.0/24,fd42::/64", "fd42::/48", false),
            ("10.42.0.0/24", "fd42::/48", false),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let cluster: Ranges = cluster.parse().unwrap();
            forget_cni_of_others(dir.path(), &cluster).unwrap();
            let network = PodNetwork {
                instance: InstanceId::random().unwrap(),
                pods: pods.parse().unwrap(),
                mtu: 1500,
                network_policy: true,
            };
            write_cni(dir.path(), &network).unwrap();
            forget_cni_of_others(dir.path(), &cluster).unwrap();
            let left = dir.path().join("cni/conf").join(CONFLIST).exists();
            assert_eq!(left, stays, "{pods} in {cluster}");
        }
    }

    #[test]
    fn local_clients_use_loopback_when_all_addresses_are_served() {
        assert_eq!(
            api_url("0.0.0.0:6443".parse().unwrap()),
            "https://127.0.0.1:6443"
        );
        assert_eq!(
            api_url("[::]:6443".parse().unwrap()),
            "https://127.0.0.1:6443"
        );
        assert_eq!(api_url("10.1.2.3:1".parse().unwrap()), "https://10.1.2.3:1");
    }
}
