//! A simulation: what is wired to what, and its end.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream};
use k8s_openapi::api::core::v1::Node;
use knarr_client::{Informer, SIMULATED_LABEL, Source, WorkQueue, errors};
use knarr_tasks::Tasks;
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    counts::{Counts, Figures},
    hollow::Table,
    leases::Leases,
    nodes::{Nodes, Task},
    pod::Phase,
    pods::Pods,
    rest, worker,
};

/// Requests at once. A kubelet does its own one after the other, and there are thousands; what limits is the server's answer time, and
/// the client's window.
const LEASE_WORKERS: usize = 32;
const NODE_WORKERS: usize = 32;
const POD_WORKERS: usize = 64;
/// As kubelets retry what they owe the API server.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(7);
/// Longest wait for workers at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// Nodes that are listed in one page, and deleted at once.
const PAGE: u32 = 500;
const DELETES: usize = 32;

/// Many hollow kubelets, not yet running.
pub struct Sim {
    parts: Arc<Parts>,
    client: Client,
}

struct Parts {
    table: Arc<Table>,
    counts: Arc<Counts>,
    nodes: Nodes,
    leases: Leases,
    pods: Pods,
}

/// Looks on while a simulation runs. Clones look at the same one.
#[derive(Clone)]
pub struct Watcher(Arc<Parts>);

/// The simulation cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the range of nodes' addresses {range} has fewer than {count} of them")]
pub struct TooFewAddresses {
    range: String,
    count: u32,
}

impl Sim {
    /// `client` makes clients of one identity: heartbeats do not wait behind pods. It may read and write nodes, node leases and pods.
    ///
    /// # Errors
    /// Where there are more nodes than addresses for them.
    pub fn new(config: Config, client: impl Fn() -> Client) -> Result<Self, TooFewAddresses> {
        let config = Arc::new(config);
        let table = Table::new(&config).ok_or_else(|| TooFewAddresses {
            range: config.node_range.to_string(),
            count: config.count,
        })?;
        let (table, counts) = (Arc::new(table), Arc::new(Counts::default()));
        let queue = || WorkQueue::with_retries(RETRY_FIRST, RETRY_LONGEST);
        let leases = Leases {
            client: client(),
            table: table.clone(),
            counts: counts.clone(),
            queue: queue(),
        };
        let pods = Pods::new(config.clone(), client(), table.clone(), counts.clone());
        let nodes = Nodes {
            config,
            client: client(),
            table: table.clone(),
            counts: counts.clone(),
            seen: Informer::new(),
            pods: pods.seen.clone(),
            queue: WorkQueue::with_retries(RETRY_FIRST, RETRY_LONGEST),
            leases: leases.queue.clone(),
            pod_queue: pods.queue.clone(),
        };
        let parts = Parts {
            table,
            counts,
            nodes,
            leases,
            pods,
        };
        Ok(Self {
            parts: Arc::new(parts),
            client: client(),
        })
    }

    pub fn watcher(&self) -> Watcher {
        Watcher(self.parts.clone())
    }

    /// Simulates until `token` is cancelled. The nodes stay, and fall silent.
    pub async fn run(self, token: CancellationToken) {
        let tasks = Tasks::new(token.clone());
        let parts = self.parts;
        add_event_handlers(&parts);
        let nodes = Source {
            path: rest::NODES.to_owned(),
            label_selector: Some(format!("{SIMULATED_LABEL}={}", parts.nodes.config.name)),
            field_selector: None,
            metadata_only: false,
        };
        let (seen, client) = (parts.nodes.seen.clone(), self.client.clone());
        tasks.keep(
            "the informer of nodes",
            seen.run(client, nodes, token.clone()),
        );
        let pods = Source {
            path: "/api/v1/pods".to_owned(),
            label_selector: None,
            field_selector: Some("spec.nodeName!=".to_owned()),
            metadata_only: false,
        };
        let seen = parts.pods.seen.clone();
        tasks.keep(
            "the informer of pods",
            seen.run(self.client, pods, token.clone()),
        );
        let synced = async {
            parts.nodes.seen.synced().await;
            parts.pods.seen.synced().await;
        };
        if token.run_until_cancelled(synced).await.is_some() {
            for index in 0..parts.table.len() {
                parts.nodes.queue.add(Task::Register(index));
            }
            work(&parts, &tasks);
            token.cancelled().await;
        }
        parts.nodes.queue.shut_down();
        parts.leases.queue.shut_down();
        parts.pods.queue.shut_down();
        if timeout(STOP_TIMEOUT, tasks.stopped()).await.is_err() {
            tracing::warn!("the simulation did not stop in time");
        }
    }
}

