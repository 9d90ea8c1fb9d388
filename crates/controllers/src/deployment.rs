//! Deployments: ReplicaSets of one template each, rolled from the old ones to the new one.

mod new_set;
mod plan;
mod revision;
pub(crate) mod rollout;
mod status;
pub(crate) mod template;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use knarr_client::{Event, Informer, WorkQueue, errors};
use knarr_meta::clock;
use knarr_meta::labels::Selector;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource};

use crate::deletion;
use crate::events::{NORMAL, Recorder, WARNING};
use crate::owners;
use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use crate::written::{self, Written};
use plan::Op;

const WORKERS: usize = 5;

pub(crate) struct DeploymentController {
    client: kube::Client,
    recorder: Recorder,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    /// The deployment under no name, its ReplicaSets under theirs.
    written: Written,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("deployment-controller");
    let controller = Arc::new(DeploymentController {
        recorder: context.recorder(&client, "deployment-controller"),
        client,
        deployments: context.informers.informer(),
        sets: context.informers.informer(),
        pods: context.informers.informer(),
        written: Written::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.deployments),
        synced(&controller.sets),
        synced(&controller.pods),
    ];
    context.start(controller, WORKERS, informers);
}

impl DeploymentController {
    fn watch(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.deployments
            .on_event(move |event| queue.add(Key::of(&**event.object())));
        let this = Arc::downgrade(self);
        self.sets.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            if let Event::Updated { old, new } = &event
                && owners::controller_of(&old.metadata) != owners::controller_of(&new.metadata)
            {
                this.enqueue_owner(old);
            }
            if let (Event::Deleted(set), Some(owner)) =
                (&event, owners::controller_of(&event.object().metadata))
            {
                let key = Key::new(
                    set.metadata.namespace.as_deref().unwrap_or_default(),
                    &owner.name,
                );
                this.written
                    .forget_object(&key, set.metadata.name.as_deref().unwrap_or_default());
            }
            this.enqueue_owner(event.object());
        });
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            // Only the Recreate strategy waits for pods themselves, and only for the last ones to go.
            if let (Event::Deleted(pod), Some(this)) = (event, this.upgrade()) {
                this.enqueue_recreated(&pod);
            }
        });
    }

    fn enqueue_owner(&self, set: &ReplicaSet) {
        let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
        match owners::controller_of(&set.metadata) {
            Some(owner) if owner.kind == "Deployment" => {
                self.queue.add(Key::new(namespace, &owner.name))
            }
            Some(_) => {}
            None => {
                for deployment in self.deployments.list_in(namespace) {
                    if selector(&deployment)
                        .is_ok_and(|s| s.matches_option(set.metadata.labels.as_ref()))
                    {
                        self.queue.add(Key::of(&*deployment));
                    }
                }
            }
        }
    }

    fn enqueue_recreated(&self, pod: &Pod) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let Some(owner) =
            owners::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet")
        else {
            return;
        };
        let Some(set) = self.sets.get(namespace, &owner.name) else {
            return;
        };
        let Some(owner) = owners::controller_of(&set.metadata) else {
            return;
        };
        if self
            .deployments
            .get(namespace, &owner.name)
            .is_some_and(|d| !rollout::Bounds::of(&d).rolling)
        {
            self.queue.add(Key::new(namespace, &owner.name));
        }
    }

    /// Pods that have not ended, by the uid of their ReplicaSet; all of one namespace.
    fn running(&self, namespace: &str, sets: &[Arc<ReplicaSet>]) -> HashMap<String, usize> {
        let count = |set: &Arc<ReplicaSet>| {
            let pods = owners::controlled(&self.pods, namespace, uid(&**set));
            (
                uid(&**set).to_owned(),
                pods.iter().filter(|pod| !pods::is_terminal(pod)).count(),
            )
        };
        sets.iter().map(count).collect()
    }

    /// Until when to wait for what was written to be seen.
    fn unseen(&self, key: &Key, deployment: &Deployment) -> Option<Duration> {
        self.written.unseen(key, |name| match name {
            "" => Some(written::revision(deployment)),
            name => self
                .sets
                .get(&key.namespace, name)
                .map(|set| written::revision(&*set)),
        })
    }

    async fn execute(&self, deployment: &Deployment, op: Op) -> Result<(), Error> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), namespace);
        match op {
            Op::Create(set) => self.create(deployment, &sets, &set).await?,
            Op::Patch { name, patch } => {
                let patched = sets
                    .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                    .await?;
                self.written.note(&Key::of(deployment), &name, &patched);
            }
            Op::Delete { set } => {
                deletion::delete(&sets, &set.metadata, DeleteParams::default()).await?;
            }
            Op::Scaled { message } => {
                self.recorder.event(
                    &deployment.object_ref(&()),
                    NORMAL,
                    "ScalingReplicaSet",
                    message,
                );
            }
            Op::Status { status, revision } => {
                let mut written = deployment.clone();
                written.status = Some(*status);
                if let Some(revision) = revision {
                    let annotations = written.metadata.annotations.get_or_insert_default();
                    annotations.insert(revision::REVISION.to_owned(), revision);
                }
                self.write_status(&written).await?;
            }
        }
        Ok(())
    }

    async fn write_status(&self, deployment: &Deployment) -> Result<(), Error> {
        let namespace = deployment.metadata.namespace.as_deref().unwrap_or_default();
        let name = deployment.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Deployment> = Api::namespaced(self.client.clone(), namespace);
        let answer = api
            .replace_status(name, &PostParams::default(), deployment)
            .await?;
        self.written.note(&Key::of(deployment), "", &answer);
        Ok(())
    }

    async fn create(
        &self,
        deployment: &Deployment,
        api: &Api<ReplicaSet>,
        set: &ReplicaSet,
    ) -> Result<(), Error> {
        let name = set.metadata.name.as_deref().unwrap_or_default();
        let error = match api.create(&PostParams::default(), set).await {
            Ok(created) => {
                self.written.note(&Key::of(deployment), name, &created);
                return Ok(());
            }
            Err(error) => error,
        };
        if errors::is_already_exists(&error) {
            // Either it is the one this informer does not show yet, or another template has this hash.
            let existing = api.get(name).await?;
            let owned = owners::controller_of(&existing.metadata)
                .is_some_and(|owner| owner.uid == uid(deployment));
            let template = |rs: &ReplicaSet| {
                rs.spec
                    .as_ref()
                    .and_then(|s| s.template.clone())
                    .unwrap_or_default()
            };
            if !owned || !template::equal_ignoring_hash(&template(&existing), &template(set)) {
                let mut bumped = deployment.clone();
                let status = bumped.status.get_or_insert_default();
                // Any other one than before will do.
                let collisions = status.collision_count.unwrap_or(0);
                status.collision_count = Some(collisions.wrapping_add(1));
                self.write_status(&bumped).await?;
            }
        } else if !errors::is_namespace_terminating(&error) {
            let message = format!(
                "Failed to create new replica set {name:?}: {}",
                errors::message(&error)
            );
            let reason = status::reason::CREATE_ERROR;
            self.recorder.event(
                &deployment.object_ref(&()),
                WARNING,
                reason,
                message.as_str(),
            );
            if status::progress_deadline(deployment).is_some() {
                let mut failed = deployment.clone();
                let condition = status::new_condition(
                    status::PROGRESSING,
                    "False",
                    reason,
                    message,
                    clock::now(),
                );
                status::set_condition(failed.status.get_or_insert_default(), condition);
                if let Err(error) = self.write_status(&failed).await {
                    tracing::debug!(name, %error, "condition not written");
                }
            }
        }
        Err(error.into())
    }
}

