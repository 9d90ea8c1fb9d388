//! ResourceClaims of pods: made from the templates that pods name, reserved for pods that are bound already, and given back when
//! nobody uses them any more.
//!
//! As upstream's `pkg/controller/resourceclaim`. The scheduler allocates and reserves; this controller does what is left before and
//! after. A claim that was made for a pod goes with it, or when the pod has ended.

mod plan;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};

use knarr_client::{Event, IndexKey, Informer, WorkQueue, errors};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde_json::{Value, json};

use self::plan::{FINALIZER, Release, release};
use crate::deletion;
use crate::events::{Recorder, WARNING};
use crate::owners;
use crate::runner::{self, Context, Error, Reconciler, synced, uid};

const WORKERS: usize = 5;
const MANAGER: &str = "ResourceClaimController";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Pod(runner::Key),
    Claim(runner::Key),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Pod(key) => write!(f, "pod {key}"),
            Key::Claim(key) => write!(f, "claim {key}"),
        }
    }
}

/// Pods by the claims that they use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Uses(runner::Key);

impl IndexKey<Pod> for Uses {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let claims = plan::claims(pod);
        let names = claims.filter_map(|claim| plan::claim_name(pod, claim));
        let extended = plan::extended_claim(pod).map(str::to_owned);
        names
            .chain(extended)
            .map(|name| Self(runner::Key::new(namespace, name)))
            .collect()
    }
}

/// Pods by the templates that they name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Names(runner::Key);

impl IndexKey<Pod> for Names {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let names =
            plan::claims(pod).filter_map(|claim| claim.resource_claim_template_name.as_deref());
        names
            .map(|name| Self(runner::Key::new(namespace, name)))
            .collect()
    }
}

pub(crate) struct ResourceClaims {
    client: kube::Client,
    recorder: Recorder,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    /// Claims that were made and that the informer may not have yet, by the pod's uid and its name for the claim.
    made: Mutex<HashMap<(String, String), String>>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("resource-claim-controller");
    let controller = Arc::new(ResourceClaims {
        recorder: context.recorder(&client, "resource_claim"),
        client,
        pods: context.informers.informer(),
        claims: context.informers.informer(),
        templates: context.informers.informer(),
        made: Mutex::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.pods),
        synced(&controller.claims),
        synced(&controller.templates),
    ];
    context.start(controller, WORKERS, informers);
}