fn add_event_handlers(parts: &Arc<Parts>) {
    let weak = Arc::downgrade(parts);
    parts.nodes.seen.on_event(move |event| {
        if let Some(parts) = weak.upgrade() {
            parts.nodes.on_event(&event);
        }
    });
    let weak = Arc::downgrade(parts);
    parts.pods.seen.on_event(move |event| {
        if let Some(parts) = weak.upgrade() {
            parts.pods.on_event(&event);
        }
    });
}

/// Workers end when their queues are shut down.
fn work(parts: &Arc<Parts>, tasks: &Tasks) {
    for _ in 0..LEASE_WORKERS {
        let parts = parts.clone();
        tasks.keep("a worker of leases", async move {
            worker::work(&parts.leases).await
        });
    }
    for _ in 0..NODE_WORKERS {
        let parts = parts.clone();
        tasks.keep("a worker of nodes", async move {
            worker::work(&parts.nodes).await
        });
    }
    for _ in 0..POD_WORKERS {
        let parts = parts.clone();
        tasks.keep("a worker of pods", async move {
            worker::work(&parts.pods).await
        });
    }
}

impl Watcher {
    /// How far it is. Looks at every pod.
    pub fn figures(&self) -> Figures {
        let Parts {
            table,
            counts,
            pods,
            ..
        } = &*self.0;
        let mut figures = Figures {
            nodes: table.len(),
            leases: counts.leases.get(),
            reports: counts.reports.get(),
            pod_writes: counts.pod_writes.get(),
            failures: counts.failures.get(),
            ..Figures::default()
        };
        let mut lacks_range = false;
        for hollow in table.all() {
            figures.registered += u32::from(hollow.is_registered());
            figures.down += u32::from(hollow.is_down());
            lacks_range |= hollow.lacks_range();
        }
        figures.lacks_addresses = lacks_range && pods.lacks_addresses();
        for pod in pods.seen.list() {
            if table.index(&pod.node).is_none() {
                continue;
            }
            figures.deleting += usize::from(pod.grace.is_some());
            figures.ready += usize::from(pod.is_ready);
            match pod.phase {
                Phase::Pending => figures.pending += 1,
                Phase::Running => figures.running += 1,
                Phase::Succeeded | Phase::Failed => figures.ended += 1,
            }
        }
        figures
    }
}

/// Deletes all nodes of the set that bears the name; how many there were. Their pods and leases are the controllers' to delete.
///
/// # Errors
/// What the server answered.
pub async fn purge(client: &Client, name: &str) -> Result<usize, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let selector = format!("{SIMULATED_LABEL}={name}");
    let mut deleted = 0_usize;
    loop {
        let params = ListParams::default().labels(&selector).limit(PAGE);
        let page = nodes.list_metadata(&params).await?.items;
        if page.is_empty() {
            return Ok(deleted);
        }
        let names = page.into_iter().filter_map(|node| node.metadata.name);
        let mut results = stream::iter(names)
            .map(|name| {
                let nodes = nodes.clone();
                async move { nodes.delete(&name, &DeleteParams::default()).await }
            })
            .buffer_unordered(DELETES);
        let before = deleted;
        while let Some(result) = results.next().await {
            if errors::optional(result)?.is_some() {
                deleted = deleted.saturating_add(1);
            }
        }
        if deleted == before {
            // All of them are on their way out already; finalizers are somebody's.
            return Ok(deleted);
        }
    }
}
