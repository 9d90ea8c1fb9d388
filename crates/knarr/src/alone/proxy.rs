//! `knarr proxy`: the Services of a node, where the rest of it is somebody else's.

use anyhow::{Context, Result, bail};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use knarr_client::Informers;
use knarr_health::{Health, Kind};
use knarr_proxy::Proxy;
use knarr_tasks::Tasks;
use kube::{Api, api::ListParams};
use tokio::time::{Duration, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{connect, host_name};
use crate::{
    cli::ProxyAlone,
    instance::{Instance, NetworkNamespace, Record},
    parts, preflight,
    process::{Asked, Daemon, End, Output},
    ranges::Ranges,
};

const STOP: Duration = Duration::from_secs(10);
/// Where the API server says which addresses Services have.
const SERVICE_CIDR: &str = "kubernetes";
/// For an answer of it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between tries.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// The kubelet's, by which the node is kept going.
const RESERVED_PORTS: [u16; 1] = [knarr_kubelet::DEFAULT_PORT];

pub fn run(flags: &ProxyAlone) -> Result<()> {
    preflight::check_proxy(flags)?;
    let daemon = Daemon {
        data_dir: &flags.data_dir,
        log: &flags.log,
        detach: false,
    };
    daemon.run(async |instance, _: &Output| serve(flags, instance).await)
}

async fn serve(flags: &ProxyAlone, instance: &mut Instance) -> Result<End> {
    let mut asked = Asked::listen()?;
    let identity = instance.identity(&flags.data_dir)?;
    let clients = connect(&flags.api, false).await?;
    instance.publish(&Record {
        ready: true,
        pid: std::process::id().cast_signed(),
        api: clients.server().to_string(),
        kubeconfig: None,
        // It makes none; this one is nobody's.
        cgroup_root: std::path::PathBuf::from("/knarr").join(identity.as_str()),
        root_dir: None,
        network: Some(NetworkNamespace::current()?),
        foreign_runtime: None,
    })?;
    let service_cidr = tokio::select! {
        range = service_cidr(flags, clients.client()) => range?,
        signal = asked.wait() => {
            info!(signal, "stopped while starting");
            return Ok(End::Asked);
        }
    };
    let tasks = Tasks::new(CancellationToken::new());
    if flags.healthz_bind_address.port() != 0 {
        let health = Health::bind(flags.healthz_bind_address, Kind::Proxy).await;
        let health = health.context("--healthz-bind-address")?;
        tasks.keep("health", health.run(tasks.token().child_token()));
    }
    let config = knarr_proxy::Config {
        table: knarr_proxy::table(&identity),
        node_name: match &flags.hostname_override {
            Some(name) => name.clone(),
            None => host_name()?,
        },
        cluster_cidrs: flags.cluster_cidr.to_vec(),
        service_cidrs: service_cidr.to_vec(),
        // Cluster DNS is a Service like any other here.
        node_local_dns: Vec::new(),
        reserved_ports: RESERVED_PORTS.to_vec(),
    };
    let token = tasks.token().child_token();
    let informers = Informers::new(clients.client(), token.clone());
    let proxy = Proxy::new(config, &informers);
    tasks.keep("service proxy", proxy.run(token));
    info!(server = %clients.server(), "the proxy runs");
    let signal = asked.wait().await;
    info!(signal, "stopping; its rules stay (knarr down removes them)");
    parts::stop("service proxy", &tasks, STOP).await;
    Ok(End::Asked)
}

/// The addresses of Services: what was given, or what the API server says, which is waited for.
async fn service_cidr(flags: &ProxyAlone, client: kube::Client) -> Result<Ranges> {
    if let Some(ranges) = &flags.service_cluster_ip_range {
        return Ok(ranges.clone());
    }
    let api: Api<ServiceCIDR> = Api::all(client);
    // Upstream's role of proxies allows to list and to watch, and not to get.
    let named = ListParams::default().fields(&format!("metadata.name={SERVICE_CIDR}"));
    loop {
        match timeout(ANSWER_TIMEOUT, api.list(&named)).await {
            Ok(Ok(found)) => {
                let found = found.items.into_iter().next().and_then(|range| range.spec);
                let ranges = found.unwrap_or_default().cidrs.unwrap_or_default();
                let ranges: Option<Ranges> = ranges.join(",").parse().ok();
                return ranges.filter(|ranges| ranges.fits(&flags.cluster_cidr)).context(
                    "the cluster's Services have no addresses of the families of --cluster-cidr; give --service-cluster-ip-range",
                );
            }
            Ok(Err(kube::Error::Api(status))) if matches!(status.code, 403 | 404) => bail!(
                "the API server does not say which addresses Services have ({}); give --service-cluster-ip-range",
                status.message
            ),
            Ok(Err(error)) => warn!(%error, "asking again which addresses Services have"),
            Err(_) => warn!("asking again which addresses Services have: no answer in time"),
        }
        sleep(RETRY_PAUSE).await;
    }
}
