//! PodDisruptionBudgets: how many of a budget's pods may be evicted now.
//!
//! The API server takes evictions off the status that is written here, and notes there which pods it let go: until those are
//! gone, or have not gone for too long, they do not count as healthy.

mod plan;
mod scale;
mod stale;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_meta::clock;
use knarr_meta::labels::Selector;
use kube::api::PostParams;
use kube::{Api, Resource};

use crate::events::{NORMAL, Recorder, WARNING};
use crate::runner::{Context, Error, Key, Reconciler, synced};
use plan::Plan;
use scale::{Scale, Scales};
use stale::Stale;

const WORKERS: usize = 5;
const COMPONENT: &str = "controllermanager";

pub(crate) struct DisruptionController {
    client: kube::Client,
    recorder: Recorder,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    scales: Scales,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("disruption-controller");
    let scales = Scales::new(client.clone(), &context.informers);
    let stale = Arc::new(Stale::new(client.clone(), context.informers.informer()));
    stale.watch();
    let controller = Arc::new(DisruptionController {
        recorder: context.recorder(&client, COMPONENT),
        client,
        budgets: context.informers.informer(),
        pods: context.informers.informer(),
        scales,
        queue: WorkQueue::new(),
    });
    controller.watch();
    let mut informers = controller.scales.synced();
    informers.extend([synced(&controller.budgets), synced(&controller.pods)]);
    context.start(stale, 1, vec![synced(&controller.pods)]);
    context.start(controller, WORKERS, informers);
}

pub(crate) fn selector(budget: &PodDisruptionBudget) -> Result<Selector, String> {
    let selector = budget.spec.as_ref().and_then(|s| s.selector.as_ref());
    Selector::from_optional(selector).map_err(|error| error.to_string())
}

impl DisruptionController {
    fn watch(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.budgets
            .on_event(move |event| queue.add(Key::of(&**event.object())));
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.pod_changed(&event);
            }
        });
    }

    /// The budgets of a pod, also of one whose labels were others before.
    fn pod_changed(&self, event: &Event<Pod>) {
        let pod = event.object();
        let old = match event {
            Event::Updated { old, .. } => Some(old),
            _ => None,
        };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let selects = |budget: &PodDisruptionBudget, pod: &Pod| {
            let selector = selector(budget);
            selector.is_ok_and(|s| s.matches_option(pod.metadata.labels.as_ref()))
        };
        let mut present = Vec::new();
        for budget in self.budgets.list_in(namespace) {
            let selected = selects(&budget, pod);
            if selected || old.is_some_and(|old| selects(&budget, old)) {
                self.queue.add(Key::of(&*budget));
            }
            present.extend(selected.then_some(budget));
        }
        if let [first, _, ..] = &*present {
            let note = plan::several_note(pod, first);
            let about = pod.object_ref(&());
            self.event(&about, WARNING, "MultiplePodDisruptionBudgets", note);
        }
    }

    fn event(&self, about: &ObjectReference, type_: &'static str, reason: &str, note: String) {
        self.recorder.event(about, type_, reason, note);
    }

    /// What the status is to say; `Err` where that cannot be known.
    async fn plan(
        &self,
        budget: &PodDisruptionBudget,
        about: &ObjectReference,
        now: Timestamp,
    ) -> Result<Plan, String> {
        let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
        let selector = selector(budget).inspect_err(|error| {
            self.event(
                about,
                WARNING,
                "NoPods",
                format!("Failed to get pods: {error}"),
            );
        })?;
        let mut pods = self.pods.list_in(namespace);
        pods.retain(|pod| selector.matches_option(pod.metadata.labels.as_ref()));
        if pods.is_empty() {
            self.event(about, NORMAL, "NoPods", "No matching pods found".to_owned());
        }
        let counted = match plan::needs_scale(budget) {
            true => self.scales.of(namespace, &pods).await.map(Some),
            false => Ok(None),
        };
        let planned = counted.and_then(|scale| {
            let managed = scale.as_ref().map(|scale| scale.replicas);
            let plan = Plan::new(budget, &pods, managed, now)?;
            Ok((scale, plan))
        });
        let (scale, plan) = planned.inspect_err(|error| {
            let note = format!("Failed to calculate the number of expected pods: {error}");
            self.event(about, WARNING, "CalculateExpectedPodCountFailed", note);
        })?;
        if matches!(
            scale,
            Some(Scale {
                unmanaged: true,
                ..
            })
        ) {
            self.event(
                about,
                WARNING,
                "UnmanagedPods",
                plan::unmanaged_note(budget),
            );
        }
        for pod in &plan.late {
            let name = budget.metadata.name.as_deref().unwrap_or_default();
            let note =
                format!("Pod was expected by PDB {namespace}/{name} to be deleted but it wasn't");
            self.event(&pod.object_ref(&()), WARNING, "NotDeleted", note);
        }
        Ok(plan)
    }
}

impl Reconciler for DisruptionController {
    const NAME: &'static str = "disruption";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(budget) = self.budgets.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let now = clock::now();
        let planned = self.plan(&budget, &budget.object_ref(&()), now).await;
        let (new, recheck) = match planned {
            Ok(plan) => (plan::with_status(&budget, &plan, now), plan.recheck),
            // Nothing is let go by a budget about which nothing is known.
            Err(error) => (Some(plan::failed(&budget, &error, now)), None),
        };
        if let Some(new) = new.filter(|new| new.status != budget.status) {
            let api: Api<PodDisruptionBudget> =
                Api::namespaced(self.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &new)
                .await?;
        }
        if let Some(delay) = recheck {
            self.queue.add_after(key.clone(), delay);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
