//! Putting the parts together, starting them in order, and ending them.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod, Service};
use knarr_client::{InformerScope, Informers, events::Recorder};
use knarr_cri::v1;
use knarr_host::sysctl::{self, Allowlist};
use knarr_tasks::Tasks;
use parking_lot::Mutex;
use rustls::server::ResolvesServerCert;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    alignment::{self, Alignment},
    allocation::Allocations,
    cgroup::Cgroups,
    config::Config,
    configuration::ConfigurationError,
    context::{Context, Shared},
    devices, disk, dra,
    error::Error,
    events::Events,
    eviction, garbage,
    image::Images,
    logs, mirror, node,
    objects::Objects,
    observed::Observed,
    plugins, pod_resources,
    pods::Pods,
    probe::Http,
    runtime::{Features, Runtime, RuntimeEvents},
    server::{self, Server},
    shutdown::{self, Logind},
    sources::{self, Seen},
    swap::Swap,
    users::{Range, Users, claim::REGISTRY},
    volume::{certificate::Certificates, csi::Csi, token::Tokens},
};

/// Pause before the second try to reach a runtime that is not there yet; doubles.
const RUNTIME_RETRY_FIRST: Duration = Duration::from_millis(20);
/// Longest pause between such tries.
const RUNTIME_RETRY_LONGEST: Duration = Duration::from_secs(1);
/// How long tasks may take to end.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// A kubelet that has its port and waits for [`Kubelet::run`].
pub struct Kubelet {
    config: Config,
    client: kube::Client,
    server: Server,
    cgroups: Cgroups,
    http: Http,
    sysctls: Allowlist,
    users: Users,
    alignment: Alignment,
    /// Who tells of the machine's shutdown, where pods are to end before it.
    logind: Option<Logind>,
}

impl Kubelet {
    /// Takes the port and prepares directories. The node server shows what `certificate` has at each handshake, so that it can be
    /// renewed; `client` acts as `system:node:<name>`.
    ///
    /// # Errors
    /// See [`Error`]; all of them are for the user to see.
    pub async fn new(
        config: Config,
        certificate: Arc<dyn ResolvesServerCert>,
        client: kube::Client,
    ) -> Result<Self, Error> {
        config.configuration.check_host()?;
        let root = config.root().prepare(&config.instance);
        root.map_err(|source| Error::Host {
            what: "the kubelet's root directory",
            source,
        })?;
        for dir in [
            config.pods_dir(),
            config.logs_dir(),
            config.plugins_dir(),
            config.plugins_registry_dir(),
        ] {
            std::fs::create_dir_all(&dir).map_err(|source| Error::Host {
                what: "the kubelet's directories",
                source,
            })?;
        }
        let cgroups = Cgroups::detect(&config.cgroup_root).map_err(|source| Error::Host {
            what: "cgroups",
            source,
        })?;
        let settings = &config.configuration.settings;
        let cgroups = cgroups.with_pids_of_pod(settings.pod_pids_limit);
        let http = Http::new().map_err(|error| Error::Tls(error.to_string()))?;
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kernel = sysctl::kernel_version(&release);
        let sysctls =
            Allowlist::new(kernel, &config.allowed_unsafe_sysctls).map_err(Error::Sysctls)?;
        let users = users(&config).await.map_err(Error::Users)?;
        let alignment = disk::waiting(|| managers(&config)).map_err(Error::Managers)?;
        let logind = disk::waiting(|| shutdown::find(&config.configuration.settings));
        let logind = logind.map_err(ConfigurationError::Invalid)?;
        let server = Server::bind(&config, certificate).await?;
        Ok(Self {
            config,
            client,
            server,
            cgroups,
            http,
            sysctls,
            users,
            alignment,
            logind,
        })
    }

