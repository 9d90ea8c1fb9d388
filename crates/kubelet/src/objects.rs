//! What the node's pods refer to: ConfigMaps and Secrets with one watch an object, by name, shared by all pods that
//! use it and ended with the last of them. The node authorizer allows no more than that, and an idle kubelet holds
//! nothing it does not need. Trust bundles, which are selected by labels, and the node's own requests for certificates have one
//! watch each, while a pod has such a volume.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use knarr_client::certificates::{ClusterTrustBundle, PodCertificateRequest};
use knarr_client::{Informer, Object, Source};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{context, ephemeral};

/// How long a pod waits for the first read of an object before it counts as unreadable.
const SYNC_TIMEOUT: Duration = Duration::from_secs(10);

/// The kinds that are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    Secret,
    /// All of them.
    TrustBundles,
    /// All of this node.
    CertificateRequests,
}

impl Kind {
    /// Where one name stands for all objects.
    fn is_whole(self) -> bool {
        matches!(self, Kind::TrustBundles | Kind::CertificateRequests)
    }
}

type Key = (Kind, String, String);

/// Who wants to know of changes: by pod uid.
type Waiters = Arc<Mutex<HashMap<String, Arc<Notify>>>>;

enum Watched {
    ConfigMap(Informer<ConfigMap>),
    Secret(Informer<Secret>),
    TrustBundles(Informer<ClusterTrustBundle>),
    CertificateRequests(Informer<PodCertificateRequest>),
}

struct Entry {
    watched: Watched,
    waiters: Waiters,
    /// Told of every change, beside the pods.
    changed: Arc<Notify>,
    token: CancellationToken,
}

/// The store; clones share it.
#[derive(Clone)]
pub(crate) struct Objects {
    client: kube::Client,
    node: Arc<str>,
    tracker: TaskTracker,
    token: CancellationToken,
    entries: Arc<Mutex<HashMap<Key, Entry>>>,
}

/// An object could not be read in time.
#[derive(Debug, thiserror::Error)]
#[error("failed to sync {kind} cache: timed out waiting for the condition")]
pub(crate) struct Unavailable {
    kind: &'static str,
}

impl Objects {
    pub(crate) fn new(
        client: kube::Client,
        node: &str,
        tracker: TaskTracker,
        token: CancellationToken,
    ) -> Self {
        Self {
            client,
            node: node.into(),
            tracker,
            token,
            entries: Arc::default(),
        }
    }

    /// Starts watching what `pod` refers to; `changed` is told of every change until [`Self::release`].
    pub(crate) fn reference(&self, pod: &Pod, changed: &Arc<Notify>) {
        let uid = context::uid(pod).to_owned();
        for (kind, name) in references(pod) {
            let namespace = match kind.is_whole() {
                true => String::new(),
                false => context::namespace(pod).to_owned(),
            };
            let key = (kind, namespace, name);
            let mut entries = self.entries.lock();
            let entry = entries.entry(key).or_insert_with_key(|key| self.watch(key));
            entry.waiters.lock().insert(uid.clone(), changed.clone());
        }
    }

    /// The pod no longer needs anything.
    pub(crate) fn release(&self, uid: &str) {
        self.entries.lock().retain(|_, entry| {
            let mut waiters = entry.waiters.lock();
            let was = waiters.remove(uid).is_some();
            let keep = !(was && waiters.is_empty());
            if !keep {
                entry.token.cancel();
            }
            keep
        });
    }

    fn watch(&self, (kind, namespace, name): &Key) -> Entry {
        let token = self.token.child_token();
        let waiters = Waiters::default();
        let changed = Arc::new(Notify::new());
        let wake = {
            let (waiters, changed) = (waiters.clone(), changed.clone());
            move || {
                changed.notify_waiters();
                waiters
                    .lock()
                    .values()
                    .for_each(|waiter| waiter.notify_one())
            }
        };
        let named = |resource: &str| {
            let path = format!("/api/v1/namespaces/{namespace}/{resource}");
            (path, Some(format!("metadata.name={name}")))
        };
        let certificates = |resource: &str| format!("/apis/certificates.k8s.io/v1/{resource}");
        let watched = match kind {
            Kind::ConfigMap => Watched::ConfigMap(self.start(named("configmaps"), wake, &token)),
            Kind::Secret => Watched::Secret(self.start(named("secrets"), wake, &token)),
            Kind::TrustBundles => {
                let source = (certificates("clustertrustbundles"), None);
                Watched::TrustBundles(self.start(source, wake, &token))
            }
            Kind::CertificateRequests => {
                let own = format!("spec.nodeName={}", self.node);
                let source = (certificates("podcertificaterequests"), Some(own));
                Watched::CertificateRequests(self.start(source, wake, &token))
            }
        };
        Entry {
            watched,
            waiters,
            changed,
            token,
        }
    }

    fn start<K: Object>(
        &self,
        (path, field_selector): (String, Option<String>),
        wake: impl Fn() + Send + Sync + 'static,
        token: &CancellationToken,
    ) -> Informer<K> {
        let source = Source {
            path,
            label_selector: None,
            field_selector,
            metadata_only: false,
        };
        let informer = Informer::<K>::new();
        informer.on_event(move |_| wake());
        let run = informer
            .clone()
            .run(self.client.clone(), source, token.clone());
        self.tracker.spawn(run);
        informer
    }

