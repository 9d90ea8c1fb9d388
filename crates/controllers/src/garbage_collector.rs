//! Garbage collection: objects whose owners are all gone are deleted, in the background or before their owner (foreground),
//! or are left behind without an owner (orphaned).
//!
//! Every resource's metadata is watched into one graph by uid. Changes of the graph say what to look at; what is to be
//! deleted is looked at live before. Cross-namespace owners are refused by the lookup itself: an owner is searched in its
//! dependent's namespace, where it is not.

mod foreign;
mod graph;
mod monitors;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use knarr_client::{WorkQueue, errors};
use knarr_tasks::Tasks;
use kube::Api;
use kube::api::{
    DeleteParams, DynamicObject, Patch, PatchParams, Preconditions, PropagationPolicy,
};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use crate::deletion;
use crate::events::Recorder;
use crate::gone::Gone;
use crate::resources::{self, ServedResource};
use crate::runner::{Context, Error, Reconciler, Synced};
use graph::{FOREGROUND, Graph, Metadata, Node, ORPHAN, OwnerState, Uid, Work};

const WORKERS: usize = 8;
/// Longest look at one object, which takes a few requests: objects of an aggregated server that does not answer must not hold up the
/// collection of all others. They are tried again, later each time.
const DELETE_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct GarbageCollector {
    client: kube::Client,
    graph: Mutex<Graph>,
    resources: RwLock<Arc<Vec<ServedResource>>>,
    queue: WorkQueue<Work>,
    definitions_changed: Notify,
    begun: watch::Sender<bool>,
    gone: Gone,
    tasks: Tasks,
    recorder: Recorder,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("generic-garbage-collector");
    let collector = Arc::new(GarbageCollector {
        recorder: context.recorder(&client, "garbage-collector-controller"),
        client,
        graph: Mutex::default(),
        resources: RwLock::default(),
        queue: WorkQueue::new(),
        definitions_changed: Notify::new(),
        begun: watch::Sender::new(false),
        gone: context.gone.clone(),
        tasks: context.tasks.clone(),
    });
    let reader = context
        .clients
        .as_user("system:kube-controller-manager", &["system:authenticated"]);
    let monitoring = monitors::run(collector.clone(), reader, context.token.clone());
    let token = context.token.clone();
    context
        .tasks
        .keep("the garbage collector's monitors", async move {
            token.run_until_cancelled(monitoring).await;
        });
    let begun = collector.begun.clone();
    let ready = Synced::when(move || {
        let mut begun = begun.subscribe();
        async move {
            // The sender lives as long as this wait can be made.
            let _ = begun.wait_for(|begun| *begun).await;
        }
    });
    context.start(collector, WORKERS, vec![ready]);
}

/// An object as a live look found it.
struct Live {
    api: Api<DynamicObject>,
    name: String,
    metadata: ObjectMeta,
}

