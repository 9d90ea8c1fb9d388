//! HorizontalPodAutoscalers: as many replicas as metrics ask for, within bounds and not too fast.
//!
//! As upstream's `pkg/controller/podautoscaler` with its default flags. Metrics come without events, so each autoscaler is looked at
//! every [`PERIOD`]: the scale of its target is read, each metric proposes a number (`replicas`), the largest is held
//! within what was asked for lately and what policies allow (`behavior`), and written to the scale. What was asked for is kept in
//! memory only.

mod behavior;
mod evaluate;
mod metrics;
mod replicas;
mod scale;
mod status;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricStatus,
};
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_client::{Event, Informer, WorkQueue};
use knarr_meta::clock;
use knarr_meta::labels::Selector;
use kube::api::PostParams;
use kube::{Api, Resource};
use parking_lot::Mutex;

use self::behavior::{History, Wanted, normalize};
use self::evaluate::{Asked, Proposals, Subject, evaluate_all};
use self::metrics::Metrics;
use self::replicas::{Target, Tolerances};
use self::status::{ABLE_TO_SCALE, Draft, SCALED_TO_ZERO, SCALING_ACTIVE, SCALING_LIMITED};
use crate::events::{NORMAL, Recorder, WARNING};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 5;
/// How often an autoscaler is looked at.
const PERIOD: Duration = Duration::from_secs(15);
/// Metrics of one autoscaler. Each is a request and perhaps an event at every look, and thousands fit into an object.
const MAX_METRICS: usize = 64;
const TOLERANCE: f64 = 0.1;
const COMPONENT: &str = "horizontal-pod-autoscaler";

pub(crate) struct Autoscaler {
    client: kube::Client,
    recorder: Recorder,
    metrics: Metrics,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    pods: Informer<Pod>,
    memory: Mutex<HashMap<Key, Memory>>,
    queue: WorkQueue<Key>,
}

/// What is known of an autoscaler from before.
#[derive(Default)]
struct Memory {
    history: History,
    /// Of its target's pods: no two autoscalers may have the same.
    selector: Option<Selector>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("horizontal-pod-autoscaler");
    let controller = Arc::new(Autoscaler {
        recorder: context.recorder(&client, COMPONENT),
        metrics: Metrics::new(client.clone()),
        client,
        autoscalers: context.informers.informer(),
        pods: context.informers.informer(),
        memory: Mutex::default(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.autoscalers.on_event(move |event| {
        let generation = |hpa: &Arc<HorizontalPodAutoscaler>| hpa.metadata.generation;
        // Its own writes to the status are no reason to look again.
        let same =
            matches!(&event, Event::Updated { old, new } if generation(old) == generation(new));
        if !same {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.autoscalers), synced(&controller.pods)];
    context.start(controller, WORKERS, informers);
}

impl Reconciler for Autoscaler {
    const NAME: &'static str = "horizontal-pod-autoscaler";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(autoscaler) = self.autoscalers.get(&key.namespace, &key.name) else {
            self.memory.lock().remove(key);
            return Ok(());
        };
        self.queue.add_after(key.clone(), PERIOD);
        let mut pass = Pass {
            controller: self,
            key,
            autoscaler: &autoscaler,
            about: autoscaler.object_ref(&()),
            draft: Draft::new(&autoscaler, clock::now()),
            now: clock::now(),
        };
        // What fails is told by conditions and events, and tried again in a while.
        pass.run().await;
        let status = Some(pass.draft.finish());
        if status == autoscaler.status {
            return Ok(());
        }
        let wanted = HorizontalPodAutoscaler {
            status,
            ..(*autoscaler).clone()
        };
        let api: Api<HorizontalPodAutoscaler> =
            Api::namespaced(self.client.clone(), &key.namespace);
        api.replace_status(&key.name, &PostParams::default(), &wanted)
            .await?;
        Ok(())
    }
}

/// One look at an autoscaler.
struct Pass<'a> {
    controller: &'a Autoscaler,
    key: &'a Key,
    autoscaler: &'a HorizontalPodAutoscaler,
    about: ObjectReference,
    draft: Draft,
    now: Timestamp,
}

/// Why none of the metrics is looked at.
fn too_many(spec: &HorizontalPodAutoscalerSpec) -> Option<String> {
    let count = spec.metrics.as_ref().map_or(0, Vec::len);
    (count > MAX_METRICS).then(|| format!("{count} metrics are more than {MAX_METRICS}"))
}

impl Pass<'_> {
    fn event(&self, type_: &'static str, reason: &str, note: impl Into<String>) {
        self.controller
            .recorder
            .event(&self.about, type_, reason, note);
    }

