//! What a kubelet is told at start.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
    sync::Arc,
};

use knarr_client::requests::Requests;
use tokio::sync::Notify;

use crate::{
    configuration::{ConfigurationError, KubeletConfiguration},
    root::Root,
    server::NodeLogs,
    sources::ManifestUrl,
};

/// Port of the node server that the API server dials.
pub const DEFAULT_PORT: u16 = 10_250;

/// Settings of one kubelet. The identity it acts under is in the client it is given.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which cluster's kubelet this is among those that share its runtime: it touches no others' sandboxes.
    pub instance: String,
    /// Name of the Node object; pods whose `spec.nodeName` is this run here.
    pub node_name: String,
    /// Addresses under which the node is reached, and `status.hostIPs` of its pods: at most one a family, the primary one first.
    pub node_ips: Vec<IpAddr>,
    /// Holds `logs/pods/...`.
    pub data_dir: PathBuf,
    /// The kubelet's own directory: `pods/<uid>/...`, `plugins/...`, `plugins_registry/`; `kubelet` in the data directory unless it
    /// is set. Pods and plugins that name `/var/lib/kubelet` mean it.
    pub root_dir: Option<PathBuf>,
    /// Socket of the container runtime, `unix:///...` or an absolute path.
    pub cri_endpoint: String,
    /// Address of the cluster's DNS service; pods get the node's resolvers when there are none.
    pub cluster_dns: Vec<IpAddr>,
    /// Domain of the cluster, `cluster.local`.
    pub cluster_domain: String,
    /// Cgroup below which `kubepods` is made, such as `/` or `/knarr`.
    pub cgroup_root: String,
    /// TCP port of the node server; 0 takes a free one.
    pub port: u16,
    /// Address the node server listens on.
    pub listen: IpAddr,
    /// Authorities whose client certificates the node server accepts, PEM.
    pub client_ca_pem: String,
    /// What files say, where nothing else of this does.
    pub configuration: KubeletConfiguration,
    /// Labels the node registers with besides the ones every node has.
    pub node_labels: std::collections::BTreeMap<String, String>,
    /// Taints it registers with, in the place of those that files say.
    pub node_taints: Vec<k8s_openapi::api::core::v1::Taint>,
    /// The node's resolver configuration.
    pub resolv_conf: PathBuf,
    /// Sysctls besides the safe ones that pods may set, by name or by pattern (`net.core.*`).
    pub allowed_unsafe_sysctls: Vec<String>,
    /// Directory of static pods' manifests, or one of them.
    pub manifest_path: Option<PathBuf>,
    /// Where static pods are asked for.
    pub manifest_url: Option<ManifestUrl>,
    /// Rung by whoever writes the pod network's configuration: CRI has no event that says that the network is ready, and
    /// a node is not before it is.
    pub network_configured: Arc<Notify>,
    /// Who answers queries of the logs that the node retains, if it retains any.
    pub node_logs: Option<Arc<dyn NodeLogs>>,
    /// The certificate by which the API server knows the kubelet, where somebody renews it.
    pub client_certificate: Option<Arc<dyn ClientCertificate>>,
    /// Where requests of the kubelet's client are counted, if they are.
    pub requests: Option<Arc<Requests>>,
}

/// A certificate that somebody renews.
pub trait ClientCertificate: fmt::Debug + Send + Sync {
    /// When it ends, seconds since 1970.
    fn not_after(&self) -> i64;

    /// How often it could not be renewed.
    fn renewal_failures(&self) -> u64;
}

impl Default for Config {
    /// Upstream's defaults, where there are any.
    fn default() -> Self {
        Self {
            instance: String::new(),
            node_name: String::new(),
            node_ips: vec![IpAddr::from([127, 0, 0, 1])],
            data_dir: PathBuf::from("/var/lib/knarr"),
            root_dir: None,
            cri_endpoint: "/var/lib/knarr/run/runtime.sock".to_owned(),
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            cgroup_root: "/".to_owned(),
            port: DEFAULT_PORT,
            listen: IpAddr::from([0, 0, 0, 0]),
            client_ca_pem: String::new(),
            configuration: KubeletConfiguration::default(),
            node_labels: std::collections::BTreeMap::new(),
            node_taints: Vec::new(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            allowed_unsafe_sysctls: Vec::new(),
            manifest_path: None,
            manifest_url: None,
            network_configured: Arc::default(),
            node_logs: None,
            client_certificate: None,
            requests: None,
        }
    }
}

impl Config {
    /// The node's addresses, as objects say them.
    pub(crate) fn host_ips(&self) -> Vec<String> {
        self.node_ips.iter().map(IpAddr::to_string).collect()
    }

