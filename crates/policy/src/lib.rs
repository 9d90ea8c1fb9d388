//! Network policies: who may reach whom on this node, in nftables.
//!
//! ```text
//! informers (NetworkPolicy, Pod, Namespace) -> dirty keys \
//! CNI plugin (door: a pod will have this address)         -> planner (which chain for whom, who is in which set)
//!     -> layout (difference to what is applied, as elements of one table) -> kernel -> the plugin is answered
//! ```
//!
//! Pods of this node are isolated here, whoever their peers are and wherever those run. A pod starts when its policies are in
//! force: the CNI plugin tells its address and waits. What fails closes: a pod that the API does not know is isolated from
//! everybody, what cannot be understood allows nothing, and while the kernel refuses a change the rules before it stay, and no
//! pod starts.
//!
//! Planning may be much to think about (thousands of policies and pods), so the component has a thread of its own.
//!
//! Rejected: see `docs/decisions/0017-network-policies.md`.

mod changes;
mod door;
mod ids;
mod layout;
mod matcher;
mod model;
mod planner;
mod quota;
mod ranges;
mod sets;
#[cfg(test)]
mod testing;

use std::{
    collections::HashSet,
    io,
    net::IpAddr,
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    core::v1::{Namespace, ObjectReference, Pod},
    networking::v1::NetworkPolicy,
};
use knarr_client::{
    Event, Informer, Informers, Object,
    events::{Recorder, WARNING},
};
use knarr_cni::{InstanceId, plugin::ipam, policy::Change};
use knarr_meta::prefix::Prefix;
use knarr_nft::{Family, Kernel, Netlink, Pauses, Protocol, Table, Transaction};
use parking_lot::Mutex;
use tokio::{
    sync::{Notify, mpsc, oneshot},
    time::{sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    door::Request,
    model::{PodFacts, Policy},
    planner::{Planner, Uid},
};

/// How long the start of a pod waits for the API to tell of it; then it starts, isolated from everybody until it is known.
const UNKNOWN_GRACE: Duration = Duration::from_secs(2);

/// Of a pod that shows a static one: the uid that this has on its node.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

const COMPONENT: &str = "network-policy";

/// The name of the nft tables of a cluster's policies: one for each family that its pods have addresses of, `ip` or `ip6`.
pub fn table(instance: &InstanceId) -> String {
    format!("knarr-policy-{instance}")
}

/// What the component needs to know of the node.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our nft tables; see [`table`].
    pub table: String,
    pub node_name: String,
    /// At most one a family; pods have addresses of these families.
    pub cluster_cidrs: Vec<Prefix>,
    /// Where the node's own DNS server listens, at most one a family. Policies see it as the pod that serves DNS elsewhere: in `kube-system`, labelled
    /// `k8s-app: kube-dns`, with the ports `dns` and `dns-tcp`.
    pub node_local_dns: Vec<IpAddr>,
    /// Where the CNI plugin tells of addresses.
    pub socket: PathBuf,
    /// The plugin's directory, and the name of its network: who has an address already.
    pub cni_data_dir: PathBuf,
    pub cni_network: String,
}

impl Config {
    fn families(&self) -> Vec<Family> {
        let ranges = self.cluster_cidrs.iter();
        ranges.map(|range| Family::of(range.address())).collect()
    }
}

/// What is to be looked at, filled by informer handlers.
#[derive(Default)]
struct Dirty {
    keys: Mutex<HashSet<Key>>,
    wake: Notify,
}

/// In the order in which they are looked at: pods are matched by what is known of their namespaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    Namespace(String),
    Policy(String, String),
    /// By namespace, name and uid.
    Pod(String, String, String),
}

impl Dirty {
    fn add(&self, key: Key) {
        self.keys.lock().insert(key);
        self.wake.notify_one();
    }
}

/// The policies of one node.
pub struct NetworkPolicies {
    config: Config,
    families: Vec<Family>,
    policies: Informer<NetworkPolicy>,
    pods: Informer<Pod>,
    namespaces: Informer<Namespace>,
    recorder: Recorder,
    dirty: Arc<Dirty>,
    listener: UnixListener,
}

/// What policies are and are about.
type Watched = (Informer<NetworkPolicy>, Informer<Pod>, Informer<Namespace>);

/// A plugin that waits until its pod is known and isolated.
struct Waiting {
    pod: Uid,
    until: Instant,
    answer: oneshot::Sender<()>,
}

impl NetworkPolicies {
    /// Listens for the plugin from now on: `listener` is of [`listen`].
    pub fn new(
        config: Config,
        listener: UnixListener,
        client: kube::Client,
        informers: &Informers,
    ) -> Self {
        let informers = (
            informers.informer(),
            informers.informer(),
            informers.informer(),
        );
        Self::with(config, listener, client, informers)
    }