    /// Where the node server listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.server.local_addr()
    }

    /// Runs the node's pods until the token is cancelled. Containers go on running then; the next kubelet finds them.
    pub async fn run(self, token: CancellationToken) {
        let tracker = TaskTracker::new();
        let port = self.local_addr().port();
        let Some((runtime, version, features)) =
            token.run_until_cancelled(reach(&self.config)).await
        else {
            return;
        };
        let observed = Observed::new(runtime.clone(), &self.config.instance);
        let informers = Informers::new(self.client.clone(), token.clone());
        let Self {
            config,
            client,
            server,
            cgroups,
            http,
            sysctls,
            users,
            alignment,
            logind,
        } = self;
        let version = format!("{}://{}", version.runtime_name, version.runtime_version);
        let ctx = context(
            config,
            client,
            runtime,
            &version,
            &informers,
            (cgroups, http, sysctls, features, users, alignment),
            (&tracker, &token),
            observed,
        );
        let loops = Tasks::new(token.clone());
        loops.keep(
            "the kubelet's server",
            server::run(server, ctx.clone(), token.child_token()),
        );
        plugins_and_devices(&ctx, &tracker, &loops, &token);
        of_the_machine(&ctx, port, logind, &loops, &token);
        let Some(stream) = token.run_until_cancelled(first_list(&ctx)).await else {
            return;
        };
        loops.keep(
            "the runtime's events",
            ctx.observed.clone().follow(stream, token.child_token()),
        );
        follow(&ctx, &tracker, &loops, &token).await;
        token.cancelled().await;
        tracker.close();
        let ended = async {
            tracker.wait().await;
            loops.stopped().await;
            informers.stopped().await;
        };
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, ended).await.is_err() {
            tracing::warn!("the kubelet's tasks did not end in time");
        }
    }
}

/// What is told of the machine, and what it tells.
fn of_the_machine(
    ctx: &Shared,
    port: u16,
    logind: Option<Logind>,
    loops: &Tasks,
    token: &CancellationToken,
) {
    loops.keep(
        "the node's status",
        node::run(ctx.clone(), port, token.child_token()),
    );
    loops.keep(
        "the rotation of logs",
        logs::rotate::run(ctx.clone(), token.child_token()),
    );
    if let Some(logind) = logind {
        loops.keep(
            "the machine's shutdown",
            shutdown::run(ctx.clone(), logind, token.child_token()),
        );
    }
}

/// Plugins come and go, and devices with them.
fn plugins_and_devices(
    ctx: &Shared,
    tracker: &TaskTracker,
    loops: &Tasks,
    token: &CancellationToken,
) {
    let registered = devices::Registered::new(ctx.clone(), tracker.clone(), token.clone());
    let mut handlers = plugins::Handlers::from([(plugins::CSI_PLUGIN, ctx.csi.handler())]);
    let drivers = dra::drivers::Registered(ctx.clone());
    handlers.insert(dra::drivers::DRA_PLUGIN, Arc::new(drivers));
    handlers.insert(devices::DEVICE_PLUGIN, Arc::new(registered.clone()));
    let (registry, root) = (ctx.config.plugins_registry_dir(), ctx.config.root());
    loops.keep(
        "volumes of CSI drivers",
        Csi::run(ctx.csi.clone(), token.child_token()),
    );
    loops.keep(
        "the kubelet's plugins",
        plugins::run(registry, root, handlers, token.child_token()),
    );
    loops.keep(
        "device plugins",
        devices::run(registered, token.child_token()),
    );
    loops.keep(
        "claims of devices",
        dra::run(ctx.clone(), token.child_token()),
    );
    loops.keep(
        "the CPUs of containers",
        alignment::run(ctx.clone(), token.child_token()),
    );
    loops.keep(
        "the resources of pods",
        pod_resources::run(ctx.clone(), token.child_token()),
    );
}

/// Starts with the pods: those of files and URLs at once, the API's when it has listed them.
async fn follow(ctx: &Shared, tracker: &TaskTracker, loops: &Tasks, token: &CancellationToken) {
    let pods = Pods::new(ctx.clone(), tracker.clone(), token.child_token());
    pods.follow_mirrors();
    let to = pods.clone();
    let deliver = move |source, found| to.set(source, found);
    loops.keep(
        "the sources of static pods",
        sources::run(ctx.config.clone(), deliver, token.child_token()),
    );
    loops.keep(
        "the mirrors of static pods",
        mirror::run(ctx.clone(), pods.clone(), token.child_token()),
    );
    let ready = async {
        tokio::join!(ctx.pods.synced(), ctx.services.synced());
    };
    if token.run_until_cancelled(ready).await.is_some() {
        loops.keep("evictions", eviction::run(ctx.clone(), token.child_token()));
        loops.keep(
            "the removal of images",
            garbage::run(ctx.clone(), token.child_token()),
        );
        pods.follow();
        let sweep_token = token.child_token();
        tracker.spawn(async move {
            sweep_token.run_until_cancelled(pods.sweep()).await;
        });
    }
}

/// What was found out of the host before anything runs.
type Host = (Cgroups, Http, Allowlist, Features, Users, Alignment);