    fn spec(&self) -> HorizontalPodAutoscalerSpec {
        self.autoscaler.spec.clone().unwrap_or_default()
    }

    async fn run(&mut self) {
        let spec = self.spec();
        let (api, scale) = match scale::find(
            &self.controller.client,
            &self.key.namespace,
            &spec.scale_target_ref,
        )
        .await
        {
            Ok(found) => found,
            Err(error) => {
                self.event(WARNING, "FailedGetScale", &*error);
                let why = format!(
                    "the HPA controller was unable to get the target's current scale: {error}"
                );
                return self.draft.set(ABLE_TO_SCALE, false, "FailedGetScale", &why);
            }
        };
        let why = "the HPA controller was able to get the target's current scale";
        self.draft
            .set(ABLE_TO_SCALE, true, "SucceededGetScale", why);
        let current = scale::replicas(&scale);
        self.remember(|memory, now| memory.history.begin(current, now));
        let least = spec.min_replicas.unwrap_or(1);
        let outside = spec
            .metrics
            .iter()
            .flatten()
            .any(|metric| metric.object.is_some() || metric.external.is_some());
        let mut statuses = Vec::new();
        let wanted = self.wanted(&spec, &scale, outside, &mut statuses).await;
        self.draft.observed(current, statuses);
        let Some((desired, reason)) = wanted else {
            return;
        };
        if desired == current {
            return self.draft.desired(current, false);
        }
        if let Err(error) = scale::put(&api, scale, desired).await {
            let note = format!("New size: {desired}; reason: {reason}; error: {error}");
            self.event(WARNING, "FailedRescale", note);
            let why = format!("the HPA controller was unable to update the target scale: {error}");
            return self
                .draft
                .set(ABLE_TO_SCALE, false, "FailedUpdateScale", &why);
        }
        self.rescaled(&spec, current, desired, &reason);
        self.draft.desired(desired, true);
        match desired == 0 && least == 0 && outside {
            true => {
                let why = "the HPA controller scaled the workload to zero";
                self.draft.set(SCALED_TO_ZERO, true, "ScaledToZero", why);
            }
            false => {
                let why = "the HPA controller did not scale the workload to zero";
                self.draft
                    .set(SCALED_TO_ZERO, false, "NotScaledToZero", why);
            }
        }
    }

    /// How many replicas there shall be, and why. `None`: nobody can tell, which has been said.
    ///
    /// `outside`: whether a metric can be told without pods.
    async fn wanted(
        &mut self,
        spec: &HorizontalPodAutoscalerSpec,
        scale: &Scale,
        outside: bool,
        statuses: &mut Vec<MetricStatus>,
    ) -> Option<(i32, String)> {
        let current = scale::replicas(scale);
        let least = spec.min_replicas.unwrap_or(1);
        let was_scaled_to_zero = self.draft.is_true(SCALED_TO_ZERO);
        if current == 0 && !(was_scaled_to_zero && (least != 0 || outside)) {
            let why = "scaling is disabled since the replica count of the target is zero";
            self.draft
                .set(SCALING_ACTIVE, false, "ScalingDisabled", why);
            Some((0, String::new()))
        } else if current > spec.max_replicas {
            let why = "Current number of replicas above Spec.MaxReplicas";
            Some((spec.max_replicas, why.to_owned()))
        } else if current != 0 && current < least {
            let why = "Current number of replicas below Spec.MinReplicas";
            Some((least, why.to_owned()))
        } else {
            match self.ask(spec, scale, current, statuses).await {
                Ok(asked) => Some(self.decide(spec, &asked, current, least)),
                Err(error) => {
                    self.event(WARNING, "FailedComputeMetricsReplicas", error);
                    None
                }
            }
        }
    }