impl ResourceClaims {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let pod = event.object();
            if plan::claims(pod).next().is_none() && plan::extended_claim(pod).is_none() {
                return;
            }
            match &event {
                Event::Deleted(_) => this.forget(uid(&**pod)),
                _ => this.queue.add(Key::Pod(runner::Key::of(&**pod))),
            }
            if plan::is_done(pod) || matches!(event, Event::Deleted(_)) {
                let used = Uses::keys_of(pod);
                used.into_iter()
                    .for_each(|uses| this.queue.add(Key::Claim(uses.0)));
            }
        });
        let this = Arc::downgrade(self);
        self.claims.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let claim = event.object();
            let key = runner::Key::of(&**claim);
            if let Some(owner) = owners::controller_of(&claim.metadata) {
                let pod = runner::Key::new(key.namespace.clone(), owner.name.clone());
                this.queue.add(Key::Pod(pod));
            }
            for pod in this.pods.by_index(&Uses(key.clone())) {
                this.queue.add(Key::Pod(runner::Key::of(&*pod)));
            }
            if !matches!(event, Event::Deleted(_)) {
                this.queue.add(Key::Claim(key));
            }
        });
        let this = Arc::downgrade(self);
        self.templates.on_event(move |event| {
            if let (Some(this), Event::Added(template)) = (this.upgrade(), &event) {
                for pod in this.pods.by_index(&Names(runner::Key::of(&**template))) {
                    this.queue.add(Key::Pod(runner::Key::of(&*pod)));
                }
            }
        });
    }

    fn forget(&self, uid: &str) {
        self.made.lock().retain(|(pod, _), _| pod != uid);
    }

    fn api(&self, namespace: &str) -> Api<ResourceClaim> {
        Api::namespaced(self.client.clone(), namespace)
    }

    async fn pod(&self, key: &runner::Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        if pod.metadata.deletion_timestamp.is_some() || plan::is_done(&pod) {
            return Ok(());
        }
        let mut new = Vec::new();
        for claim in plan::claims(&pod) {
            match self.ensure(key, &pod, claim).await {
                Ok(None) => {}
                Ok(Some(name)) => new.push((claim.name.clone(), name)),
                Err(error) => {
                    let note = format!("PodResourceClaim {}: {error}", claim.name);
                    if !error.is_race() && !error.is_namespace_terminating() {
                        let reason = "FailedResourceClaimCreation";
                        let about = pod.object_ref(&());
                        self.recorder.event(&about, WARNING, reason, note);
                    }
                    return Err(error);
                }
            }
        }
        if !new.is_empty() {
            let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
            let params = PatchParams::apply(MANAGER).force();
            let applied = plan::statuses(&pod, &new);
            api.patch_status(&key.name, &params, &Patch::Apply(&applied))
                .await?;
            return Ok(());
        }
        // The scheduler reserves what it binds; those that were bound without it are reserved here.
        if pod
            .spec
            .as_ref()
            .is_none_or(|spec| spec.node_name.is_none())
        {
            return Ok(());
        }
        for name in Uses::keys_of(&pod) {
            let claim = self.claims.get(&key.namespace, &name.0.name);
            if let Some(claim) = claim.filter(|claim| plan::needs_reservation(&pod, claim)) {
                self.reserve(&pod, &claim).await?;
            }
        }
        Ok(())
    }

    /// The name of the claim that is to be noted in the pod's status; `None` where it is noted, or is the user's.
    async fn ensure(
        &self,
        key: &runner::Key,
        pod: &Pod,
        claim: &k8s_openapi::api::core::v1::PodResourceClaim,
    ) -> Result<Option<String>, Error> {
        let Some(template) = claim.resource_claim_template_name.as_deref() else {
            return Ok(None);
        };
        let noted = plan::claim_name(pod, claim);
        let is_its = |there: &ResourceClaim| {
            owners::controller_of(&there.metadata).is_some_and(|owner| owner.uid == uid(pod))
        };
        if let Some(name) = &noted
            && self
                .claims
                .get(&key.namespace, name)
                .is_some_and(|there| is_its(&there))
        {
            self.made
                .lock()
                .remove(&(uid(pod).to_owned(), claim.name.clone()));
            return Ok(None);
        }
        let owned = owners::controlled(&self.claims, &key.namespace, uid(pod));
        let mut owned = owned.iter().filter(|there| plan::is_for(there, claim));
        if let Some(there) = owned.next() {
            return Ok(there.metadata.name.clone());
        }
        let id = (uid(pod).to_owned(), claim.name.clone());
        let made = self.made.lock().get(&id).cloned();
        if let Some(name) = made {
            // The informer is late, unless somebody deleted it at once.
            let there = errors::optional(self.api(&key.namespace).get(&name).await)?;
            if there.is_some() {
                return Ok((noted.as_ref() != Some(&name)).then_some(name));
            }
        }
        let Some(template) = self.templates.get(&key.namespace, template) else {
            return Err(Error::Other(format!(
                "resource claim template {template:?}: resourceclaimtemplate.resource.k8s.io {template:?} not found"
            )));
        };
        let wanted = plan::claim_of(pod, claim, &template);
        let created = self
            .api(&key.namespace)
            .create(&PostParams::default(), &wanted)
            .await;
        let created = created.map_err(|error| match errors::is_namespace_terminating(&error) {
            true => Error::Api(error),
            false => Error::Other(format!(
                "create ResourceClaim : {}",
                errors::message(&error)
            )),
        })?;
        let name = created.metadata.name.unwrap_or_default();
        self.made.lock().insert(id, name.clone());
        Ok(Some(name))
    }

    async fn reserve(&self, pod: &Pod, claim: &ResourceClaim) -> Result<(), Error> {
        let mut reserved = plan::reserved(claim).to_vec();
        reserved.push(plan::consumer(pod));
        let status = json!({"reservedFor": reserved});
        self.patch_status(claim, status).await?;
        Ok(())
    }

    /// Changes the status of the claim as it was seen: whoever changed it meanwhile goes first.
    async fn patch_status(
        &self,
        claim: &ResourceClaim,
        status: Value,
    ) -> Result<ResourceClaim, Error> {
        let meta = &claim.metadata;
        let patch =
            json!({"metadata": {"resourceVersion": meta.resource_version}, "status": status});
        let api = self.api(meta.namespace.as_deref().unwrap_or_default());
        let name = meta.name.as_deref().unwrap_or_default();
        let params = PatchParams::default();
        Ok(api
            .patch_status(name, &params, &Patch::Merge(&patch))
            .await?)
    }

    async fn claim(&self, key: &runner::Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let mut remaining = Vec::new();
        for consumer in plan::reserved(&claim) {
            if !plan::is_pod(consumer) || self.uses(key, consumer).await? {
                remaining.push(consumer.clone());
            }
        }
        let api = self.api(&key.namespace);
        if let Some(Release { status, finalizer }) = release(&claim, &remaining) {
            let mut latest = (*claim).clone();
            if let Some(status) = status {
                latest = self.patch_status(&claim, status).await?;
            }
            if finalizer {
                let kept = latest.metadata.finalizers.clone().unwrap_or_default();
                let kept: Vec<_> = kept.into_iter().filter(|f| f != FINALIZER).collect();
                let version = latest.metadata.resource_version;
                let patch = json!({"metadata": {"resourceVersion": version, "finalizers": kept}});
                api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                    .await?;
            }
        }
        if !remaining.is_empty() || claim.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        // The collector takes those of pods that are gone; a pod that has ended may stay for long.
        let Some(owner) = owners::controller_of(&claim.metadata).filter(|o| o.kind == "Pod") else {
            return Ok(());
        };
        let Some(pod) = self.pods.get(&key.namespace, &owner.name) else {
            return Ok(());
        };
        if uid(&*pod) != owner.uid || plan::is_done(&pod) {
            deletion::delete(&api, &claim.metadata, DeleteParams::default()).await?;
        }
        Ok(())
    }

    /// Whether a pod for which a claim is reserved may still use it. One that the informer does not know may be new.
    async fn uses(
        &self,
        key: &runner::Key,
        consumer: &k8s_openapi::api::resource::v1::ResourceClaimConsumerReference,
    ) -> Result<bool, Error> {
        if let Some(pod) = self.pods.get(&key.namespace, &consumer.name) {
            return Ok(uid(&*pod) == consumer.uid && !plan::is_done(&pod));
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = errors::optional(api.get(&consumer.name).await)?;
        Ok(live.is_some_and(|pod| uid(&pod) == consumer.uid))
    }
}

impl Reconciler for ResourceClaims {
    const NAME: &'static str = "resource-claim";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        match key {
            Key::Pod(key) => self.pod(key).await,
            Key::Claim(key) => self.claim(key).await,
        }
    }
}
