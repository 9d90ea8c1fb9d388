//! How long pods take to start: `kubelet_pod_start_*`, as upstream's `pod_startup_latency_tracker.go` counts.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use parking_lot::Mutex;

use super::{
    Histogram,
    text::{Text, Type},
};
use crate::context;

/// Upstream's buckets, seconds.
const BUCKETS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0,
    300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];

/// All starts since the kubelet's.
#[derive(Debug)]
pub(crate) struct Starts {
    began: Timestamp,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// From the pod's creation, less pulls and init containers.
    sli: Histogram<25>,
    /// From its creation.
    total: Histogram<25>,
    /// From when the kubelet first saw it.
    seen: Histogram<25>,
    /// Of pods that have not started: how long their images were pulled.
    pulls: HashMap<String, Duration>,
    /// Pods that have started, for as long as they are here: a container that starts again is no start of its pod.
    counted: HashSet<String>,
}

impl Default for Starts {
    fn default() -> Self {
        let state = State {
            sli: Histogram::new(BUCKETS),
            total: Histogram::new(BUCKETS),
            seen: Histogram::new(BUCKETS),
            pulls: HashMap::new(),
            counted: HashSet::new(),
        };
        Self {
            began: Timestamp::now(),
            state: Mutex::new(state),
        }
    }
}

impl Starts {
    /// An image of the pod was pulled. Pulls at the same time count once each, as far as one knows.
    pub(crate) fn pulled(&self, uid: &str, took: Duration) {
        let mut state = self.state.lock();
        let pulls = state.pulls.entry(uid.to_owned()).or_default();
        *pulls = (*pulls).max(took);
    }

    /// The API knows the pod's status to be this one, and knew that one before.
    pub(crate) fn told(&self, pod: &Pod, before: &PodStatus, now: &PodStatus, seen: Timestamp) {
        let all_started = |status: &PodStatus| {
            let containers = status.container_statuses.as_deref().unwrap_or_default();
            !containers.is_empty() && containers.iter().all(has_started)
        };
        let created = pod.metadata.creation_timestamp.as_ref();
        let Some(created) = created.map(|time| time.0).filter(|at| *at >= self.began) else {
            return;
        };
        if all_started(before) || !all_started(now) {
            return;
        }
        let since = |from: Timestamp| {
            let took = Timestamp::now().duration_since(from).as_secs_f64();
            took.max(0.0)
        };
        let init: f64 = now.init_container_statuses.iter().flatten().map(ran).sum();
        let mut state = self.state.lock();
        if !state.counted.insert(context::uid(pod).to_owned()) {
            return;
        }
        let pulled = state.pulls.remove(context::uid(pod)).unwrap_or_default();
        let total = since(created);
        state.total.observe(total);
        state
            .sli
            .observe((total - pulled.as_secs_f64() - init).max(0.0));
        state.seen.observe(since(seen));
    }

    /// The pod is gone.
    pub(crate) fn forget(&self, uid: &str) {
        let mut state = self.state.lock();
        state.pulls.remove(uid);
        state.counted.remove(uid);
    }

    pub(super) fn write(&self, text: &mut Text) {
        let state = self.state.lock();
        for (name, help, histogram) in [
            (
                "kubelet_pod_start_sli_duration_seconds",
                "[BETA] Duration in seconds to start a pod, excluding time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch",
                &state.sli,
            ),
            (
                "kubelet_pod_start_total_duration_seconds",
                "[ALPHA] Duration in seconds to start a pod since creation, including time to pull images and run init containers, measured from pod creation timestamp to when all its containers are reported as started and observed via watch",
                &state.total,
            ),
            (
                "kubelet_pod_start_duration_seconds",
                "[BETA] Duration in seconds from kubelet seeing a pod for the first time to the pod starting to run",
                &state.seen,
            ),
        ] {
            text.family(name, help, Type::Histogram);
            text.histogram(name, &[], histogram);
        }
    }
}

fn has_started(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
}

/// Seconds that an init container has run.
fn ran(container: &ContainerStatus) -> f64 {
    let ended = container
        .state
        .as_ref()
        .and_then(|state| state.terminated.as_ref());
    let times =
        ended.and_then(|ended| Some((ended.started_at.as_ref()?, ended.finished_at.as_ref()?)));
    times.map_or(0.0, |(from, to)| {
        to.0.duration_since(from.0).as_secs_f64().max(0.0)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    #[test]
    fn a_start_is_counted_once_and_without_its_pulls() {
        let starts = Starts {
            began: Timestamp::UNIX_EPOCH,
            ..Starts::default()
        };
        let created = Timestamp::now() - jiff::SignedDuration::from_secs(10);
        let mut pod = testing::pod(json!({ "containers": [] }));
        pod.metadata.creation_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(created),
        );
        let status = |state: serde_json::Value| -> PodStatus {
            let container = json!({ "name": "a", "state": state, "image": "", "imageID": "", "ready": false, "restartCount": 0 });
            testing::object(json!({ "containerStatuses": [container] }))
        };
        let waiting = status(json!({ "waiting": {} }));
        let running = status(json!({ "running": {} }));
        starts.pulled("u1", Duration::from_secs(7));
        starts.told(&pod, &PodStatus::default(), &waiting, created);
        starts.told(&pod, &waiting, &running, created);
        starts.told(&pod, &running, &running, created);
        starts.told(&pod, &waiting, &running, created);
        let mut text = Text::default();
        starts.write(&mut text);
        let text = text.finish();
        for line in [
            "kubelet_pod_start_total_duration_seconds_count 1",
            "kubelet_pod_start_total_duration_seconds_bucket{le=\"8\"} 0",
            "kubelet_pod_start_total_duration_seconds_bucket{le=\"20\"} 1",
            "kubelet_pod_start_sli_duration_seconds_bucket{le=\"2\"} 0",
            "kubelet_pod_start_sli_duration_seconds_bucket{le=\"4\"} 1",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
    }
}
