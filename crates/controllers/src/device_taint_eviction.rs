//! NoExecute taints of devices: pods whose claims have such a device, and do not tolerate its taint, are deleted.
//!
//! As upstream's `pkg/controller/devicetainteviction`. Taints come from ResourceSlices and from DeviceTaintRules; how far the
//! eviction for a rule is is told in the rule's status.

mod plan;
mod status;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceSlice};
use knarr_client::{Event, IndexKey, Informer, WorkQueue, errors};
use knarr_devices::taints::DeviceTaintRule;
use knarr_meta::clock;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Resource};
use parking_lot::Mutex;
use serde_json::json;

use self::plan::{Eviction, Pool, View};
use crate::deletion;
use crate::events::{NORMAL, Recorder};
use crate::runner::{self, Context, Error, Reconciler, synced, uid};

const WORKERS: usize = 4;
/// How often a rule's status is written at most.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
const MANAGER: &str = "device-taint-eviction-controller";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Pod(runner::Key),
    /// By name.
    Rule(String),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Pod(key) => write!(f, "pod {key}"),
            Key::Rule(name) => write!(f, "rule {name}"),
        }
    }
}

/// Pods by the claims that they use.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Uses(runner::Key);

impl IndexKey<Pod> for Uses {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let names = plan::claim_names(pod).into_iter();
        names
            .map(|(name, _)| Self(runner::Key::new(namespace, name)))
            .collect()
    }
}

/// Claims by the pools that they have devices of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Has(Pool);

impl IndexKey<ResourceClaim> for Has {
    fn keys_of(claim: &ResourceClaim) -> Vec<Self> {
        plan::pools(claim).into_iter().map(Self).collect()
    }
}

/// Slices by their pools.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Of(Pool);

impl IndexKey<ResourceSlice> for Of {
    fn keys_of(slice: &ResourceSlice) -> Vec<Self> {
        vec![Self(Pool::of(slice))]
    }
}

pub(crate) struct DeviceTaintEviction {
    client: kube::Client,
    recorder: Recorder,
    pods: Informer<Pod>,
    claims: Informer<ResourceClaim>,
    slices: Informer<ResourceSlice>,
    rules: Informer<DeviceTaintRule>,
    /// How many pods have been evicted for each rule, by its uid.
    evicted: Mutex<HashMap<String, u64>>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client(MANAGER);
    let controller = Arc::new(DeviceTaintEviction {
        recorder: context.recorder(&client, "device_taint_eviction"),
        client,
        pods: context.informers.informer(),
        claims: context.informers.informer(),
        slices: context.informers.informer(),
        rules: context.informers.informer(),
        evicted: Mutex::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.pods),
        synced(&controller.claims),
        synced(&controller.slices),
        synced(&controller.rules),
    ];
    context.start(controller, WORKERS, informers);
}

