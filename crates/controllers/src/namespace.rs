//! The end of a namespace: everything in it is deleted, then the namespace is let go.
//!
//! All reads are live here: an object that an informer does not show yet must not be left behind. While content is left, the
//! namespace is looked at again after a growing delay, as nothing tells when a foreign finalizer is done.

use knarr_meta::clock;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_client::{Informer, WorkQueue, errors};
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams, PostParams};
use kube::discovery::verbs;
use parking_lot::Mutex;
use tokio::time::timeout;

use crate::deletion;
use crate::resources::{self, ServedResource};
use crate::runner::{Context, Error, Key, Reconciler, synced};

/// As many as upstream's.
const WORKERS: usize = 10;
/// Longest look at one resource: an aggregated server that does not answer must not hold up the ends of other namespaces.
const RESOURCE_TIMEOUT: Duration = Duration::from_secs(10);
/// The finalizer in `spec.finalizers` that this controller removes.
const FINALIZER: &str = "kubernetes";
/// First and longest delay between looks at remaining content.
const RECHECK_MIN: Duration = Duration::from_millis(50);
const RECHECK_MAX: Duration = Duration::from_secs(5);

pub(crate) struct NamespaceController {
    client: kube::Client,
    namespaces: Informer<Namespace>,
    /// How often a namespace was found not empty.
    rechecks: Mutex<HashMap<String, u32>>,
    queue: WorkQueue<Key>,
}