fn selector(deployment: &Deployment) -> Result<Selector, Error> {
    let spec = deployment
        .spec
        .as_ref()
        .ok_or_else(|| Error::Other("deployment has no spec".to_owned()))?;
    let selector = Selector::from_label_selector(&spec.selector)
        .map_err(|error| Error::Other(format!("deployment has invalid label selector: {error}")))?;
    // An empty selector would select everything; it manages nothing.
    Ok(if selector.is_empty() {
        Selector::nothing()
    } else {
        selector
    })
}

impl Reconciler for DeploymentController {
    const NAME: &'static str = "deployment";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(deployment) = self.deployments.get(&key.namespace, &key.name) else {
            self.written.forget(key);
            return Ok(());
        };
        if let Some(left) = self.unseen(key, &deployment) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let selector = selector(&deployment)?;
        let candidates = owners::candidates(&self.sets, &key.namespace, uid(&*deployment));
        let claims = owners::claim(&deployment.metadata, &selector, candidates);
        let deployments = Api::namespaced(self.client.clone(), &key.namespace);
        let sets = Api::<ReplicaSet>::namespaced(self.client.clone(), &key.namespace);
        let owned = owners::execute(claims, &*deployment, &deployments, &sets).await?;
        let running = || self.running(&key.namespace, &owned);
        let plan = plan::plan(&deployment, &owned, running, clock::now());
        for op in plan.ops {
            tracing::trace!(%key, ?op, "executing");
            self.execute(&deployment, op).await?;
        }
        if let Some(delay) = plan.again_after {
            self.queue.add_after(key.clone(), delay);
        }
        Ok(())
    }
}