#[allow(clippy::too_many_arguments)]
fn context(
    config: Config,
    client: kube::Client,
    runtime: Runtime,
    version: &str,
    informers: &Informers,
    (cgroups, http, sysctls, features, users, alignment): Host,
    (tracker, token): (&TaskTracker, &CancellationToken),
    observed: Observed,
) -> Shared {
    let name = config.node_name.clone();
    let of_field = |field: String| InformerScope {
        field_selector: Some(field),
        ..Default::default()
    };
    let runtime_name = version.split(':').next().unwrap_or_default().to_owned();
    let machine = node::Machine::detect(&config.data_dir, version);
    let swap = Swap::detect(&config.configuration.settings, cgroups.is_unified());
    if let Err(error) = cgroups.share(&machine.share(&config)) {
        tracing::warn!(%error, "pods are not held to their share of the node");
    }
    let allocations = Allocations::new(config.pods_dir(), machine.room(&config));
    let node = informers.informer_with::<Node>(of_field(format!("metadata.name={name}")));
    let events = Events {
        recorder: Recorder::new(client.clone(), "kubelet", name.clone()),
        node: node.clone(),
    };
    Arc::new(Context {
        machine,
        pods: informers.informer_with::<Pod>(of_field(format!("spec.nodeName={name}"))),
        node: node.clone(),
        seen: Seen::default(),
        statics: Mutex::default(),
        mirrors_changed: Notify::new(),
        services: informers.informer::<Service>(),
        objects: Objects::new(client.clone(), &name, tracker.clone(), token.clone()),
        devices: devices::DevicePlugins::load(config.devices_record()),
        alignment,
        dra: dra::Dra::load(config.dra_record()),
        images: Images::new(
            runtime.clone(),
            events.clone(),
            config.image_records_dir(),
            &config.configuration.settings,
        ),
        tokens: Tokens::new(client.clone()),
        certificates: Certificates::new(client.clone()),
        csi: Arc::new(Csi::new(client.clone(), &config, &node)),
        allocations,
        config,
        client,
        runtime,
        runtime_name,
        observed,
        events,
        cgroups,
        http,
        sysctls,
        features,
        users,
        streams: crate::server::streams(),
        stats: crate::stats::Stats::default(),
        shutdown: crate::shutdown::Shutdown::default(),
        evictions: crate::eviction::Evictions::default(),
        garbage: crate::garbage::Garbage::default(),
        swap,
        probed: crate::probe::Counts::default(),
    })
}

/// CPUs and memory that containers may have for themselves. Blocks.
fn managers(config: &Config) -> Result<Alignment, String> {
    let machine = node::Machine::detect(&config.data_dir, "");
    let memory = u64::try_from(machine.memory_bytes).unwrap_or(0);
    let found = knarr_numa::discover::machine(&knarr_numa::discover::Sys::default(), memory);
    let settings = &config.configuration.settings;
    let root = config.root().path().to_owned();
    Alignment::load(settings, &found, machine.kept(config), root)
}

/// Ids of pods whose users are not the node's.
async fn users(config: &Config) -> Result<Users, String> {
    let ids_per_pod = config
        .configuration
        .settings
        .user_namespaces
        .ids_per_pod()?;
    let range = Range::detect(ids_per_pod).await?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let max_pods = config.max_pods(cpus);
    let root = config.root().path().to_owned();
    let loading = move || Users::load(&root, Path::new(REGISTRY), range, ids_per_pod, max_pods);
    let loaded = tokio::task::spawn_blocking(loading).await;
    loaded.map_err(|error| error.to_string())?
}

/// Dials the runtime until it answers: what it is, and what it can do.
async fn reach(config: &Config) -> (Runtime, v1::VersionResponse, Features) {
    let mut told = false;
    let mut wait = RUNTIME_RETRY_FIRST;
    loop {
        let timeout = config.configuration.settings.runtime_request_timeout;
        let error = match Runtime::connect(&config.cri_endpoint, timeout).await {
            Ok(runtime) => {
                let request = v1::VersionRequest {
                    version: "v1".to_owned(),
                };
                match tokio::try_join!(runtime.version(request), runtime.features()) {
                    Ok((version, features)) => return (runtime, version, features),
                    Err(error) => error.to_string(),
                }
            }
            Err(error) => error.to_string(),
        };
        if !told {
            tracing::info!(error, "waiting for the container runtime");
            told = true;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RUNTIME_RETRY_LONGEST);
    }
}

/// Opens the event stream, then lists: nothing can fall between the two.
async fn first_list(ctx: &Shared) -> Option<RuntimeEvents> {
    let mut wait = RUNTIME_RETRY_FIRST;
    loop {
        let stream = ctx.runtime.events().await.ok();
        match ctx.observed.relist().await {
            Ok(()) => return stream,
            Err(error) => {
                tracing::warn!(%error, "cannot list what the runtime holds, trying again")
            }
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(RUNTIME_RETRY_LONGEST);
    }
}
