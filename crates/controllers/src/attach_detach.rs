//! Has volumes of CSI drivers attached to the nodes of their pods, and detached from those that have unmounted them (upstream's
//! attach/detach controller).
//!
//! ```text
//! pods with a node, their claims and volumes -> wanted  \
//! VolumeAttachments of the node              -> held     > plan -> node.status.volumesAttached, then VolumeAttachments
//! node.status.volumesInUse, taints, Ready    -> mounted /
//! ```
//!
//! A driver's external-attacher does what a VolumeAttachment says; the node's kubelet mounts what `volumesAttached` names, having
//! written it to `volumesInUse` before. So a volume is taken from the one list first, then looked for in the other as the server
//! has it now, and only then detached. Nothing but the waits for nodes that are lost is kept in memory, and what was asked for and
//! has not been seen: a controller that starts anew plans from the objects. Attachments of other names than upstream's are somebody else's.
//!
//! One worker decides, as two could give a volume to two nodes.

mod desired;
mod observe;
mod plan;
mod pod_ref;
mod reports;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use knarr_client::{Event, Informer, WorkQueue, errors};
use knarr_volumes::{claim, csi, pod, volume};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::Instant;

pub(crate) use self::desired::is_over;
use self::desired::{ByHandle, OfDriver, OfVolume, Sources};
use self::plan::{Detach, Held, Observed, Plan, Wanted};
use self::pod_ref::PodRef;
use self::reports::{Memory, News};
use crate::claim_users::UsesClaim;
use crate::deletion;
use crate::events::{NORMAL, Recorder, WARNING};
use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

/// What is known beyond the objects.
#[derive(Default)]
struct State {
    nodes: HashMap<String, OfNode>,
    /// Attachments that were asked for and that the informer may not have yet, by name.
    assumed: HashMap<String, Assumed>,
}

/// An attachment that holds its volume although nothing may have shown it yet.
struct Assumed {
    attachment: Arc<VolumeAttachment>,
    /// When the server is asked whether it is there: at once where a write had no answer.
    ask_at: Instant,
}

/// What is known of a node beyond the objects.
#[derive(Default)]
struct OfNode {
    reports: Memory,
    /// Since when nobody has wanted an attachment.
    unwanted: HashMap<String, Instant>,
    /// What it had mounted when it was deleted.
    left: Option<Vec<String>>,
}

pub(crate) struct AttachDetach {
    client: kube::Client,
    recorder: Recorder,
    sources: Sources,
    nodes: Informer<Node>,
    attachments: Informer<VolumeAttachment>,
    state: Mutex<State>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("attachdetach-controller");
    let controller = Arc::new(AttachDetach {
        recorder: context.recorder(&client, "attachdetach-controller"),
        client,
        sources: Sources {
            pods: context.informers.informer(),
            claims: context.informers.informer(),
            volumes: context.informers.informer(),
            drivers: context.informers.informer(),
        },
        nodes: context.informers.informer(),
        attachments: context.informers.informer(),
        state: Mutex::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.sources.pods),
        synced(&controller.sources.claims),
        synced(&controller.sources.volumes),
        synced(&controller.sources.drivers),
        synced(&controller.nodes),
        synced(&controller.attachments),
    ];
    context.start(controller, WORKERS, informers);
}

