//! The other nodes of `knarr up --nodes`: each is `knarr agent` in a process and a network namespace of its own.
//!
//! They hang on this process by their standard input: it brings the token by which a node joins, and its end, however this
//! process ends, is theirs. Their containers go on, and the next start finds the same nodes by their names and numbers.

mod child;
mod control;
mod keeper;
mod names;
mod removal;
mod resolvers;
mod settings;
mod token;

use std::{os::unix::net::UnixListener, sync::Arc, time::Duration};

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Node;
use knarr_client::{Informer, Informers};
use knarr_cni::local::LocalNodes;
use knarr_tasks::Tasks;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::error;

use self::keeper::{Keeper, Phase};
pub use self::{
    control::{Request, ask, listen},
    names::known,
    removal::{remove, surplus, take_down_all},
    resolvers::Resolvers,
    settings::Settings,
    token::Tokens,
};
use crate::{parts, progress::Progress};

/// How long a node's process may take to start or to end when somebody asks for it.
const WANT_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the nodes may take together until they are Ready: images are imported on each.
const READY_TIMEOUT: Duration = Duration::from_secs(120);
/// Longer than the process of a node has.
const STOP: Duration = Duration::from_secs(18);

/// The nodes beside the first.
pub struct Nodes {
    members: Vec<Member>,
    /// Rung when one of them changes its phase.
    changed: Arc<Notify>,
    tasks: Tasks,
}

struct Member {
    name: String,
    phase: watch::Receiver<Phase>,
    /// Whether its process is to run.
    wanted: watch::Sender<bool>,
}

impl Nodes {
    /// Starts their processes, all at once, and takes commands of `knarr node`.
    pub fn start(settings: Settings, network: LocalNodes, commands: UnixListener) -> Arc<Self> {
        let tasks = Tasks::new(CancellationToken::new());
        let changed = Arc::new(Notify::new());
        let (settings, network) = (Arc::new(settings), Arc::new(network));
        let members = names::others(&settings.first, settings.count)
            .into_iter()
            .map(|name| {
                let (tell, phase) = watch::channel(Phase::Starting);
                let (wanted, wish) = watch::channel(true);
                let member = Member {
                    name: name.text.clone(),
                    phase,
                    wanted,
                };
                let keeper = Keeper {
                    settings: settings.clone(),
                    network: network.clone(),
                    name,
                    phase: tell,
                    wanted: wish,
                    changed: changed.clone(),
                };
                let token = tasks.token().clone();
                tasks.keep(format!("node {}", member.name), keeper.keep(token));
                member
            })
            .collect();
        let this = Arc::new(Self {
            members,
            changed,
            tasks,
        });
        let nodes = this.clone();
        this.tasks.keep("commands to nodes", async move {
            let token = nodes.tasks.token().clone();
            let served = control::serve(commands, &nodes);
            if let Some(Err(error)) = token.run_until_cancelled(served).await {
                error!(%error, "cannot take commands to nodes");
            }
        });
        this
    }

    /// Waits until every node of the cluster is Ready, and says so of each.
    ///
    /// # Errors
    ///
    /// When they are not within [`READY_TIMEOUT`]; with the reason of one that is known.
    pub async fn ready(
        &self,
        first: &str,
        client: kube::Client,
        progress: &Progress,
    ) -> Result<()> {
        let token = CancellationToken::new();
        let _stop = token.clone().drop_guard();
        let nodes = Informers::new(client, token).informer::<Node>();
        let changed = self.changed.clone();
        nodes.on_event(move |_| changed.notify_one());
        let deadline = Instant::now() + READY_TIMEOUT;
        let mut said = vec![false; self.members.len() + 1];
        loop {
            let waiting = self.say_who_is_ready(first, &nodes, &mut said, progress);
            if waiting.is_empty() {
                return Ok(());
            }
            if timeout_at(deadline, self.changed.notified()).await.is_err() {
                bail!("{}", self.why_not(&waiting));
            }
        }
    }

    /// Tells of those that have become Ready since the last look; those that have not.
    fn say_who_is_ready(
        &self,
        first: &str,
        nodes: &Informer<Node>,
        said: &mut [bool],
        progress: &Progress,
    ) -> Vec<String> {
        let own = (first, true);
        let others = self
            .members
            .iter()
            .map(|member| (member.name.as_str(), *member.phase.borrow() == Phase::Runs));
        let mut waiting = Vec::new();
        for ((name, runs), said) in std::iter::once(own).chain(others).zip(said) {
            let ready = runs && nodes.get("", name).is_some_and(|node| is_ready(&node));
            if ready && !*said {
                progress.done(&format!("node {name}"));
            }
            *said |= ready;
            if !*said {
                waiting.push(name.to_owned());
            }
        }
        waiting
    }

    fn why_not(&self, waiting: &[String]) -> String {
        let seconds = READY_TIMEOUT.as_secs();
        let reason = self
            .members
            .iter()
            .filter(|member| waiting.contains(&member.name))
            .find_map(|member| match &*member.phase.borrow() {
                Phase::Ended(reason) => Some(format!("; {}: {reason}", member.name)),
                Phase::Starting | Phase::Runs | Phase::Stopped => None,
            });
        format!(
            "not Ready within {seconds}s: {}{}",
            waiting.join(", "),
            reason.unwrap_or_default()
        )
    }

    /// Has a node's process run, or not. It is done when this returns.
    async fn want(&self, node: &str, wanted: bool) -> Result<()> {
        let Some(member) = self.members.iter().find(|member| member.name == node) else {
            bail!("{node} is none of the nodes that can be stopped and started here");
        };
        member.wanted.send_replace(wanted);
        let is_so = |phase: &Phase| match phase {
            Phase::Stopped => !wanted,
            Phase::Runs => wanted,
            Phase::Starting | Phase::Ended(_) => false,
        };
        let mut phase = member.phase.clone();
        let so = timeout(WANT_TIMEOUT, phase.wait_for(is_so)).await;
        match so.map(|ended| ended.map(drop)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => bail!("knarr is stopping"),
            Err(_) => match &*member.phase.borrow() {
                Phase::Ended(reason) => bail!("{node}: {reason}"),
                _ => bail!("{node} takes longer than {}s", WANT_TIMEOUT.as_secs()),
            },
        }
    }

    /// Ends their processes. Containers go on.
    pub async fn stop(&self) {
        parts::stop("nodes", &self.tasks, STOP).await;
    }
}

fn is_ready(node: &Node) -> bool {
    let status = node.status.as_ref();
    let mut conditions = status
        .into_iter()
        .flat_map(|s| s.conditions.iter().flatten());
    conditions.any(|c| c.type_ == "Ready" && c.status == "True")
}