    fn rescaled(&mut self, spec: &HorizontalPodAutoscalerSpec, from: i32, to: i32, reason: &str) {
        let why = format!("the HPA controller was able to update the target scale to {to}");
        self.draft
            .set(ABLE_TO_SCALE, true, "SucceededRescale", &why);
        let note = format!("New size: {to}; reason: {reason}");
        self.event(NORMAL, "SuccessfulRescale", note);
        if spec.behavior.is_some() {
            self.remember(|memory, now| memory.history.changed(from, to, now));
        }
    }

    fn remember<T>(&self, change: impl FnOnce(&mut Memory, Timestamp) -> T) -> T {
        let mut all = self.controller.memory.lock();
        change(all.entry(self.key.clone()).or_default(), self.now)
    }

    /// The most that any metric asks for. Metrics that fail do not count, unless the others ask for fewer replicas.
    async fn ask(
        &mut self,
        spec: &HorizontalPodAutoscalerSpec,
        scale: &Scale,
        current: i32,
        statuses: &mut Vec<MetricStatus>,
    ) -> Result<Asked, String> {
        if let Some(why) = too_many(spec) {
            self.event(WARNING, "TooManyMetrics", &*why);
            self.draft
                .set(SCALING_ACTIVE, false, "TooManyMetrics", &why);
            return Err(why);
        }
        let of_scale = scale.status.as_ref();
        let text = of_scale
            .and_then(|s| s.selector.as_deref())
            .unwrap_or_default();
        let pods = self.pods(text)?;
        let subject = Subject {
            metrics: &self.controller.metrics,
            target: Target {
                pods: &pods,
                replicas: current,
                tolerances: tolerances(spec),
                now: self.now,
            },
            namespace: &self.key.namespace,
            selector: text,
            status_replicas: of_scale.map_or(0, |s| s.replicas),
        };
        let metrics = spec.metrics.as_deref().unwrap_or_default();
        let Proposals {
            most: asked,
            failures,
        } = evaluate_all(metrics, &subject, statuses).await;
        for failure in &failures {
            self.event(WARNING, failure.reason, &*failure.message);
        }
        let first = failures.first();
        match (asked, first) {
            (Some(asked), first) if first.is_none() || asked.replicas >= current => {
                let metric = &asked.metric;
                let why = format!(
                    "the HPA was able to successfully calculate a replica count from {metric}"
                );
                self.draft
                    .set(SCALING_ACTIVE, true, "ValidMetricFound", &why);
                Ok(asked)
            }
            (_, Some(first)) => {
                let message = &first.message;
                let why = format!("the HPA was unable to compute the replica count: {message}");
                self.draft.set(SCALING_ACTIVE, false, first.reason, &why);
                let (failed, count) = (failures.len(), metrics.len());
                let context = &first.context;
                Err(format!(
                    "invalid metrics ({failed} invalid out of {count}), first error is: {context}"
                ))
            }
            (_, None) => Err("no metrics are specified".to_owned()),
        }
    }

    /// The pods of the target, which no other autoscaler may have.
    fn pods(&mut self, text: &str) -> Result<Vec<Arc<Pod>>, String> {
        const INVALID: &str = "InvalidSelector";
        if text.is_empty() {
            let error = "selector is required";
            self.event(WARNING, "SelectorRequired", error);
            let why = "the HPA target's scale is missing a selector";
            self.draft.set(SCALING_ACTIVE, false, INVALID, why);
            return Err(error.to_owned());
        }
        let selector = Selector::parse(text).map_err(|error| {
            let error = format!(
                "couldn't convert selector into a corresponding internal selector object: {error}"
            );
            self.event(WARNING, INVALID, &*error);
            self.draft.set(SCALING_ACTIVE, false, INVALID, &error);
            error
        })?;
        let mut pods = self.controller.pods.list_in(&self.key.namespace);
        pods.retain(|pod| selector.matches_option(pod.metadata.labels.as_ref()));
        self.remember(|memory, _| memory.selector = Some(selector));
        let others = self.others(&pods);
        if !others.is_empty() {
            let names = others.join(" ");
            let error = format!(
                "pods by selector {text} are controlled by more than one HPA (e.g. [{names}])"
            );
            self.event(WARNING, "AmbiguousSelector", &*error);
            self.draft
                .set(SCALING_ACTIVE, false, "AmbiguousSelector", &error);
            return Err(error);
        }
        Ok(pods)
    }