    /// Over informers that somebody else fills.
    pub fn with(
        config: Config,
        listener: UnixListener,
        client: kube::Client,
        (policies, pods, namespaces): Watched,
    ) -> Self {
        let dirty = Arc::new(Dirty::default());
        let marked = dirty.clone();
        namespaces.on_event(move |event: Event<Namespace>| {
            marked.add(Key::Namespace(event.object().name().to_owned()));
        });
        let marked = dirty.clone();
        policies.on_event(move |event: Event<NetworkPolicy>| {
            let policy = event.object();
            let (namespace, name) = (policy.namespace(), policy.name());
            marked.add(Key::Policy(namespace.to_owned(), name.to_owned()));
        });
        let marked = dirty.clone();
        pods.on_event(move |event: Event<Pod>| {
            if let Event::Updated { old, new } = &event {
                // One of the same name may be another.
                if uid_of(old) != uid_of(new) {
                    marked.add(pod_key(old));
                }
            }
            marked.add(pod_key(event.object()));
        });
        Self {
            recorder: Recorder::new(client, COMPONENT, config.node_name.as_str()),
            families: config.families(),
            config,
            policies,
            pods,
            namespaces,
            dirty,
            listener,
        }
    }

    /// Enforces until `token` is cancelled. Rules stay behind: pods stay isolated while knarr restarts.
    pub async fn run(self, token: CancellationToken) {
        let kernel = Netlink::of(self.tables().collect(), knarr_nft::Watched::Everything);
        token.run_until_cancelled(self.enforce(kernel)).await;
    }

    async fn enforce(self, kernel: impl Kernel) {
        let (told, notices) = mpsc::channel(door::QUEUE);
        let serve = async {
            match self.listener.try_clone() {
                Ok(listener) => door::serve(listener, &self.families, told).await,
                Err(error) => Err(error),
            }
        };
        tokio::select! {
            () = self.sync_loop(kernel, notices) => {}
            Err(error) = serve => warn!(%error, "cannot listen to the CNI plugin"),
        }
    }

    async fn sync_loop(&self, mut kernel: impl Kernel, mut notices: mpsc::Receiver<Request>) {
        self.namespaces.synced().await;
        self.policies.synced().await;
        self.pods.synced().await;
        let mut planner = self.planner();
        let mut pauses = Pauses::default();
        let mut waiting = Vec::new();
        // None of what is there is relied on.
        let mut replace = true;
        loop {
            while let Ok(told) = notices.try_recv() {
                handle(&mut planner, told, &mut waiting);
            }
            self.look(&mut planner);
            planner.fill_up();
            let transaction = self.transaction(&planner, replace);
            if !transaction.is_empty()
                && let Err(error) = kernel.apply(transaction, replace).await
            {
                self.refused(&error);
                // Plugins that have given up.
                waiting.retain(|waits: &Waiting| !waits.answer.is_closed());
                replace = true;
                sleep(pauses.next_pause()).await;
                continue;
            }
            if replace {
                info!(
                    pods = planner.isolated().len(),
                    "network policies are in force"
                );
            }
            replace = false;
            planner.changes = changes::Changes::default();
            self.complain(&mut planner);
            let next = answer(&planner, &mut waiting);
            tokio::select! {
                () = self.dirty.wake.notified() => {}
                Some(told) = notices.recv() => handle(&mut planner, told, &mut waiting),
                () = sleep_until(next.into()), if !waiting.is_empty() => {}
                () = kernel.changed() => {
                    warn!("another program has changed the network policies' rules; replacing all of them");
                    replace = true;
                    sleep(pauses.next_pause()).await;
                }
            }
        }
    }

    /// One that knows which pods have addresses here, whatever the API says.
    fn planner(&self) -> Planner {
        let mut planner = Planner::default();
        if !self.config.node_local_dns.is_empty() {
            let dns = dns_server(&self.config.node_local_dns);
            planner.set_pod(&"".into(), Some(dns));
        }
        match ipam::leases(&self.config.cni_data_dir, &self.config.cni_network) {
            Ok(leases) => {
                for lease in leases {
                    if let Some(pod) = lease.pod {
                        planner.claim(lease.address, &pod.into());
                    }
                }
            }
            Err(error) => {
                warn!(%error, "cannot see which pods have addresses; asking the API alone")
            }
        }
        planner
    }

    fn tables(&self) -> impl Iterator<Item = Table> {
        let families = self.families.iter();
        families.map(|family| layout::table(*family, &self.config.table))
    }

    /// What the planner wants of the kernel, in all families at once.
    fn transaction(&self, planner: &Planner, replace: bool) -> Transaction {
        let mut made = Transaction::new();
        for table in self.tables() {
            made.append(if replace {
                layout::whole(&table, &self.config.node_local_dns, planner)
            } else {
                layout::difference(&table, planner)
            });
        }
        let others = Family::BOTH
            .into_iter()
            .filter(|family| replace && !self.families.contains(family));
        for family in others {
            made.remove_table(&layout::table(family, &self.config.table));
        }
        made
    }

