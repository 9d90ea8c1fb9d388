//! Brings PersistentVolumes and PersistentVolumeClaims together, and lets them go (upstream's persistent volume binder).
//!
//! One worker decides, as two could give one volume to two claims. Upstream looks at everything every 15 seconds; here a
//! volume that becomes free wakes the claims of its class, and a class those that name it. Volumes are made and removed by
//! provisioners, which the binder asks by annotations.

mod bind;
mod claim_plan;
mod indexes;
mod latest;
mod volume_plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_volumes::{claim, volume};
use kube::api::PostParams;
use kube::{Api, Resource};

use crate::claim_users::UsesClaim;
use crate::events::{Recorder, WARNING};
use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use claim_plan::EventRecord;
use indexes::{Names, OfClass, Wants, claim_key};
use latest::Latest;
use volume_plan::Holder;

const WORKERS: usize = 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    Claim(Key),
    Volume(String),
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Claim(key) => write!(f, "claim {key}"),
            Self::Volume(name) => write!(f, "volume {name}"),
        }
    }
}

pub(crate) struct PersistentVolumeBinder {
    client: kube::Client,
    recorder: Recorder,
    volumes: Latest<PersistentVolume>,
    claims: Latest<PersistentVolumeClaim>,
    classes: Informer<StorageClass>,
    pods: Informer<Pod>,
    queue: WorkQueue<Work>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("persistent-volume-binder");
    let controller = Arc::new(PersistentVolumeBinder {
        recorder: context.recorder(&client, "persistentvolume-controller"),
        client,
        volumes: Latest::new(context.informers.informer()),
        claims: Latest::new(context.informers.informer()),
        classes: context.informers.informer(),
        pods: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(controller.volumes.informer()),
        synced(controller.claims.informer()),
        synced(&controller.classes),
        synced(&controller.pods),
    ];
    context.start(controller, WORKERS, informers);
}

/// The newest of the classes marked as default, then the first by name.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<&str> {
    let default = classes
        .iter()
        .filter(|class| claim::is_default_class(class));
    let newest = default.min_by_key(|class| {
        let created = class
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0);
        (std::cmp::Reverse(created), class.metadata.name.clone())
    });
    newest.and_then(|class| class.metadata.name.as_deref())
}