    /// Where the node server listens: who says all addresses of IPv4 means all that there are, as Go does.
    pub(crate) fn listen(&self) -> IpAddr {
        match self.listen {
            IpAddr::V4(ip) if ip.is_unspecified() && self.node_ips.iter().any(IpAddr::is_ipv6) => {
                Ipv6Addr::UNSPECIFIED.into()
            }
            listen => listen,
        }
    }

    /// The kubelet's root directory.
    pub(crate) fn root(&self) -> Root {
        let own = || self.data_dir.join("kubelet");
        Root::new(self.root_dir.clone().unwrap_or_else(own))
    }

    fn in_root(&self, name: &str) -> PathBuf {
        self.root().path().join(name)
    }

    /// Where plugins make themselves known.
    pub(crate) fn plugins_registry_dir(&self) -> PathBuf {
        self.in_root("plugins_registry")
    }

    /// Where checkpoints of containers are.
    pub(crate) fn checkpoints_dir(&self) -> PathBuf {
        self.in_root("checkpoints")
    }

    /// Where plugins have their sockets, and the kubelet what it keeps for them.
    pub(crate) fn plugins_dir(&self) -> PathBuf {
        self.in_root("plugins")
    }

    /// Has files say what has not been said: what is told otherwise, as by a flag, goes before them.
    ///
    /// # Errors
    /// What a file names that is not there, or not so.
    pub fn configured(
        mut self,
        configuration: KubeletConfiguration,
    ) -> Result<Self, ConfigurationError> {
        configuration.fill_in(&mut self)?;
        self.configuration = configuration;
        Ok(self)
    }

    /// Most pods at a time.
    pub(crate) fn max_pods(&self, cpus: usize) -> usize {
        let settings = &self.configuration.settings;
        let most = usize::try_from(settings.max_pods).unwrap_or(0);
        match usize::try_from(settings.pods_per_core) {
            Ok(per_core @ 1..) => most.min(per_core.saturating_mul(cpus)),
            _ => most,
        }
    }

    /// Directory of everything that belongs to one pod.
    pub(crate) fn pod_dir(&self, uid: &str) -> PathBuf {
        self.pods_dir().join(uid)
    }

    pub(crate) fn pods_dir(&self) -> PathBuf {
        self.in_root("pods")
    }

    /// Where device plugins have their sockets, and register.
    pub(crate) fn device_plugins_dir(&self) -> PathBuf {
        self.in_root("device-plugins")
    }

    /// Where agents ask who has which devices.
    pub(crate) fn pod_resources_dir(&self) -> PathBuf {
        self.in_root("pod-resources")
    }

    /// Which devices of plugins pods have.
    pub(crate) fn devices_record(&self) -> PathBuf {
        self.in_root("device_manager_state.json")
    }

    /// What drivers have prepared for pods.
    pub(crate) fn dra_record(&self) -> PathBuf {
        self.in_root("dra_manager_state.json")
    }

    /// Which images were pulled, and by whom.
    pub(crate) fn image_records_dir(&self) -> PathBuf {
        self.in_root("images")
    }

    /// Below this are the seccomp profiles that pods name.
    pub(crate) fn seccomp_dir(&self) -> PathBuf {
        self.in_root("seccomp")
    }

    /// Directory of all pods' logs.
    pub(crate) fn logs_dir(&self) -> PathBuf {
        self.data_dir.join("logs/pods")
    }

    /// Directory of one pod's logs, named as upstream names it.
    pub(crate) fn pod_logs(&self, namespace: &str, name: &str, uid: &str) -> PathBuf {
        self.logs_dir().join(format!("{namespace}_{name}_{uid}"))
    }
}