    /// What has changed in the API.
    fn look(&self, planner: &mut Planner) {
        let keys = std::mem::take(&mut *self.dirty.keys.lock());
        let mut keys: Vec<Key> = keys.into_iter().collect();
        keys.sort_unstable();
        if !keys.is_empty() {
            debug!(changes = keys.len(), "looking at what policies are about");
        }
        for key in keys {
            match key {
                Key::Namespace(name) => {
                    let namespace = self.namespaces.get("", &name);
                    let labels = namespace.map(|n| n.metadata.labels.clone().unwrap_or_default());
                    planner.set_namespace(&name, labels);
                }
                Key::Policy(namespace, name) => {
                    let policy = self.policies.get(&namespace, &name);
                    planner.set_policy(
                        &namespace,
                        &name,
                        policy.map(|p| Policy::of(&p, &self.families)),
                    );
                }
                Key::Pod(namespace, name, uid) => {
                    let pod = self.pods.get(&namespace, &name);
                    let pod = pod.filter(|pod| uid_of(pod) == &*uid);
                    let facts = pod.map(|pod| PodFacts::of(&pod, &self.config.node_name));
                    planner.set_pod(&uid.into(), facts);
                }
            }
        }
    }

    fn refused(&self, error: &knarr_nft::Error) {
        warn!(
            error = error as &dyn std::error::Error,
            "network policies were refused; those before stay in force, and no pod starts"
        );
        let node = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.config.node_name.clone()),
            uid: Some(self.config.node_name.clone()),
            ..ObjectReference::default()
        };
        let note = format!("The kernel refused changes of network policies: {error}");
        self.recorder
            .event(&node, WARNING, "NetworkPolicyNotEnforced", note);
    }

    fn complain(&self, planner: &mut Planner) {
        for (policy, note) in planner.take_complaints() {
            warn!(
                namespace = policy.namespace,
                policy = policy.name,
                note,
                "a network policy allows less than it says"
            );
            let reference = ObjectReference {
                api_version: Some("networking.k8s.io/v1".to_owned()),
                kind: Some("NetworkPolicy".to_owned()),
                namespace: Some(policy.namespace.clone()),
                name: Some(policy.name.clone()),
                uid: Some(policy.uid.clone()),
                ..ObjectReference::default()
            };
            self.recorder
                .event(&reference, WARNING, "NetworkPolicyLimited", note);
        }
    }
}

/// Listens at `socket` for the CNI plugin; before any pod can start.
///
/// # Errors
/// When the system refuses.
pub fn listen(socket: &std::path::Path) -> io::Result<UnixListener> {
    door::open(socket)
}

/// Removes every rule of a cluster's policies.
///
/// # Errors
/// When the kernel refuses.
pub async fn teardown(instance: &InstanceId) -> Result<(), knarr_nft::Error> {
    let mut gone = Transaction::new();
    for family in Family::BOTH {
        gone.remove_table(&layout::table(family, &table(instance)));
    }
    knarr_nft::apply(gone).await
}

fn handle(planner: &mut Planner, told: Request, waiting: &mut Vec<Waiting>) {
    let pod: Uid = told.notice.pod.into();
    let address = told.notice.address;
    match told.notice.change {
        Change::Add => planner.claim(address, &pod),
        Change::Remove => planner.release(address, &pod),
    }
    let grace = match told.notice.change {
        Change::Add => UNKNOWN_GRACE,
        Change::Remove => Duration::ZERO,
    };
    waiting.push(Waiting {
        pod,
        until: Instant::now() + grace,
        answer: told.answer,
    });
}

/// Answers those whose pods are isolated as they are to be; when to look again for the others.
fn answer(planner: &Planner, waiting: &mut Vec<Waiting>) -> Instant {
    let now = Instant::now();
    let mut next = now + UNKNOWN_GRACE;
    for waits in std::mem::take(waiting) {
        if waits.until <= now || planner.knows(&waits.pod) {
            // A plugin that does not wait any longer has failed, and says so to its runtime.
            let _ = waits.answer.send(());
        } else if !waits.answer.is_closed() {
            next = next.min(waits.until);
            waiting.push(waits);
        }
    }
    next
}

fn pod_key(pod: &Pod) -> Key {
    let meta = &pod.metadata;
    Key::Pod(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
        uid_of(pod).to_owned(),
    )
}

/// By which the plugin knows a pod: of a mirror, that of the static pod that it shows.
fn uid_of(pod: &Pod) -> &str {
    let annotations = pod.metadata.annotations.as_ref();
    let shown = annotations.and_then(|all| all.get(MIRROR_ANNOTATION));
    let uid = shown.or(pod.metadata.uid.as_ref());
    uid.map_or("", String::as_str)
}

/// Elsewhere DNS is served by a pod, and that is what policies allow or not.
fn dns_server(addresses: &[IpAddr]) -> PodFacts {
    let port = |protocol, name: &str| (protocol, name.to_owned(), 53);
    PodFacts {
        namespace: "kube-system".to_owned(),
        labels: [("k8s-app".to_owned(), "kube-dns".to_owned())].into(),
        addresses: addresses.to_vec(),
        named_ports: vec![port(Protocol::Udp, "dns"), port(Protocol::Tcp, "dns-tcp")],
        ..PodFacts::default()
    }
}

#[cfg(test)]
mod tests;