impl DeviceTaintEviction {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let pod = event.object();
            let is_new = match &event {
                Event::Added(_) => true,
                Event::Updated { old, new } => plan::is_moved(old, new),
                Event::Deleted(_) => false,
            };
            if is_new && !plan::claim_names(pod).is_empty() {
                this.queue.add(Key::Pod(runner::Key::of(&**pod)));
            }
        });
        let this = Arc::downgrade(self);
        self.claims.on_event(move |event| {
            if let (Some(this), Event::Added(claim) | Event::Updated { new: claim, .. }) =
                (this.upgrade(), &event)
            {
                this.look_at_users(claim);
            }
        });
        let this = Arc::downgrade(self);
        self.slices.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let tainted = match &event {
                Event::Added(slice) => plan::has_taints(slice),
                Event::Updated { old, new } => plan::has_taints(old) || plan::has_taints(new),
                Event::Deleted(slice) => plan::has_taints(slice),
            };
            if tainted {
                let pool = Pool::of(event.object());
                for claim in this.claims.by_index(&Has(pool)) {
                    this.look_at_users(&claim);
                }
            }
        });
        let this = Arc::downgrade(self);
        self.rules.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let changed = match &event {
                Event::Added(_) => true,
                Event::Updated { old, new } => old.spec != new.spec,
                Event::Deleted(gone) => {
                    this.evicted.lock().remove(uid(&**gone));
                    return;
                }
            };
            let rule = event.object();
            if changed {
                let name = rule.metadata.name.clone().unwrap_or_default();
                this.queue.add(Key::Rule(name));
                for claim in this.claims.list() {
                    if plan::selects(rule, &claim) {
                        this.look_at_users(&claim);
                    }
                }
            }
        });
    }

    fn look_at_users(&self, claim: &ResourceClaim) {
        for pod in self.pods.by_index(&Uses(runner::Key::of(claim))) {
            self.queue.add(Key::Pod(runner::Key::of(&*pod)));
        }
    }

    /// What is decided from; `instead` stands for the rule of its name.
    fn view<'v>(&'v self, instead: Option<&'v Arc<DeviceTaintRule>>) -> View<'v> {
        let mut rules = self.rules.list();
        if let Some(instead) = instead {
            rules.retain(|rule| rule.metadata.name != instead.metadata.name);
            rules.push(instead.clone());
        }
        rules.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        View {
            rules,
            claim: Box::new(|namespace, name| self.claims.get(namespace, name)),
            slices: Box::new(|pool| self.slices.by_index(&Of(pool.clone()))),
        }
    }

    async fn pod(&self, key: &runner::Key) -> Result<(), Error> {
        let pod = self.pods.get(&key.namespace, &key.name);
        let Some(pod) = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
            return Ok(());
        };
        let Some(eviction) = plan::eviction(&self.view(None), &pod) else {
            return Ok(());
        };
        let now = clock::now();
        if eviction.at > now {
            let left = Duration::try_from(now.duration_until(eviction.at)).unwrap_or_default();
            self.queue.add_after(Key::Pod(key.clone()), left);
            return Ok(());
        }
        self.evict(key, &pod, &eviction).await
    }

    async fn evict(&self, key: &runner::Key, pod: &Pod, eviction: &Eviction) -> Result<(), Error> {
        let reason = "DeviceTaintManagerEviction";
        let about = pod.object_ref(&());
        self.recorder
            .event(&about, NORMAL, reason, "Marking for deletion");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByDeviceTaintManager",
                "message": "Device Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": knarr_meta::time::format_seconds(clock::now()),
            }]},
        });
        let patched = api
            .patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        if errors::optional(patched)?.is_none() {
            return Ok(());
        }
        deletion::delete(&api, &pod.metadata, DeleteParams::default()).await?;
        for rule in &eviction.rules {
            let mut evicted = self.evicted.lock();
            let count = evicted.entry(uid(&**rule).to_owned()).or_default();
            *count = count.saturating_add(1);
            let name = rule.metadata.name.clone().unwrap_or_default();
            self.queue.add_after(Key::Rule(name), STATUS_PERIOD);
        }
        Ok(())
    }

    async fn rule(&self, name: &str) -> Result<(), Error> {
        let Some(rule) = self.rules.get("", name) else {
            return Ok(());
        };
        let now = clock::now();
        if let Some(left) = status::wait(&rule, now, STATUS_PERIOD) {
            self.queue.add_after(Key::Rule(name.to_owned()), left);
            return Ok(());
        }
        let counts = self.count(&rule);
        let Some(condition) = status::condition(&rule, &counts, now) else {
            return Ok(());
        };
        let api: Api<DeviceTaintRule> = Api::all(self.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        let applied = json!({
            "apiVersion": "resource.k8s.io/v1", "kind": "DeviceTaintRule",
            "metadata": {"name": name, "uid": rule.metadata.uid},
            "status": {"conditions": [condition]},
        });
        let patched = api
            .patch_status(name, &params, &Patch::Apply(&applied))
            .await;
        errors::optional(patched)?;
        Ok(())
    }

    /// Whom a rule concerns. Of one without an effect: whom it would.
    fn count(&self, rule: &Arc<DeviceTaintRule>) -> status::Counts {
        let mut counts = status::Counts {
            evicted: self.evicted.lock().get(uid(&**rule)).copied().unwrap_or(0),
            ..Default::default()
        };
        let acting = status::as_if_acting(rule);
        if acting.spec.taint.effect != plan::NO_EXECUTE {
            return counts;
        }
        let view = self.view(Some(&acting));
        for claim in self
            .claims
            .list()
            .iter()
            .filter(|claim| plan::selects(&acting, claim))
        {
            counts.allocated = counts
                .allocated
                .saturating_add(plan::selected(&acting, claim));
            for pod in self.pods.by_index(&Uses(runner::Key::of(&**claim))) {
                let ends = pod.metadata.deletion_timestamp.is_some();
                let eviction = plan::eviction(&view, &pod).filter(|_| !ends);
                let rules = eviction.map(|eviction| eviction.rules).unwrap_or_default();
                if rules.iter().any(|one| uid(&**one) == uid(&**rule)) {
                    counts.pods.insert(runner::Key::of(&*pod));
                }
            }
        }
        if rule.spec.taint.effect != acting.spec.taint.effect {
            counts.published = plan::published(&acting, &self.slices.list());
        }
        counts
    }
}

impl Reconciler for DeviceTaintEviction {
    const NAME: &'static str = "device-taint-eviction";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        match key {
            Key::Pod(key) => self.pod(key).await,
            Key::Rule(name) => self.rule(name).await,
        }
    }
}