    /// The ConfigMap as of now, `None` when there is none. The pod must have referenced it.
    pub(crate) async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<ConfigMap>>, Unavailable> {
        let key = (Kind::ConfigMap, namespace.to_owned(), name.to_owned());
        let informer = match self.entries.lock().get(&key).map(|e| &e.watched) {
            Some(Watched::ConfigMap(informer)) => informer.clone(),
            _ => return Ok(None),
        };
        synced(&informer, "configmap").await?;
        Ok(informer.get(namespace, name))
    }

    /// The Secret as of now, `None` when there is none. The pod must have referenced it.
    pub(crate) async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<Secret>>, Unavailable> {
        let key = (Kind::Secret, namespace.to_owned(), name.to_owned());
        let informer = match self.entries.lock().get(&key).map(|e| &e.watched) {
            Some(Watched::Secret(informer)) => informer.clone(),
            _ => return Ok(None),
        };
        synced(&informer, "secret").await?;
        Ok(informer.get(namespace, name))
    }

    /// The trust bundles as of now; none unless a pod has referenced them.
    pub(crate) async fn trust_bundles(&self) -> Result<Vec<Arc<ClusterTrustBundle>>, Unavailable> {
        let key = (Kind::TrustBundles, String::new(), String::new());
        let informer = match self.entries.lock().get(&key).map(|e| &e.watched) {
            Some(Watched::TrustBundles(informer)) => informer.clone(),
            _ => return Ok(Vec::new()),
        };
        synced(&informer, "clustertrustbundle").await?;
        Ok(informer.list())
    }

    /// One of this node's requests for certificates as of now; none unless a pod has referenced them.
    pub(crate) async fn certificate_request(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<PodCertificateRequest>>, Unavailable> {
        let key = (Kind::CertificateRequests, String::new(), String::new());
        let informer = match self.entries.lock().get(&key).map(|e| &e.watched) {
            Some(Watched::CertificateRequests(informer)) => informer.clone(),
            _ => return Ok(None),
        };
        synced(&informer, "podcertificaterequest").await?;
        Ok(informer.get(namespace, name))
    }

    /// Told of changes to this node's requests for certificates.
    pub(crate) fn certificate_requests_changed(&self) -> Option<Arc<Notify>> {
        let key = (Kind::CertificateRequests, String::new(), String::new());
        let entries = self.entries.lock();
        entries.get(&key).map(|entry| entry.changed.clone())
    }
}

async fn synced<K: Object>(informer: &Informer<K>, kind: &'static str) -> Result<(), Unavailable> {
    let waiting = tokio::time::timeout(SYNC_TIMEOUT, informer.synced()).await;
    waiting.map_err(|_| Unavailable { kind })
}

/// Everything a pod names: variables, volumes, pull secrets.
pub(crate) fn references(pod: &Pod) -> BTreeSet<(Kind, String)> {
    let mut found = BTreeSet::new();
    let Some(spec) = &pod.spec else { return found };
    let mut whole = BTreeSet::new();
    let mut add = |kind, name: &str| {
        if !name.is_empty() {
            found.insert((kind, name.to_owned()));
        }
    };
    for secret in spec.image_pull_secrets.iter().flatten() {
        add(Kind::Secret, &secret.name);
    }
    for container in spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
    {
        for (kind, name) in container_references(container) {
            add(kind, &name);
        }
    }
    for container in ephemeral::all(pod).map(ephemeral::container) {
        for (kind, name) in container_references(&container) {
            add(kind, &name);
        }
    }
    for volume in spec.volumes.iter().flatten() {
        if let Some(source) = &volume.config_map {
            add(Kind::ConfigMap, &source.name);
        }
        if let Some(source) = &volume.secret {
            add(
                Kind::Secret,
                source.secret_name.as_deref().unwrap_or_default(),
            );
        }
        for source in volume
            .projected
            .iter()
            .flat_map(|p| p.sources.iter().flatten())
        {
            if let Some(source) = &source.config_map {
                add(Kind::ConfigMap, &source.name);
            }
            if let Some(source) = &source.secret {
                add(Kind::Secret, &source.name);
            }
            if source.cluster_trust_bundle.is_some() {
                whole.insert(Kind::TrustBundles);
            }
            if source.pod_certificate.is_some() {
                whole.insert(Kind::CertificateRequests);
            }
        }
    }
    found.extend(whole.into_iter().map(|kind| (kind, String::new())));
    found
}

/// What the variables of one container name.
pub(crate) fn container_references(
    container: &k8s_openapi::api::core::v1::Container,
) -> HashSet<(Kind, String)> {
    let mut found = HashSet::new();
    for from in container.env_from.iter().flatten() {
        found.extend(
            from.config_map_ref
                .iter()
                .map(|r| (Kind::ConfigMap, r.name.clone())),
        );
        found.extend(
            from.secret_ref
                .iter()
                .map(|r| (Kind::Secret, r.name.clone())),
        );
    }
    for from in container
        .env
        .iter()
        .flatten()
        .filter_map(|e| e.value_from.as_ref())
    {
        found.extend(
            from.config_map_key_ref
                .iter()
                .map(|r| (Kind::ConfigMap, r.name.clone())),
        );
        found.extend(
            from.secret_key_ref
                .iter()
                .map(|r| (Kind::Secret, r.name.clone())),
        );
    }
    found
}