impl AttachDetach {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.sources.pods.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.pod_changed(&event);
            }
        });
        let this = Arc::downgrade(self);
        self.sources.claims.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.claim_changed(event.object());
            }
        });
        let this = Arc::downgrade(self);
        self.sources.volumes.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.volume_changed(event.object());
            }
        });
        let this = Arc::downgrade(self);
        self.sources.drivers.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.driver_changed(&event);
            }
        });
        let this = Arc::downgrade(self);
        self.nodes.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.node_changed(&event);
            }
        });
        let this = Arc::downgrade(self);
        self.attachments.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.attachment_changed(&event);
            }
        });
    }

    fn wake(&self, node: impl Into<String>) {
        let node = node.into();
        if !node.is_empty() {
            self.queue.add(Key::new("", node));
        }
    }

    fn pod_changed(&self, event: &Event<Pod>) {
        let pod = event.object();
        if pod::claims(pod).next().is_none() {
            return;
        }
        let state = |pod: &Pod| (pods::node_name(pod).to_owned(), desired::is_over(pod));
        if let Event::Updated { old, new } = event
            && state(old) == state(new)
            && old.metadata.uid == new.metadata.uid
        {
            return;
        }
        self.wake(pods::node_name(pod));
    }

    fn claim_changed(&self, claim: &PersistentVolumeClaim) {
        let volume = (self.sources.volumes).get("", claim::volume_name(claim));
        if volume.is_some_and(|volume| csi::source(&volume).is_some()) {
            for user in (self.sources.pods).by_index(&UsesClaim(Key::of(claim))) {
                self.wake(pods::node_name(&user));
            }
        }
    }

    fn volume_changed(&self, volume: &PersistentVolume) {
        if csi::source(volume).is_some() {
            self.wake_users(volume);
            let name = OfVolume(volume::name(volume).to_owned());
            for attachment in self.attachments.by_index(&name) {
                self.wake(attachment.spec.node_name.as_str());
            }
        }
    }

    /// The nodes whose pods use a volume.
    fn wake_users(&self, volume: &PersistentVolume) {
        for node in self.sources.nodes_of(volume) {
            self.wake(node);
        }
    }

    fn driver_changed(&self, event: &Event<CSIDriver>) {
        let driver = event.object();
        if let Event::Updated { old, new } = event
            && csi::needs_attachment(Some(old)) == csi::needs_attachment(Some(new))
        {
            return;
        }
        let name = driver.metadata.name.clone().unwrap_or_default();
        for volume in self.sources.volumes.by_index(&OfDriver(name)) {
            self.volume_changed(&volume);
        }
    }

    fn node_changed(&self, event: &Event<Node>) {
        let node = event.object();
        let name = node.metadata.name.clone().unwrap_or_default();
        match event {
            Event::Updated { old, new } if plan::relevant(old) == plan::relevant(new) => return,
            Event::Added(_) | Event::Updated { .. } => {
                if let Some(known) = self.state.lock().nodes.get_mut(&name) {
                    known.left = None;
                }
            }
            Event::Deleted(last) => {
                let mounted = plan::volumes_in_use(last).to_vec();
                let mut state = self.state.lock();
                state.nodes.entry(name.clone()).or_default().left = Some(mounted);
            }
        }
        self.wake(name);
    }

    fn attachment_changed(&self, event: &Event<VolumeAttachment>) {
        let attachment = event.object();
        let name = attachment.metadata.name.as_deref().unwrap_or_default();
        self.state.lock().assumed.remove(name);
        self.wake(attachment.spec.node_name.as_str());
        // Other nodes may have waited for this one to give the volume back.
        if let Event::Deleted(_) = event
            && let Some(volume) = &attachment.spec.source.persistent_volume_name
            && let Some(volume) = self.sources.volumes.get("", volume)
            && let Some(source) = csi::source(&volume)
        {
            let id = ByHandle(source.driver.clone(), source.volume_handle.clone());
            for same in self.sources.volumes.by_index(&id) {
                self.wake_users(&same);
            }
        }
    }

    async fn execute(
        &self,
        node: &str,
        object: Option<&Node>,
        wanted: &BTreeMap<String, Wanted>,
        plan: Plan,
    ) -> Result<(), Error> {
        let mut live = None;
        if let Some(object) = object
            && plan::volumes_attached(object) != plan.report
        {
            live = self.report(node, &plan).await?;
        }
        let mut outcome = Ok(());
        for detach in &plan.detach {
            let detached = (self.detach(node, object.is_some(), detach, &mut live)).await;
            outcome = outcome.and(detached);
        }
        for attachment in &plan.attach {
            outcome = outcome.and(self.attach(attachment, wanted).await);
        }
        outcome
    }

    /// Says in the node's status what pods may mount; the node as it is then, where it exists.
    async fn report(&self, node: &str, plan: &Plan) -> Result<Option<Node>, Error> {
        let api: Api<Node> = Api::all(self.client.clone());
        let report = (!plan.report.is_empty()).then_some(&plan.report);
        let patch = json!({"status": {"volumesAttached": report}});
        let params = PatchParams::default();
        let answer = api.patch_status(node, &params, &Patch::Merge(&patch)).await;
        Ok(errors::optional(answer)?)
    }

    /// Detaches a volume, unless the node has mounted it meanwhile.
    async fn detach(
        &self,
        node: &str,
        exists: bool,
        detach: &Detach,
        live: &mut Option<Node>,
    ) -> Result<(), Error> {
        let meta = &detach.held.attachment.metadata;
        let id = meta.name.as_deref().unwrap_or_default();
        if exists && !detach.forced {
            if live.is_none() {
                let api: Api<Node> = Api::all(self.client.clone());
                *live = api.get_opt(node).await?;
            }
            let in_use = live.as_ref().map(plan::volumes_in_use).unwrap_or_default();
            if plan::is_mounted(in_use, id, node) {
                return Err(Error::Again("a volume that was to be detached is mounted"));
            }
        }
        if detach.forced {
            tracing::info!(node, attachment = id, "detaching without the node's word");
        }
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        deletion::delete(&api, meta, DeleteParams::default()).await?;
        Ok(())
    }

    async fn attach(
        &self,
        attachment: &VolumeAttachment,
        wanted: &BTreeMap<String, Wanted>,
    ) -> Result<(), Error> {
        let api: Api<VolumeAttachment> = Api::all(self.client.clone());
        let id = attachment.metadata.name.clone().unwrap_or_default();
        // Whatever becomes of the answer, the attachment may be there from now on.
        self.assume(&id, attachment.clone(), Duration::ZERO);
        match api.create(&PostParams::default(), attachment).await {
            Ok(made) => {
                self.assume(&id, made, observe::UNSEEN_EXPIRY);
                let node = &attachment.spec.node_name;
                self.remember(node, |reports| reports.waiting(&id, Instant::now()));
                Ok(())
            }
            Err(error) => {
                if errors::is_refusal(&error) && !errors::is_already_exists(&error) {
                    self.state.lock().assumed.remove(&id);
                }
                if !errors::is_already_exists(&error)
                    && let Some(wanted) = wanted.get(&id)
                {
                    let why = errors::message(&error);
                    self.tell(
                        wanted,
                        WARNING,
                        reports::FAILED,
                        &reports::failed(wanted, &why),
                    );
                }
                Err(error.into())
            }
        }
    }

    fn assume(&self, id: &str, attachment: VolumeAttachment, trusted_for: Duration) {
        let made = Assumed {
            attachment: Arc::new(attachment),
            ask_at: Instant::now() + trusted_for,
        };
        self.state.lock().assumed.insert(id.to_owned(), made);
    }

    fn remember<T>(&self, node: &str, memory: impl FnOnce(&mut Memory) -> T) -> T {
        let mut state = self.state.lock();
        memory(&mut state.nodes.entry(node.to_owned()).or_default().reports)
    }

    fn tell(&self, wanted: &Wanted, kind: &'static str, reason: &str, note: &str) {
        for pod in &wanted.pods {
            self.tell_pod(pod, kind, reason, note);
        }
    }

    fn tell_pod(&self, pod: &PodRef, kind: &'static str, reason: &str, note: &str) {
        self.recorder.event(&pod.reference(), kind, reason, note);
    }

    /// Tells pods how far their volumes are; when to look again for those that do not come.
    fn tell_news(
        &self,
        node: &str,
        wanted: &BTreeMap<String, Wanted>,
        held: &BTreeMap<String, Held>,
    ) -> Option<Duration> {
        let mut waits = false;
        for (id, wanted) in wanted {
            let Some(held) = held.get(id) else { continue };
            let of = &held.attachment;
            let news = self.remember(node, |reports| reports.news(id, of, wanted, Instant::now()));
            match news {
                News::Nothing => {}
                News::Attached => {
                    self.tell(
                        wanted,
                        NORMAL,
                        reports::SUCCEEDED,
                        &reports::attached(wanted),
                    );
                }
                News::Failed(why) => {
                    self.tell(
                        wanted,
                        WARNING,
                        reports::FAILED,
                        &reports::failed(wanted, &why),
                    );
                }
            }
            waits |= !plan::is_attached(of);
        }
        waits.then_some(reports::ATTACH_TIMEOUT)
    }

    /// Tells pods that another node has their volume, once.
    fn tell_conflicts(
        &self,
        node: &str,
        plan: &Plan,
        wanted: &BTreeMap<String, Wanted>,
        elsewhere: &BTreeMap<String, Vec<String>>,
    ) {
        for id in &plan.conflicts {
            let Some(wanted) = wanted.get(id) else {
                continue;
            };
            if !self.remember(node, |reports| reports.is_new_conflict(id, Instant::now())) {
                continue;
            }
            let nodes = elsewhere.get(id).map(Vec::as_slice).unwrap_or_default();
            let users = self.sources.users(&wanted.driver, &wanted.handle, nodes);
            for pod in &wanted.pods {
                let note = reports::conflict(wanted, pod, &users);
                self.tell_pod(pod, WARNING, reports::FAILED, &note);
            }
        }
    }
}

impl Reconciler for AttachDetach {
    const NAME: &'static str = "attach-detach";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let node = key.name.as_str();
        self.settle().await?;
        let object = self.nodes.get("", node);
        let wanted = self.sources.wanted(node);
        let held = self.held(node, object.as_deref(), &wanted);
        let elsewhere = self.elsewhere(node, &wanted);
        let left = self.left(node);
        let plan = plan::plan(&Observed {
            node,
            object: object.as_deref(),
            left: left.as_deref(),
            wanted: &wanted,
            held: &held,
            elsewhere: &elsewhere,
        });
        let waits = self.tell_news(node, &wanted, &held);
        self.tell_conflicts(node, &plan, &wanted, &elsewhere);
        self.forget(node, &wanted, &held);
        let again = [plan.again, waits].into_iter().flatten().min();
        if let Some(again) = again {
            self.queue.add_after(key.clone(), again);
        }
        self.execute(node, object.as_deref(), &wanted, plan).await
    }
}

#[cfg(test)]
mod tests;
