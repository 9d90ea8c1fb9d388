//! What `up` and `agent` are told of the node here.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use k8s_openapi::api::core::v1::Taint;
use knarr_cni::peers;
use knarr_kubelet::{KubeletConfiguration, ManifestUrl};
use knarr_logs::Forwarding;
use knarr_meta::quantity::Quantity;

use super::{
    duration,
    marks::{own_label, taint},
};

#[derive(Args, Clone, Debug)]
pub struct NodeFlags {
    /// Name of this node [default: the one it has, at first the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,

    /// Addresses of this node, one of each family that the cluster has [default: those of the default routes]
    #[arg(long, value_name = "ADDRS", value_delimiter = ',')]
    pub node_ip: Vec<IpAddr>,

    /// A label that this node registers with; may be given more than once. Those below kubernetes.io and k8s.io are limited as upstream's
    /// kubelet limits them
    #[arg(long, value_name = "KEY=VALUE", value_parser = own_label)]
    pub node_label: Vec<(String, String)>,

    /// A taint that this node registers with, such as dedicated=db:NoSchedule, instead of those of --kubelet-config; may be given more than
    /// once. A node that is registered keeps those it has
    #[arg(long, value_name = "KEY[=VALUE]:EFFECT", value_parser = taint)]
    pub node_taint: Vec<Taint>,

    /// Directory of image archives (docker save or OCI layout) to import at start; may be given more than once
    #[arg(long, value_name = "DIR")]
    pub image_dir: Vec<PathBuf>,

    /// Mirrors of registries with their credentials and certificates, in the form of k3s' registries.yaml
    #[arg(long, value_name = "FILE")]
    pub registries: Option<PathBuf>,

    /// Configuration of the kubelet: a KubeletConfiguration of kubelet.config.k8s.io/v1beta1. Flags go before it
    #[arg(long, value_name = "FILE")]
    pub kubelet_config: Option<PathBuf>,

    /// Directory of further ones, *.conf, each of which is merged into those before it by name
    #[arg(long, value_name = "DIR")]
    pub kubelet_config_dir: Option<PathBuf>,

    /// Directory of manifests of static pods, one a file, which run whether or not there is an API; it may change at any time
    #[arg(long, value_name = "PATH")]
    pub pod_manifest_path: Option<PathBuf>,

    /// Where a manifest of static pods, a Pod or a PodList, is asked for every 20 seconds
    #[arg(long, value_name = "URL")]
    pub manifest_url: Option<ManifestUrl>,

    /// Header of those requests; may be given more than once
    #[arg(long, value_name = "NAME: VALUE", requires = "manifest_url")]
    pub manifest_url_header: Vec<String>,

    /// Root directory of this node's kubelet, for pods and plugins; what pods and drivers call /var/lib/kubelet is there. Drivers that
    /// mount volumes from outside of pods need it to be /var/lib/kubelet [default: kubelet in the data directory]
    #[arg(long, value_name = "DIR")]
    pub root_dir: Option<PathBuf>,

    /// CRI socket of another runtime (unix:///run/containerd/containerd.sock) [default: the embedded runtime]
    #[arg(long, value_name = "ENDPOINT")]
    pub container_runtime_endpoint: Option<String>,

    /// Sysctls besides the safe ones that pods may set, by name or pattern (kernel.msg*,net.core.somaxconn); namespaced ones only
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub allowed_unsafe_sysctls: Vec<String>,

    /// Resolvers of this node, for cluster DNS and for pods that use the node's
    #[arg(long, value_name = "FILE", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,

    /// Control group below which the node makes its own, for pods and shims
    #[arg(long, value_name = "PATH", default_value = "/knarr")]
    pub cgroup_root: PathBuf,

    /// How much of the logs of pods, those that are gone included, and of its own this node keeps for knarr logs, compressed; 0 keeps
    /// nothing
    #[arg(long, value_name = "BYTES", default_value = "256Mi", value_parser = retention_size)]
    pub log_retention_size: u64,

    /// How long it keeps them at most; 0 keeps nothing
    #[arg(long, value_name = "DURATION", default_value = "168h", value_parser = retention_age)]
    pub log_retention_age: Duration,

    /// Where logs are forwarded to, and which: YAML, as the log agent's page of decisions has it
    #[arg(long, value_name = "FILE")]
    pub log_config: Option<PathBuf>,