impl PersistentVolumeBinder {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.volumes.informer().on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.volume_changed(&event);
            }
        });
        let this = Arc::downgrade(self);
        self.claims.informer().on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.claim_changed(&event);
            }
        });
        let this = Arc::downgrade(self);
        self.classes.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let class = event.object();
            let name = class.metadata.name.clone().unwrap_or_default();
            if !matches!(event, Event::Deleted(_)) {
                this.wake_claims(name);
                if claim::is_default_class(class) {
                    this.wake_claims(String::new());
                }
            }
        });
    }

    /// Claims of a class that wait for a volume.
    fn wake_claims(&self, class: String) {
        let claims = self.claims.informer().by_index(&OfClass(class));
        let keys = claims.iter().map(|claim| Key::of(&**claim));
        keys.for_each(|key| self.queue.add(Work::Claim(key)));
    }

    fn volume_changed(&self, event: &Event<PersistentVolume>) {
        let changed = event.object();
        let name = volume::name(changed).to_owned();
        let wanted = self.claims.informer().by_index(&Wants(name.clone()));
        let wanted = wanted.iter().map(|claim| Key::of(&**claim));
        let named = claim_key(changed);
        let keys = wanted.chain(named.clone());
        keys.for_each(|key| self.queue.add(Work::Claim(key)));
        if let Event::Deleted(_) = event {
            return self.volumes.forget(&Key::new("", name));
        }
        let free = named.is_none() && volume::phase(changed) == "Available";
        let was_free = matches!(event, Event::Updated { old, .. }
            if volume::claim_reference(old).is_none() && old.spec == changed.spec
                && volume::phase(old) == "Available");
        if free && !was_free {
            self.wake_claims(volume::class(changed).to_owned());
        }
        self.queue.add(Work::Volume(name));
    }

    fn claim_changed(&self, event: &Event<PersistentVolumeClaim>) {
        let changed = event.object();
        let key = Key::of(&**changed);
        let naming = self.volumes.informer().by_index(&Names(key.clone()));
        let naming = naming.iter().map(|v| volume::name(v).to_owned());
        let named = Some(claim::volume_name(changed).to_owned()).filter(|name| !name.is_empty());
        let volumes = naming.chain(named);
        volumes.for_each(|name| self.queue.add(Work::Volume(name)));
        if let Event::Deleted(_) = event {
            return self.claims.forget(&key);
        }
        self.queue.add(Work::Claim(key));
    }

    fn claims_api(&self, of: &PersistentVolumeClaim) -> Api<PersistentVolumeClaim> {
        let namespace = of.metadata.namespace.as_deref().unwrap_or_default();
        Api::namespaced(self.client.clone(), namespace)
    }

    fn volumes_api(&self) -> Api<PersistentVolume> {
        Api::all(self.client.clone())
    }

    fn note<K: Resource<DynamicType = ()>>(&self, about: &K, note: &EventRecord) {
        let about = about.object_ref(&());
        let message = note.message.clone();
        self.recorder.event(&about, note.kind, note.reason, message);
    }

    async fn write_claim(
        &self,
        claim: &PersistentVolumeClaim,
    ) -> Result<Arc<PersistentVolumeClaim>, Error> {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let api = self.claims_api(claim);
        Ok(self
            .claims
            .note(api.replace(name, &PostParams::default(), claim).await?))
    }

    async fn write_claim_status(&self, claim: Option<PersistentVolumeClaim>) -> Result<(), Error> {
        let Some(claim) = claim else { return Ok(()) };
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let api = self.claims_api(&claim);
        let answer = api
            .replace_status(name, &PostParams::default(), &claim)
            .await?;
        self.claims.note(answer);
        Ok(())
    }

    async fn write_volume(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Arc<PersistentVolume>, Error> {
        let (api, name) = (self.volumes_api(), volume::name(volume));
        Ok(self
            .volumes
            .note(api.replace(name, &PostParams::default(), volume).await?))
    }

    async fn write_volume_status(&self, volume: Option<PersistentVolume>) -> Result<(), Error> {
        let Some(volume) = volume else { return Ok(()) };
        let (api, name) = (self.volumes_api(), volume::name(&volume));
        let answer = api
            .replace_status(name, &PostParams::default(), &volume)
            .await?;
        self.volumes.note(answer);
        Ok(())
    }

    /// Binds both, or finishes what an earlier attempt began.
    async fn bind(
        &self,
        mut volume: Arc<PersistentVolume>,
        mut claim: Arc<PersistentVolumeClaim>,
    ) -> Result<(), Error> {
        if let Some(changed) = bind::volume_to_claim(&volume, &claim) {
            volume = self.write_volume(&changed).await?;
        }
        self.write_volume_status(bind::volume_phase(&volume, "Bound", None))
            .await?;
        if let Some(changed) = bind::claim_to_volume(&claim, &volume) {
            claim = self.write_claim(&changed).await?;
        }
        self.write_claim_status(bind::claim_status(&claim, &volume))
            .await
    }

    /// Volumes that a claim could have: those of its class, and those that name it.
    fn candidates(&self, key: &Key, claim: &PersistentVolumeClaim) -> Vec<Arc<PersistentVolume>> {
        let mut found = self.volumes.by_index(&Names(key.clone()));
        let class = OfClass(claim::class(claim).to_owned());
        found.extend(self.volumes.by_index(&class));
        found
    }

    fn waiting_pods(&self, key: &Key) -> Vec<String> {
        let users = self.pods.by_index(&UsesClaim(key.clone()));
        let waiting = users
            .iter()
            .filter(|pod| pods::node_name(pod).is_empty() && !pods::is_terminal(pod));
        let mut names: Vec<String> = waiting.filter_map(|p| p.metadata.name.clone()).collect();
        names.sort_unstable();
        names
    }

    async fn reconcile_claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(key) else {
            return Ok(());
        };
        let name = claim::volume_name(&claim);
        let named = match name {
            "" => None,
            name => self.volumes.get(&Key::new("", name)),
        };
        let classes = self.classes.list();
        let candidates = self.candidates(key, &claim);
        let step = claim_plan::plan(&claim_plan::Observed {
            claim: &claim,
            class: self.classes.get("", claim::class(&claim)).as_deref(),
            default_class: default_class(&classes),
            named,
            candidates: &candidates,
            waiting_pods: &self.waiting_pods(key),
        });
        self.execute_for_claim(claim, step).await
    }

    async fn execute_for_claim(
        &self,
        claim: Arc<PersistentVolumeClaim>,
        step: claim_plan::Step,
    ) -> Result<(), Error> {
        use claim_plan::Step;
        match step {
            Step::Nothing => Ok(()),
            Step::Bind(volume) => self.bind(volume, claim).await,
            Step::Pending(note) => {
                if let Some(note) = &note {
                    self.note(&*claim, note);
                }
                self.write_claim_status(bind::claim_phase(&claim, "Pending"))
                    .await
            }
            Step::Lost(note) => {
                let lost = bind::claim_phase(&claim, "Lost");
                if lost.is_some() {
                    self.note(&*claim, &note);
                }
                self.write_claim_status(lost).await
            }
            Step::SetClass(class) => {
                let mut changed = PersistentVolumeClaim::clone(&claim);
                changed.spec.get_or_insert_default().storage_class_name = Some(class);
                self.write_claim(&changed).await.map(drop)
            }
            Step::Provision { provisioner, note } => {
                if let Some(changed) = bind::provisioned(&claim, &provisioner) {
                    self.write_claim(&changed).await?;
                }
                self.note(&*claim, &note);
                Ok(())
            }
            Step::Conflict(note, why) => {
                self.note(&*claim, &note);
                Err(Error::Other(why))
            }
        }
    }

    async fn reconcile_volume(&self, name: &str) -> Result<(), Error> {
        let Some(volume) = self.volumes.get(&Key::new("", name)) else {
            return Ok(());
        };
        let holder = self.holder(&volume).await?;
        let step = volume_plan::plan(
            &volume,
            match &holder {
                None => Holder::Nobody,
                Some(None) => Holder::Gone,
                Some(Some(claim)) => Holder::Claim(claim),
            },
        );
        self.execute_for_volume(volume, holder.flatten(), step)
            .await
    }

    /// The claim that has the volume: `None` where it names none (or one that does not have it yet), `Some(None)` where the
    /// claim is gone. Only the server can say that: the volume's provisioner, or the scheduler, may have seen the claim
    /// before this informer does.
    async fn holder(
        &self,
        volume: &PersistentVolume,
    ) -> Result<Option<Option<Arc<PersistentVolumeClaim>>>, Error> {
        let reference = volume::claim_reference(volume);
        let holder = reference.and_then(|reference| reference.uid.as_deref());
        let (Some(key), Some(holder)) = (claim_key(volume), holder) else {
            return Ok(None);
        };
        if holder.is_empty() {
            return Ok(None);
        }
        let is_holder = |claim: &PersistentVolumeClaim| uid(claim) == holder;
        if let Some(claim) = self.claims.get(&key).filter(|claim| is_holder(claim)) {
            return Ok(Some(Some(claim)));
        }
        if matches!(volume::phase(volume), "Released" | "Failed") {
            return Ok(Some(None));
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = api.get_opt(&key.name).await?;
        Ok(Some(live.filter(is_holder).map(Arc::new)))
    }

    async fn execute_for_volume(
        &self,
        volume: Arc<PersistentVolume>,
        holder: Option<Arc<PersistentVolumeClaim>>,
        step: volume_plan::Step,
    ) -> Result<(), Error> {
        use volume_plan::Step;
        match step {
            Step::Nothing => Ok(()),
            Step::Phase(phase) => {
                self.write_volume_status(bind::volume_phase(&volume, phase, None))
                    .await
            }
            Step::Release => {
                self.write_volume_status(bind::volume_phase(&volume, "Released", None))
                    .await
            }
            Step::Fail(reason, message) => {
                let failed = bind::volume_phase(&volume, "Failed", Some(&message));
                self.write_volume_status(failed).await?;
                let kind = WARNING;
                self.note(
                    &*volume,
                    &EventRecord {
                        kind,
                        reason,
                        message,
                    },
                );
                Ok(())
            }
            Step::Unbind => {
                let free = self.write_volume(&bind::unbound(&volume)).await?;
                self.write_volume_status(bind::volume_phase(&free, "Available", None))
                    .await
            }
            Step::Mismatch => {
                self.note_mismatch(&volume, holder.as_deref());
                Ok(())
            }
            Step::WakeClaim => {
                if let Some(key) = claim_key(&volume) {
                    self.queue.add(Work::Claim(key));
                }
                Ok(())
            }
        }
    }

    fn note_mismatch(&self, volume: &PersistentVolume, holder: Option<&PersistentVolumeClaim>) {
        let Some(holder) = holder else { return };
        let (kind, reason) = (WARNING, "VolumeMismatch");
        let claim = holder.metadata.name.as_deref().unwrap_or_default();
        let message = format!(
            "Cannot bind PersistentVolume to requested PersistentVolumeClaim \"{claim}\" due to incompatible volumeMode."
        );
        self.note(
            volume,
            &EventRecord {
                kind,
                reason,
                message,
            },
        );
        let message = format!(
            "Cannot bind PersistentVolume \"{}\" to requested PersistentVolumeClaim due to incompatible volumeMode.",
            volume::name(volume)
        );
        self.note(
            holder,
            &EventRecord {
                kind,
                reason,
                message,
            },
        );
    }
}

impl Reconciler for PersistentVolumeBinder {
    const NAME: &'static str = "persistent-volume-binder";
    type Key = Work;

    fn queue(&self) -> &WorkQueue<Work> {
        &self.queue
    }

    async fn reconcile(&self, work: &Work) -> Result<(), Error> {
        match work {
            Work::Claim(key) => self.reconcile_claim(key).await,
            Work::Volume(name) => self.reconcile_volume(name).await,
        }
    }
}

#[cfg(test)]
mod tests;