/// It takes new objects.
pub(crate) fn is_active(namespace: &Namespace) -> bool {
    namespace.metadata.deletion_timestamp.is_none()
        && namespace
            .status
            .as_ref()
            .is_none_or(|s| s.phase.as_deref() != Some("Terminating"))
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(NamespaceController {
        client: context.client("namespace-controller"),
        namespaces: context.informers.informer(),
        rechecks: Mutex::default(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.namespaces.on_event(move |event| {
        if event.object().metadata.deletion_timestamp.is_some() {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.namespaces)];
    context.start(controller, WORKERS, informers);
}

/// What is left of a namespace's content, and what went wrong.
#[derive(Debug, Default)]
struct Remains {
    discovery_error: Option<String>,
    errors: Vec<String>,
    /// By resource, as conditions name it.
    objects: BTreeMap<String, usize>,
    finalizers: BTreeMap<String, usize>,
}

impl Remains {
    fn is_empty(&self) -> bool {
        self.discovery_error.is_none() && !self.has_content()
    }

    /// Something is left of what was looked at.
    fn has_content(&self) -> bool {
        !self.errors.is_empty() || !self.objects.is_empty()
    }
}

/// What a condition says when all is well, and the reason it gives when it is not.
struct ConditionKind {
    name: &'static str,
    bad_reason: &'static str,
    good_reason: &'static str,
    good_message: &'static str,
}

/// The conditions of a namespace that is being deleted, in upstream's order and words.
const CONDITIONS: [ConditionKind; 5] = [
    ConditionKind {
        name: "NamespaceDeletionDiscoveryFailure",
        bad_reason: "DiscoveryFailed",
        good_reason: "ResourcesDiscovered",
        good_message: "All resources successfully discovered",
    },
    ConditionKind {
        name: "NamespaceDeletionGroupVersionParsingFailure",
        bad_reason: "GroupVersionParsingFailed",
        good_reason: "ParsedGroupVersions",
        good_message: "All legacy kube types successfully parsed",
    },
    ConditionKind {
        name: "NamespaceDeletionContentFailure",
        bad_reason: "ContentDeletionFailed",
        good_reason: "ContentDeleted",
        good_message: "All content successfully deleted, may be waiting on finalization",
    },
    ConditionKind {
        name: "NamespaceContentRemaining",
        bad_reason: "SomeResourcesRemain",
        good_reason: "ContentRemoved",
        good_message: "All content successfully removed",
    },
    ConditionKind {
        name: "NamespaceFinalizersRemaining",
        bad_reason: "SomeFinalizersRemain",
        good_reason: "ContentHasNoFinalizers",
        good_message: "All content-preserving finalizers finished",
    },
];

/// What is wrong, in the order of [`CONDITIONS`].
fn problems(remains: &Remains) -> [Option<String>; CONDITIONS.len()] {
    let list = |counts: &BTreeMap<String, usize>, infix: &str| {
        let items: Vec<String> = counts
            .iter()
            .map(|(name, n)| format!("{name} {infix} {n} resource instances"))
            .collect();
        items.join(", ")
    };
    let failed = (!remains.errors.is_empty()).then(|| {
        let errors = remains.errors.join(", ");
        format!(
            "Failed to delete all resource types, {} remaining: {errors}",
            remains.errors.len()
        )
    });
    let left = (!remains.objects.is_empty()).then(|| {
        format!(
            "Some resources are remaining: {}",
            list(&remains.objects, "has")
        )
    });
    let held = (!remains.finalizers.is_empty()).then(|| {
        format!(
            "Some content in the namespace has finalizers remaining: {}",
            list(&remains.finalizers, "in")
        )
    });
    [remains.discovery_error.clone(), None, failed, left, held]
}

/// The five conditions of a namespace that is being deleted.
fn conditions(
    remains: &Remains,
    before: &[NamespaceCondition],
    now: Timestamp,
) -> Vec<NamespaceCondition> {
    let is_other = |condition: &&NamespaceCondition| {
        CONDITIONS.iter().all(|kind| kind.name != condition.type_)
    };
    let mut conditions: Vec<NamespaceCondition> = before.iter().filter(is_other).cloned().collect();
    for (kind, problem) in CONDITIONS.iter().zip(problems(remains)) {
        let (status, reason) = match problem {
            Some(_) => ("True", kind.bad_reason),
            None => ("False", kind.good_reason),
        };
        let old = before
            .iter()
            .find(|condition| condition.type_ == kind.name && condition.status == status);
        conditions.push(NamespaceCondition {
            type_: kind.name.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(problem.unwrap_or_else(|| kind.good_message.to_owned())),
            last_transition_time: old
                .and_then(|condition| condition.last_transition_time.clone())
                .or(Some(Time(now))),
        });
    }
    conditions
}

impl NamespaceController {
    /// Deletes all content and tells what is left of it. Pods go first, and nothing else until they have ended: what they
    /// use (network policies, say) must outlive them.
    async fn delete_content(&self, namespace: &str) -> Remains {
        let mut remains = Remains::default();
        let discovered = match resources::discover(&self.client).await {
            Ok(discovered) => discovered,
            Err(error) => {
                remains.discovery_error = Some(error.to_string());
                return remains;
            }
        };
        // What can be found goes all the same.
        remains.discovery_error = discovered.failure();
        let resources = discovered.resources.into_iter();
        let namespaced = resources.filter(|resource| resource.namespaced);
        let is_pods = |resource: &ServedResource| {
            resource.api.group.is_empty() && resource.api.plural == "pods"
        };
        let (pods, others): (Vec<_>, Vec<_>) = namespaced.partition(is_pods);
        for resources in [pods, others] {
            let deletions = resources
                .iter()
                .map(|resource| timeout(RESOURCE_TIMEOUT, self.delete_all(namespace, resource)));
            for (resource, result) in resources
                .iter()
                .zip(futures::future::join_all(deletions).await)
            {
                match result {
                    Ok(Ok(left)) if left.is_empty() => {}
                    Ok(Ok(left)) => {
                        remains.objects.insert(resource.dotted(), left.len());
                        for finalizer in left.into_iter().flatten() {
                            *remains.finalizers.entry(finalizer).or_default() += 1;
                        }
                    }
                    Ok(Err(error)) => remains.errors.push(format!(
                        "{}: {}",
                        resource.dotted(),
                        errors::message(&error)
                    )),
                    Err(_) => remains.errors.push(format!(
                        "{}: no answer in {} s",
                        resource.dotted(),
                        RESOURCE_TIMEOUT.as_secs()
                    )),
                }
            }
            if remains.has_content() {
                break;
            }
        }
        remains.errors.sort();
        remains
    }

    /// Deletes all objects of one resource; the finalizers of each that is still there.
    async fn delete_all(
        &self,
        namespace: &str,
        resource: &ServedResource,
    ) -> Result<Vec<Vec<String>>, kube::Error> {
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource.api);
        if !resource.supports(verbs::LIST) {
            return Ok(Vec::new());
        }
        let Some(found) = errors::optional(api.list_metadata(&ListParams::default()).await)? else {
            return Ok(Vec::new());
        };
        if found.items.is_empty() {
            return Ok(Vec::new());
        }
        if resource.supports(verbs::DELETE_COLLECTION) {
            errors::optional(
                api.delete_collection(&DeleteParams::background(), &ListParams::default())
                    .await,
            )?;
        } else {
            for object in found
                .items
                .iter()
                .filter(|object| object.metadata.deletion_timestamp.is_none())
            {
                deletion::delete(&api, &object.metadata, DeleteParams::background()).await?;
            }
        }
        let left = api.list_metadata(&ListParams::default()).await?;
        Ok(left
            .items
            .into_iter()
            .map(|object| object.metadata.finalizers.unwrap_or_default())
            .collect())
    }

    async fn write_conditions(
        &self,
        namespace: Namespace,
        remains: &Remains,
    ) -> Result<Namespace, Error> {
        let before = namespace
            .status
            .as_ref()
            .and_then(|s| s.conditions.clone())
            .unwrap_or_default();
        let conditions = conditions(remains, &before, clock::now());
        if conditions == before {
            return Ok(namespace);
        }
        let mut written = namespace;
        written.status.get_or_insert_default().conditions = Some(conditions);
        let name = written.metadata.name.clone().unwrap_or_default();
        let api: Api<Namespace> = Api::all(self.client.clone());
        Ok(api
            .replace_status(&name, &PostParams::default(), &written)
            .await?)
    }

    async fn finalize(&self, mut namespace: Namespace) -> Result<(), Error> {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        if let Some(finalizers) = namespace
            .spec
            .as_mut()
            .and_then(|spec| spec.finalizers.as_mut())
        {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let result = api
            .replace_subresource("finalize", &name, &PostParams::default(), &namespace)
            .await;
        errors::optional(result)?;
        Ok(())
    }

    fn recheck_delay(&self, name: &str) -> Duration {
        let mut rechecks = self.rechecks.lock();
        let count = rechecks.entry(name.to_owned()).or_default();
        *count += 1;
        RECHECK_MIN
            .saturating_mul(2u32.saturating_pow(*count - 1))
            .min(RECHECK_MAX)
    }
}

impl Reconciler for NamespaceController {
    const NAME: &'static str = "namespace";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let Some(namespace) = api.get_opt(&key.name).await? else {
            self.rechecks.lock().remove(&key.name);
            return Ok(());
        };
        let ours = |namespace: &Namespace| {
            let finalizers = namespace
                .spec
                .as_ref()
                .and_then(|spec| spec.finalizers.as_ref());
            finalizers
                .into_iter()
                .flatten()
                .any(|finalizer| finalizer == FINALIZER)
        };
        if namespace.metadata.deletion_timestamp.is_none() || !ours(&namespace) {
            return Ok(());
        }
        let remains = self.delete_content(&key.name).await;
        let namespace = self.write_conditions(namespace, &remains).await?;
        if remains.is_empty() {
            self.rechecks.lock().remove(&key.name);
            return self.finalize(namespace).await;
        }
        self.queue
            .add_after(key.clone(), self.recheck_delay(&key.name));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