    /// How pods of other nodes are reached: by routes alone, by VXLAN alone, or as each node allows
    #[arg(long, value_enum, default_value_t = Reach::Auto, hide = true)]
    pub node_reach: Reach,
}

impl NodeFlags {
    /// Where static pods are asked for, with the headers of the requests.
    ///
    /// # Errors
    /// What is no header.
    pub fn manifest_url(&self) -> Result<Option<ManifestUrl>> {
        let Some(mut url) = self.manifest_url.clone() else {
            return Ok(None);
        };
        for header in &self.manifest_url_header {
            let with = url.with_header(header).map_err(anyhow::Error::msg);
            url = with.context("--manifest-url-header")?;
        }
        Ok(Some(url))
    }

    /// What files say of the kubelet.
    ///
    /// # Errors
    /// What is no configuration, or none that can be had here, in a line.
    pub fn kubelet_configuration(&self) -> Result<KubeletConfiguration> {
        let (file, directory) = (&self.kubelet_config, &self.kubelet_config_dir);
        let read = KubeletConfiguration::read(file.as_deref(), directory.as_deref());
        read.context("--kubelet-config")
    }

    /// Takes from those files what is needed before there is a kubelet: the runtime, unless a flag names one.
    ///
    /// # Errors
    /// As [`Self::kubelet_configuration`].
    pub fn heed_kubelet_configuration(&mut self) -> Result<()> {
        let configuration = self.kubelet_configuration()?;
        if self.container_runtime_endpoint.is_none() {
            let endpoint = configuration.container_runtime_endpoint();
            self.container_runtime_endpoint = endpoint.map(str::to_owned);
        }
        Ok(())
    }

    /// Where logs are forwarded to.
    ///
    /// # Errors
    /// What is no configuration, in a line.
    pub fn forwarding(&self) -> Result<Forwarding> {
        let Some(path) = &self.log_config else {
            return Ok(Forwarding::default());
        };
        let read = Forwarding::read(path).map_err(anyhow::Error::msg);
        read.with_context(|| format!("--log-config {}", path.display()))
    }

    /// Paths as they are from anywhere: a process in the background changes its directory.
    ///
    /// # Errors
    /// What is no path.
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        if let Some(path) = &mut self.pod_manifest_path {
            *path = std::path::absolute(&path).context("--pod-manifest-path is not a path")?;
        }
        if let Some(path) = &mut self.kubelet_config {
            *path = std::path::absolute(&path).context("--kubelet-config is not a path")?;
        }
        if let Some(path) = &mut self.kubelet_config_dir {
            *path = std::path::absolute(&path).context("--kubelet-config-dir is not a path")?;
        }
        if let Some(path) = &mut self.log_config {
            *path = std::path::absolute(&path).context("--log-config is not a path")?;
        }
        Ok(())
    }
}

/// `256Mi`; nothing, or room for some blocks.
fn retention_size(text: &str) -> Result<u64, String> {
    let parsed = Quantity::parse(text).map_err(|error| error.to_string())?;
    let least = knarr_logs::MIN_BYTES;
    match u64::try_from(parsed.value()) {
        Ok(bytes) if bytes == 0 || bytes >= least => Ok(bytes),
        _ => Err(format!("must be 0 or at least {}Mi", least >> 20)),
    }
}

fn retention_age(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        text => duration(text),
    }
}

/// How pods of other nodes are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reach {
    Auto,
    Direct,
    Overlay,
}

impl From<Reach> for peers::Reach {
    fn from(reach: Reach) -> Self {
        match reach {
            Reach::Auto => Self::Auto,
            Reach::Direct => Self::Direct,
            Reach::Overlay => Self::Overlay,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_nothing_or_enough() {
        for (text, wanted) in [
            ("0", Some(0)),
            ("256Mi", Some(256 << 20)),
            ("10G", Some(10_000_000_000)),
            ("1Ki", None),
            ("-1", None),
            ("much", None),
        ] {
            assert_eq!(retention_size(text).ok(), wanted, "{text}");
        }
        assert_eq!(retention_age("0"), Ok(Duration::ZERO));
        assert_eq!(retention_age("1h"), Ok(Duration::from_secs(3_600)));
        assert!(retention_age("-1h").is_err());
    }
}
