//! `knarr agent`: a node of a cluster whose control plane is elsewhere. It joins, runs, waits for a signal, stops.

mod leash;
mod settings;

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use knarr_cni::InstanceId;
use knarr_join::{JoinToken, Joined, Membership};
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::leash::Leash;
pub use self::leash::mark;
use crate::{
    cert,
    cli::{Agent, Part},
    instance::{Instance, NetworkNamespace, Record},
    node::{self, ContainerRuntime, Host, Network, Node, Serving},
    parts::{self, Failure},
    preflight,
    process::{Asked, Daemon, End, Output},
    progress::{Progress, seconds},
};

/// How long the renewal of certificates may take to stop: it writes files.
const MEMBERSHIP_STOP: Duration = Duration::from_secs(1);

pub fn run(flags: Box<Agent>) -> Result<()> {
    let mut flags = *flags;
    flags.node.make_paths_absolute()?;
    flags.node.heed_kubelet_configuration()?;
    let mut leash = Leash::of_environment();
    preflight::check_agent(&flags, leash.is_some())?;
    let daemon = Daemon {
        data_dir: &flags.data_dir,
        log: &flags.log,
        detach: flags.detach,
    };
    daemon.run(async |instance, output| serve(&flags, leash.as_mut(), instance, output).await)
}

async fn serve(
    flags: &Agent,
    mut leash: Option<&mut Leash>,
    instance: &mut Instance,
    output: &Output,
) -> Result<End> {
    let mut asked = Asked::listen()?;
    // Who holds one has given the address, too.
    let is_held = leash.is_some();
    let token = match &mut leash {
        Some(leash) => Some(leash.token().await?),
        None => settings::token(flags)?,
    };
    let host = Host::of(&flags.data_dir, &flags.node, instance)?;
    let mut record = Record {
        ready: false,
        pid: std::process::id().cast_signed(),
        api: settings::servers(flags),
        kubeconfig: None,
        cgroup_root: host.cgroup.clone(),
        network: Some(NetworkNamespace::current()?),
        root_dir: flags.node.root_dir.clone(),
        foreign_runtime: host.foreign_runtime(&flags.node),
    };
    instance.publish(&record)?;
    let ended = async {
        tokio::select! {
            signal = asked.wait() => signal,
            () = leash::end(leash) => "the end of knarr up",
        }
    };
    tokio::pin!(ended);
    let running = tokio::select! {
        running = Running::start(flags, (token, is_held), host, &output.progress) => running?,
        signal = &mut ended => {
            info!(signal, "stopped while starting");
            return Ok(End::Asked);
        }
    };
    record.ready = true;
    instance.publish(&record)?;
    greet(&output.progress, flags, &running, &record.api);
    output.ready()?;
    let reason = tokio::select! {
        signal = &mut ended => {
            info!(signal, "stopping");
            output.stopping("stopping; containers go on running (knarr down removes them)");
            Ok(End::Asked)
        }
        address = running.moved(), if !is_held => {
            output.moved(address);
            Ok(End::Again)
        }
        caught_up = running.behind() => match caught_up {
            Ok(()) => {
                output.stopping("the cluster has changed: starting again with it (containers go on running)");
                Ok(End::Again)
            }
            Err(error) => Err(error.into()),
        },
        error = running.failure.happened() => {
            output.stopping("stopping; containers go on running (knarr down removes them)");
            Err(error)
        }
    };
    running.stop().await;
    reason
}

fn greet(progress: &Progress, flags: &Agent, running: &Running, api: &str) {
    let name = &running.name;
    let time = seconds(progress.elapsed());
    progress.line("");
    progress.line(&progress.bold(&format!(
        "knarr agent is ready in {time}  (node {name} of {api})"
    )));
    progress.line("");
    if running.absent.is_some() {
        progress.line("No server answers: it runs what it has, and waits for one.");
    }
    if flags.detach {
        let dir = flags.data_dir.display();
        progress.line(&format!(
            "It runs in the background: knarr down --data-dir {dir} removes it."
        ));
    } else {
        progress.line(
            "Ctrl-C stops it; its containers go on running, and knarr agent finds them again.",
        );
    }
}