impl Live {
    async fn patch(&self, patch: Value) -> Result<(), Error> {
        let patched = self
            .api
            .patch_metadata(&self.name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        errors::optional(patched)?;
        Ok(())
    }

    /// Writes owner references, if the object is still as it was read.
    async fn set_owners(&self, owners: &[OwnerReference]) -> Result<(), Error> {
        let owners = if owners.is_empty() {
            Value::Null
        } else {
            json!(owners)
        };
        self.patch(json!({"metadata": {
            "resourceVersion": self.metadata.resource_version,
            "uid": self.metadata.uid,
            "ownerReferences": owners,
        }}))
        .await
    }

    async fn remove_finalizer(&self, finalizer: &str) -> Result<(), Error> {
        let before = self.metadata.finalizers.as_deref().unwrap_or_default();
        let left: Vec<&String> = before.iter().filter(|f| *f != finalizer).collect();
        if left.len() == before.len() {
            return Ok(());
        }
        let finalizers = if left.is_empty() {
            Value::Null
        } else {
            json!(left)
        };
        self.patch(json!({"metadata": {
            "resourceVersion": self.metadata.resource_version,
            "uid": self.metadata.uid,
            "finalizers": finalizers,
        }}))
        .await
    }

    /// Deletes it as it was read: an owner that was added since keeps it. Other changes do not, or what changes all the time
    /// would stay for ever.
    async fn delete(&self, policy: PropagationPolicy) -> Result<(), Error> {
        let params = |resource_version| DeleteParams {
            propagation_policy: Some(policy.clone()),
            preconditions: Some(Preconditions {
                resource_version,
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        let revision = self.metadata.resource_version.clone();
        let deleted = deletion::delete(&self.api, &self.metadata, params(revision)).await;
        match deleted {
            Err(error) if errors::is_conflict(&error) => {
                let now = self.api.get_metadata_opt(&self.name).await?;
                let unchanged = now.is_none_or(|now| {
                    now.metadata.uid == self.metadata.uid
                        && now.metadata.owner_references == self.metadata.owner_references
                });
                if !unchanged {
                    return Err(error.into());
                }
                Ok(deletion::delete(&self.api, &self.metadata, params(None)).await?)
            }
            deleted => Ok(deleted?),
        }
    }

    fn has_finalizer(&self, finalizer: &str) -> bool {
        self.metadata
            .finalizers
            .iter()
            .flatten()
            .any(|f| f == finalizer)
    }

    fn owners(&self) -> &[OwnerReference] {
        self.metadata
            .owner_references
            .as_deref()
            .unwrap_or_default()
    }
}

impl GarbageCollector {
    fn add(&self, work: Vec<Work>) {
        work.into_iter().for_each(|work| self.queue.add(work));
    }

    fn seen(&self, resource: &Arc<ServedResource>, metadata: &Metadata) {
        let work = self.graph.lock().upsert(resource, metadata);
        self.add(work);
    }

    fn removed(&self, uid: &str) {
        let work = self.graph.lock().remove(uid);
        self.add(work);
    }

    /// The kind of these objects is not served any more.
    fn unobserved<'a>(&self, uids: impl Iterator<Item = &'a str>) {
        let mut graph = self.graph.lock();
        uids.for_each(|uid| graph.unobserve(uid));
    }

    fn has_begun(&self) -> bool {
        *self.begun.borrow()
    }

    /// All resources are in the graph.
    fn begin(&self, resources: Vec<ServedResource>) {
        *self.resources.write() = Arc::new(resources);
        // Owners of kinds that were not served until now can be found now.
        let unseen = self.graph.lock().unseen();
        self.add(unseen);
        self.begun.send_replace(true);
    }

    fn api(&self, resource: &ServedResource, namespace: &str) -> Api<DynamicObject> {
        if resource.namespaced {
            Api::namespaced_with(self.client.clone(), namespace, &resource.api)
        } else {
            Api::all_with(self.client.clone(), &resource.api)
        }
    }

    /// The object at this place, if it is (still) the one of this uid.
    async fn look(
        &self,
        resource: &ServedResource,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<Option<Live>, Error> {
        let api = self.api(resource, namespace);
        let found = api.get_metadata_opt(name).await?;
        let same = found.filter(|object| object.metadata.uid.as_deref() == Some(uid));
        Ok(same.map(|object| Live {
            api,
            name: name.to_owned(),
            metadata: object.metadata,
        }))
    }

    /// What a reference of an object in `namespace` points to, seen live.
    async fn look_at_owner(
        &self,
        namespace: &str,
        owner: &OwnerReference,
    ) -> Result<OwnerState, Error> {
        let resources = self.resources.read().clone();
        let Some(resource) = resources::of_owner(&resources, owner) else {
            tracing::debug!(
                kind = owner.kind,
                api_version = owner.api_version,
                "owner of a kind that is not served"
            );
            return Ok(OwnerState::Unserved);
        };
        if resource.namespaced && namespace.is_empty() {
            return Ok(OwnerState::Invalid);
        }
        let live = self
            .look(resource, namespace, &owner.name, &owner.uid)
            .await?;
        Ok(match live {
            None => OwnerState::Absent,
            Some(live)
                if live.metadata.deletion_timestamp.is_some() && live.has_finalizer(FOREGROUND) =>
            {
                OwnerState::Waiting
            }
            Some(_) => OwnerState::Solid,
        })
    }

    async fn attempt_delete(&self, uid: &Uid) -> Result<(), Error> {
        let (node, held) = {
            let graph = self.graph.lock();
            let Some(node) = graph.get(uid) else {
                return Ok(());
            };
            (node.clone(), graph.is_held(node))
        };
        let Some(resource) = &node.resource else {
            return self.check_unseen(uid, &node).await;
        };
        let done = if node.deleting {
            !node.deleting_dependents
        } else {
            held
        };
        if done {
            return Ok(());
        }
        let Some(live) = self
            .look(resource, &node.namespace, &node.name, uid)
            .await?
        else {
            self.removed(uid);
            return Ok(());
        };
        let waits = live.has_finalizer(FOREGROUND);
        if live.metadata.deletion_timestamp.is_some() {
            return if waits {
                self.finish_foreground(uid, &live).await
            } else {
                Ok(())
            };
        }
        self.collect(uid, &node, &live).await
    }

    /// An owner that only references tell of: late, or gone.
    async fn check_unseen(&self, uid: &Uid, node: &Node) -> Result<(), Error> {
        let Some(reference) = &node.reference else {
            return Ok(());
        };
        match self.look_at_owner(&node.namespace, reference).await? {
            // Looked for again when more kinds are served.
            OwnerState::Unserved => Ok(()),
            // The informer may be late. Or it has seen neither its creation nor its deletion, because both were between a
            // watch and the list that replaced it: then nothing else would ever tell that it is gone.
            OwnerState::Solid | OwnerState::Waiting => {
                Err(Error::Again("the owner was not observed yet"))
            }
            OwnerState::Absent | OwnerState::Invalid => {
                let resources = self.resources.read().clone();
                let namespaced = resources::of_owner(&resources, reference)
                    .is_none_or(|resource| resource.namespaced);
                let place = (&*node.namespace, &**reference);
                let (work, again) = self.graph.lock().absent(uid, place, namespaced);
                self.add(work);
                match again {
                    true => Err(Error::Again(
                        "another reference describes the owner otherwise",
                    )),
                    false => Ok(()),
                }
            }
        }
    }

    /// An owner that waits for its dependents may go when none of them blocks it any more.
    async fn finish_foreground(&self, uid: &Uid, live: &Live) -> Result<(), Error> {
        let blocking = self.graph.lock().blocking_dependents(uid);
        if blocking.is_empty() {
            return live.remove_finalizer(FOREGROUND).await;
        }
        let not_waiting = blocking.into_iter().filter(|(_, waits)| !waits);
        self.add(
            not_waiting
                .map(|(dependent, _)| Work::Delete(dependent))
                .collect(),
        );
        Ok(())
    }

    /// Deletes an object whose owners are gone; one that keeps an owner only loses its references to the others.
    async fn collect(&self, uid: &Uid, node: &Node, live: &Live) -> Result<(), Error> {
        let mut states = Vec::with_capacity(live.owners().len());
        for owner in live.owners() {
            let known = self.graph.lock().state_of(&node.namespace, owner);
            states.push(match known {
                Some(state) => state,
                None => self.look_at_owner(&node.namespace, owner).await?,
            });
            self.tell_if_foreign(uid, node, owner);
        }
        if states.is_empty() || states.contains(&OwnerState::Invalid) {
            return Ok(());
        }
        let holds = |state: &OwnerState| matches!(state, OwnerState::Solid | OwnerState::Unserved);
        if states.iter().any(holds) {
            let kept: Vec<OwnerReference> = (live.owners().iter().zip(&states))
                .filter(|(_, state)| holds(state))
                .map(|(owner, _)| owner.clone())
                .collect();
            return if kept.len() < states.len() {
                live.set_owners(&kept).await
            } else {
                Ok(())
            };
        }
        let waited_for = states.contains(&OwnerState::Waiting);
        if waited_for && !node.dependents.is_empty() {
            return self.delete_in_foreground(uid, live).await;
        }
        let policy = if live.has_finalizer(ORPHAN) {
            PropagationPolicy::Orphan
        } else if live.has_finalizer(FOREGROUND) {
            PropagationPolicy::Foreground
        } else {
            PropagationPolicy::Background
        };
        tracing::debug!(namespace = %node.namespace, name = %node.name, ?policy, "deleting an object without owner");
        live.delete(policy).await
    }

    /// Its owner waits for it, and it has dependents: they go before it, as it goes before its owner.
    async fn delete_in_foreground(&self, uid: &Uid, live: &Live) -> Result<(), Error> {
        let in_cycle = {
            let graph = self.graph.lock();
            let waits = |dependent: &Uid| {
                graph
                    .get(dependent)
                    .is_some_and(|node| node.deleting_dependents)
            };
            graph
                .get(uid)
                .is_some_and(|node| node.dependents.iter().any(waits))
        };
        if in_cycle {
            // A dependent waits as well, perhaps for this one: nobody may wait for it, or all would for ever.
            let mut owners = live.owners().to_vec();
            owners
                .iter_mut()
                .for_each(|owner| owner.block_owner_deletion = Some(false));
            if owners != live.owners() {
                live.set_owners(&owners).await?;
            }
        }
        live.delete(PropagationPolicy::Foreground).await
    }

    async fn attempt_orphan(&self, uid: &Uid) -> Result<(), Error> {
        let (node, dependents) = {
            let graph = self.graph.lock();
            let Some(node) = graph.get(uid) else {
                return Ok(());
            };
            let dependents: Vec<(Uid, Node)> = node
                .dependents
                .iter()
                .filter_map(|d| Some((d.clone(), graph.get(d)?.clone())))
                .collect();
            (node.clone(), dependents)
        };
        let Some(resource) = &node.resource else {
            return Ok(());
        };
        for (dependent_uid, dependent) in dependents {
            let Some(resource) = &dependent.resource else {
                continue;
            };
            let Some(live) = self
                .look(
                    resource,
                    &dependent.namespace,
                    &dependent.name,
                    &dependent_uid,
                )
                .await?
            else {
                continue;
            };
            let kept: Vec<OwnerReference> = live
                .owners()
                .iter()
                .filter(|owner| *owner.uid != **uid)
                .cloned()
                .collect();
            if kept.len() < live.owners().len() {
                live.set_owners(&kept).await?;
            }
        }
        match self
            .look(resource, &node.namespace, &node.name, uid)
            .await?
        {
            Some(live) => live.remove_finalizer(ORPHAN).await,
            None => Ok(()),
        }
    }
}

impl Reconciler for GarbageCollector {
    const NAME: &'static str = "garbage-collector";
    type Key = Work;

    fn queue(&self) -> &WorkQueue<Work> {
        &self.queue
    }

    async fn reconcile(&self, work: &Work) -> Result<(), Error> {
        match work {
            Work::Delete(uid) => timeout(DELETE_TIMEOUT, self.attempt_delete(uid))
                .await
                .unwrap_or(Err(Error::Again(
                    "no answer of who serves it or its owners",
                ))),
            Work::Orphan(uid) => self.attempt_orphan(uid).await,
        }
    }
}

#[cfg(test)]
mod tests;