    /// Autoscalers that have one of these pods, with this one; none where it is alone.
    fn others(&self, pods: &[Arc<Pod>]) -> Vec<String> {
        let all = self.controller.memory.lock();
        let has_one = |selector: &Selector| {
            pods.iter()
                .any(|pod| selector.matches_option(pod.metadata.labels.as_ref()))
        };
        let mut others = all.iter().filter(|(key, memory)| {
            *key != self.key
                && key.namespace == self.key.namespace
                && memory.selector.as_ref().is_some_and(has_one)
        });
        let other = others.next().map(|(key, _)| key.to_string());
        other.map_or(Vec::new(), |other| vec![self.key.to_string(), other])
    }

    /// What is done of what is asked for, and why the replicas change.
    fn decide(
        &mut self,
        spec: &HorizontalPodAutoscalerSpec,
        asked: &Asked,
        current: i32,
        least: i32,
    ) -> (i32, String) {
        let desired = asked.replicas.max(0);
        let mut reason = match desired.cmp(&current) {
            std::cmp::Ordering::Greater => format!("{} above target", asked.metric),
            std::cmp::Ordering::Less => "All metrics below target".to_owned(),
            std::cmp::Ordering::Equal => String::new(),
        };
        let wanted = Wanted {
            current,
            desired,
            min: least,
            max: spec.max_replicas,
        };
        let behavior = spec.behavior.as_ref();
        let normalized =
            self.remember(|memory, now| normalize(behavior, wanted, &mut memory.history, now));
        let (able, (limited, why)) = (normalized.able, normalized.limited);
        self.draft.set(ABLE_TO_SCALE, true, able.0, able.1);
        self.draft.set(SCALING_LIMITED, limited, why.0, why.1);
        let mut replicas = normalized.replicas;
        // It was scaled to zero, and may not be there any more.
        if current == 0 && replicas < least {
            replicas = least;
            if reason.is_empty() {
                reason = "Current number of replicas below Spec.MinReplicas".to_owned();
            }
        }
        (replicas, reason)
    }
}

/// How far off metrics may be, by the autoscaler's own word or by default.
fn tolerances(spec: &HorizontalPodAutoscalerSpec) -> Tolerances {
    let rules = spec.behavior.as_ref();
    let of = |rules: Option<&k8s_openapi::api::autoscaling::v2::HPAScalingRules>| {
        let tolerance = rules.and_then(|rules| rules.tolerance.as_ref());
        let parsed = tolerance.and_then(|text| knarr_meta::Quantity::parse(&text.0).ok());
        parsed.map_or(TOLERANCE, |quantity| quantity.as_f64())
    };
    Tolerances {
        down: of(rules.and_then(|rules| rules.scale_down.as_ref())),
        up: of(rules.and_then(|rules| rules.scale_up.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::autoscaling::v2::MetricSpec;

    use super::*;

    #[test]
    fn thousands_of_metrics_are_not_looked_at() {
        let of = |count| HorizontalPodAutoscalerSpec {
            metrics: Some(vec![MetricSpec::default(); count]),
            ..HorizontalPodAutoscalerSpec::default()
        };
        assert_eq!(too_many(&of(MAX_METRICS)), None);
        let why = too_many(&of(12_000));
        assert_eq!(why.as_deref(), Some("12000 metrics are more than 64"));
    }
}