/// A node that has joined.
struct Running {
    name: String,
    node: Node,
    /// What keeps the node a member.
    membership: Tasks,
    moves: Option<(InstanceId, Vec<IpAddr>)>,
    /// Of a node that has started without a server: what it joins by, and what it has.
    absent: Option<(knarr_join::Options, Membership)>,
    failure: Failure,
}

impl Running {
    /// Joins while the container runtime starts; returns when every part runs.
    async fn start(
        flags: &Agent,
        (token, is_held): (Option<JoinToken>, bool),
        host: Host,
        progress: &Progress,
    ) -> Result<Self> {
        let name = node::name(&flags.node, &host.data_dir)?;
        let known = node::known_ips(&flags.node.node_ip).await?;
        let failure = Failure::new();
        let options = knarr_join::Options {
            servers: flags.server.clone(),
            token,
            ca_file: flags.ca_file.clone(),
            pki_dir: flags.data_dir.join("pki"),
            node_name: name.clone(),
            node_ips: known.clone(),
            certificate_life: None,
            // Who is held belongs to the server beside it.
            follows_servers: !is_held,
            foreign: None,
        };
        let join = async { join(&options, is_held).await };
        let (runtime, (member, is_absent)) = tokio::try_join!(
            progress.step(
                "container runtime",
                ContainerRuntime::start(&host, &flags.node, &failure, progress)
            ),
            progress.step("membership", join),
        )?;
        let mut cluster = settings::of_cluster(member.settings())?;
        cluster.network_policy &= flags.without.has(Part::NetworkPolicy);
        preflight::ranges_are_free(&host, &flags.node, &cluster).await?;
        let settings = node::Settings {
            host,
            name: name.clone(),
            ips: node::of_cluster(&known, &cluster.cluster_cidr)?,
            flags: flags.node.clone(),
            cluster,
            without: flags.without.clone(),
            network: Network::Cluster,
            dns_also: None,
            kept_names: Some(flags.data_dir.join("names.json")),
            reserved_ports: vec![knarr_kubelet::DEFAULT_PORT],
        };
        let node = Node::start(
            &settings,
            runtime,
            member.clients(),
            serving(&member),
            progress,
        );
        let node = node.await?;
        let membership = Tasks::new(CancellationToken::new());
        let token = membership.token().clone();
        membership.keep("node certificates", member.run(token));
        cert::serve_agent(member.order(), &flags.data_dir, &membership)?;
        Ok(Self {
            name,
            node,
            membership,
            moves: settings.moves(),
            absent: is_absent.then_some((options, member)),
            failure,
        })
    }

    /// Waits until a server answers, where there was none at the start, and for ever after that, unless the cluster is another one than
    /// the node has started with.
    async fn behind(&self) -> Result<(), knarr_join::Error> {
        let Some((options, kept)) = &self.absent else {
            return std::future::pending().await;
        };
        let joined = knarr_join::rejoin(options, kept).await?;
        if !joined.is_as(kept) {
            info!("a server answers, and the cluster has changed; starting again");
            return Ok(());
        }
        info!("a server answers");
        std::future::pending().await
    }

    /// Waits until the machine has another address than the one that all parts know.
    async fn moved(&self) -> IpAddr {
        match &self.moves {
            Some((instance, ips)) => knarr_cni::node::moved(instance, ips).await,
            None => std::future::pending().await,
        }
    }

    /// Stops clients of the API, then the runtime. Containers go on.
    async fn stop(&self) {
        self.node.stop_clients().await;
        self.node.stop_runtime().await;
        parts::stop("node certificates", &self.membership, MEMBERSHIP_STOP).await;
        info!("stopped");
    }
}

/// What the node has of its cluster, and whether no server answers. Who is held has a server beside him, and is started again.
async fn join(options: &knarr_join::Options, is_held: bool) -> Result<(Membership, bool)> {
    if is_held {
        return Ok((knarr_join::join(options).await?, false));
    }
    match knarr_join::join_or_wait(options).await? {
        Joined::Now(member) => Ok((member, false)),
        Joined::Before(member, error) => {
            warn!(%error, "the node starts with what it has from the last time, and waits for a server");
            Ok((member, true))
        }
    }
}

fn serving(member: &Membership) -> Serving {
    Serving {
        certificate: member.serving(),
        client_ca_pem: member.ca_pem().to_owned(),
        client: Some(member.client_certificate()),
    }
}
