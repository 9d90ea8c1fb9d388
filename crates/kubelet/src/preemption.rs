//! Room for a pod that the node cannot do without: others go. Upstream's `pkg/kubelet/preemption`: as few as possible, best effort
//! before burstable before guaranteed ones, and of those that do, the ones that ask for least.

use std::{fmt::Write as _, sync::Arc};

use k8s_openapi::api::core::v1::Pod;

use crate::{
    context::{self, Context},
    events::WARNING,
    eviction::{self, Eviction, PREEMPTING},
    pods,
    resources::{self, Qos},
    worker::admission::Rejection,
};

const MESSAGE: &str = "Preempted in order to admit critical pod";
/// Reason of a critical pod for which there is no room, whoever goes.
const UNEXPECTED: &str = "UnexpectedAdmissionError";

/// How much there is too little of a resource: thousandths of a CPU, bytes of memory, devices, or pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lack {
    pub resource: String,
    pub amount: i64,
}

/// Has others make room for a pod that was turned away. Once it has returned without an error, they are on their way out, and the pod
/// is to ask again.
///
/// # Errors
/// Why the pod stays turned away: it is not one that others have to go for, or there is no room however many go.
pub(crate) fn make_room(ctx: &Context, pod: &Pod, rejection: Rejection) -> Result<(), Rejection> {
    if rejection.lacks.is_empty() || !eviction::is_critical(pod) {
        return Err(rejection);
    }
    let active: Vec<Arc<Pod>> = pods::list(ctx)
        .into_iter()
        .filter(|other| context::uid(other) != context::uid(pod) && !has_ended(other))
        .collect();
    let (going, staying): (Vec<_>, Vec<_>) = active
        .into_iter()
        .partition(|other| ctx.evictions.is_evicted(context::uid(other)));
    let lacks = without(&rejection.lacks, &going);
    let others = victims(pod, staying, &lacks).map_err(|error| {
        let why = format!(
            "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: {error}"
        );
        Rejection::new(UNEXPECTED, why)
    })?;
    for other in others {
        let eviction = Eviction {
            reason: PREEMPTING,
            message: MESSAGE.to_owned(),
            grace: None,
            disruption: true,
        };
        if ctx.evictions.evict(context::uid(&other), eviction) {
            tracing::info!(
                pod = context::display(&other),
                critical = context::display(pod),
                "preempting a pod"
            );
            ctx.events.pod(&other, WARNING, PREEMPTING, MESSAGE);
            let first = rejection.lacks.first();
            ctx.evictions
                .count_preemption(first.map_or("", |lack| &lack.resource));
        }
    }
    Ok(())
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn may_go_for(critical: &Pod, other: &Pod) -> bool {
    !eviction::is_critical(other) || eviction::priority(critical) > eviction::priority(other)
}

/// Who goes.
fn victims(critical: &Pod, pods: Vec<Arc<Pod>>, lacks: &[Lack]) -> Result<Vec<Arc<Pod>>, String> {
    let mut classes: [Vec<Arc<Pod>>; 3] = Default::default();
    for pod in pods.into_iter().filter(|pod| may_go_for(critical, pod)) {
        let class = match resources::qos(&pod) {
            Qos::BestEffort => 0,
            Qos::Burstable => 1,
            Qos::Guaranteed => 2,
        };
        classes[class].push(pod);
    }
    let [best_effort, burstable, guaranteed] = classes;
    let all = [&best_effort[..], &burstable, &guaranteed].concat();
    let left = without(lacks, &all);
    if !left.is_empty() {
        return Err(none_found(&left));
    }
    // Those that are needed when all of the lesser classes have gone.
    let lesser = [&best_effort[..], &burstable].concat();
    let guaranteed = nearest(guaranteed, without(lacks, &lesser))?;
    let others = [&best_effort[..], &guaranteed].concat();
    let burstable = nearest(burstable, without(lacks, &others))?;
    let others = [&burstable[..], &guaranteed].concat();
    let best_effort = nearest(best_effort, without(lacks, &others))?;
    Ok([best_effort, burstable, guaranteed].concat())
}

/// One after the other the pod that fills most of what is lacking.
fn nearest(mut pods: Vec<Arc<Pod>>, mut lacks: Vec<Lack>) -> Result<Vec<Arc<Pod>>, String> {
    let mut chosen = Vec::new();
    while !lacks.is_empty() {
        let best = pods.iter().enumerate().min_by(|(_, a), (_, b)| {
            let distances = (distance(&lacks, a), distance(&lacks, b));
            let asked = |pod: &Pod| (request(pod, "memory"), request(pod, "cpu"));
            distances
                .0
                .total_cmp(&distances.1)
                .then_with(|| asked(a).cmp(&asked(b)))
        });
        let Some((best, _)) = best else {
            return Err(none_found(&lacks));
        };
        let pod = pods.swap_remove(best);
        lacks = without(&lacks, std::slice::from_ref(&pod));
        chosen.push(pod);
    }
    Ok(chosen)
}

/// How much of each lack would be left, as shares of it, squared.
fn distance(lacks: &[Lack], pod: &Pod) -> f64 {
    let of = |lack: &Lack| {
        let left = lack.amount.saturating_sub(request(pod, &lack.resource));
        (left.max(0) as f64 / lack.amount as f64).powi(2)
    };
    lacks.iter().map(of).sum()
}

/// What is lacking when these have gone.
fn without(lacks: &[Lack], pods: &[Arc<Pod>]) -> Vec<Lack> {
    let left = lacks.iter().map(|lack| {
        let freed = pods.iter().map(|pod| request(pod, &lack.resource));
        let amount = freed.fold(lack.amount, i64::saturating_sub);
        Lack {
            amount,
            ..lack.clone()
        }
    });
    left.filter(|lack| lack.amount > 0).collect()
}

fn request(pod: &Pod, resource: &str) -> i64 {
    match resource {
        "pods" => 1,
        "cpu" => resources::pod_request_milli(pod, resource),
        _ => resources::pod_request_milli(pod, resource) / 1_000,
    }
}

fn none_found(lacks: &[Lack]) -> String {
    let mut list = String::new();
    for lack in lacks {
        // Writing to a string cannot fail.
        let _ok = write!(list, "(res: {}, q: {}), ", lack.resource, lack.amount);
    }
    format!("no set of running pods found to reclaim resources: [{list}]")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn pod(name: &str, cpu: &str, guaranteed: bool, priority: i32) -> Arc<Pod> {
        let amounts = json!({ "cpu": cpu, "memory": "1Mi" });
        let resources = match (cpu, guaranteed) {
            ("", _) => json!({}),
            (_, true) => json!({ "requests": amounts, "limits": amounts }),
            (_, false) => json!({ "requests": amounts }),
        };
        let container = json!({ "name": "a", "resources": resources });
        let mut pod = testing::pod(json!({ "containers": [container], "priority": priority }));
        pod.metadata.name = Some(name.to_owned());
        Arc::new(pod)
    }

    fn lack(resource: &str, amount: i64) -> Lack {
        Lack {
            resource: resource.to_owned(),
            amount,
        }
    }

    #[test]
    fn as_few_as_possible_and_the_least_worthy_go() {
        let critical = pod("critical", "1", false, 2_000_001_000);
        let all = vec![
            pod("best effort", "", false, 0),
            pod("small", "100m", false, 0),
            pod("large", "500m", false, 0),
            pod("guaranteed", "400m", true, 0),
            pod("as critical", "2", false, 2_000_001_000),
        ];
        for (lacks, expected) in [
            (vec![lack("cpu", 50)], &["small"][..]),
            (vec![lack("cpu", 300)], &["large"]),
            (vec![lack("cpu", 600)], &["large", "small"]),
            (vec![lack("cpu", 700)], &["large", "guaranteed"]),
            (vec![lack("pods", 1)], &["best effort"]),
            (vec![], &[]),
        ] {
            let chosen = victims(&critical, all.clone(), &lacks).unwrap();
            let mut names: Vec<&str> = chosen.iter().map(|pod| context::name(pod)).collect();
            let mut expected = expected.to_vec();
            names.sort_unstable();
            expected.sort_unstable();
            assert_eq!(names, expected, "{lacks:?}");
        }
        let error = victims(&critical, all, &[lack("cpu", 1_001)]).unwrap_err();
        assert_eq!(
            error,
            "no set of running pods found to reclaim resources: [(res: cpu, q: 1), ]"
        );
    }

    #[test]
    fn more_priority_makes_room_among_critical_ones() {
        let (node, cluster) = (
            pod("n", "1", false, 2_000_001_000),
            pod("c", "1", false, 2_000_000_000),
        );
        let chosen = victims(&node, vec![cluster.clone()], &[lack("cpu", 1_000)]);
        assert_eq!(chosen.unwrap().len(), 1);
        assert!(victims(&cluster, vec![node], &[lack("cpu", 1_000)]).is_err());
    }
}
