//! Jobs: each pod that ended is counted once and no pod is held for ever, also where the controllers end in between.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use knarr_client::Informers;
use knarr_client::fake::Rates;
use kube::api::{DeleteParams, Patch, PatchParams, PropagationPolicy};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::cluster::{Cluster, create, list, merge_patch};
use super::seeds;

const NAMESPACE: &str = "x";
const JOBS: usize = 6;
const STEPS: usize = 60;
const FINALIZER: &str = "batch.kubernetes.io/job-tracking";

/// What was seen of a job's pods: uids of those that succeeded, and of those that failed or were deleted.
#[derive(Default)]
struct Seen {
    succeeded: HashSet<String>,
    failed: HashSet<String>,
}

/// By the job's uid.
type Ledger = Arc<Mutex<HashMap<String, Seen>>>;

/// Notes whatever becomes of any pod.
fn note(ledger: &Ledger, pod: &Pod) {
    let owner = pod.metadata.owner_references.iter().flatten().next();
    let (Some(owner), Some(uid)) = (owner, pod.metadata.uid.clone()) else {
        return;
    };
    let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = ledger.entry(owner.uid.clone()).or_default();
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    if phase == Some("Succeeded") {
        seen.succeeded.insert(uid);
    } else if phase == Some("Failed") || pod.metadata.deletion_timestamp.is_some() {
        seen.failed.insert(uid);
    }
}

#[test]
fn each_end_of_a_pod_is_counted_once() {
    seeds(|cluster, mut random| async move {
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        create(&cluster.all::<Namespace>(), namespace).await;
        let account = json!({"metadata": {"name": "default"}});
        create(&cluster.namespaced::<ServiceAccount>(NAMESPACE), account).await;
        let ledger = Ledger::default();
        let informers = Informers::new(cluster.admin.clone(), cluster.token.clone());
        let pods = informers.informer::<Pod>();
        let notes = ledger.clone();
        pods.on_event(move |event| note(&notes, event.object()));
        let runner = fastrand::Rng::with_seed(random.u64(..));
        let hand = tokio::spawn(run_pods(cluster.admin.clone(), runner));
        let mut token = cluster.token.child_token();
        cluster.control_until(token.clone());
        cluster.faults.set(Rates::BAD);
        for n in 0..STEPS {
            step(&cluster, &mut random).await;
            sleep(Duration::from_millis(random.u64(..3000))).await;
            if n % 15 == 14 {
                token.cancel();
                sleep(Duration::from_secs(random.u64(..8))).await;
                token = cluster.token.child_token();
                cluster.control_until(token.clone());
            }
        }
        resume_all(&cluster).await;
        cluster.settles(|| check(&cluster, &ledger)).await;
        hand.abort();
        cluster.token.cancel();
    });
}

/// What a kubelet does: pods start and end, one way or another, and deleted ones end.
async fn run_pods(admin: kube::Client, mut random: fastrand::Rng) {
    let api: kube::Api<Pod> = kube::Api::namespaced(admin, NAMESPACE);
    loop {
        for pod in list(&api).await {
            let name = pod.metadata.name.clone().unwrap_or_default();
            let phase = pod.status.as_ref().and_then(|s| s.phase.clone());
            let ended = matches!(phase.as_deref(), Some("Succeeded" | "Failed"));
            let deleted = pod.metadata.deletion_timestamp.is_some();
            if ended && deleted {
                let _ = api
                    .delete(&name, &DeleteParams::default().grace_period(0))
                    .await;
            }
            if ended {
                continue;
            }
            let next = match random.u8(..8) {
                _ if deleted => "Failed",
                0..=2 => "Succeeded",
                3 => "Failed",
                _ => "Running",
            };
            let status = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": next}});
            let patch = Patch::Strategic(status);
            let _ = api
                .patch_status(&name, &PatchParams::default(), &patch)
                .await;
        }
        sleep(Duration::from_millis(900)).await;
    }
}

fn job(name: &str, random: &mut fastrand::Rng) -> Value {
    let mut spec = json!({"completions": random.u8(1..6), "parallelism": random.u8(1..4), "backoffLimit": 1000,
        "suspend": random.u8(..4) == 0,
        "template": {"spec": {"restartPolicy": "Never", "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "i"}]}}});
    match random.u8(..4) {
        0 => spec["completionMode"] = json!("Indexed"),
        1 => {
            spec["completionMode"] = json!("Indexed");
            spec["backoffLimitPerIndex"] = json!(1);
        }
        2 => spec["backoffLimit"] = json!(1),
        _ => spec["podReplacementPolicy"] = json!("Failed"),
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

async fn step(cluster: &Cluster, random: &mut fastrand::Rng) {
    let jobs = cluster.namespaced::<Job>(NAMESPACE);
    let name = format!("j{}", random.usize(..JOBS));
    match random.u8(..10) {
        0..=4 => drop(create(&jobs, job(&name, random)).await),
        5 | 6 => {
            let patch = merge_patch(json!({"spec": {"suspend": random.bool()}}));
            let _ = jobs.patch(&name, &Default::default(), &patch).await;
        }
        7 => {
            let policies = [
                PropagationPolicy::Background,
                PropagationPolicy::Foreground,
                PropagationPolicy::Orphan,
            ];
            let params = DeleteParams {
                propagation_policy: Some(policies[random.usize(..3)].clone()),
                ..DeleteParams::default()
            };
            let _ = jobs.delete(&name, &params).await;
        }
        _ => {
            let pods = cluster.namespaced::<Pod>(NAMESPACE);
            let all = list(&pods).await;
            if !all.is_empty() {
                let victim = all[random.usize(..all.len())].metadata.name.clone();
                let victim = victim.unwrap_or_default();
                let _ = pods.delete(&victim, &DeleteParams::default()).await;
            }
        }
    }
}

async fn resume_all(cluster: &Cluster) {
    let jobs = cluster.namespaced::<Job>(NAMESPACE);
    for job in list(&jobs).await {
        let patch = merge_patch(json!({"spec": {"suspend": false}}));
        let name = job.metadata.name.unwrap_or_default();
        let _ = jobs.patch(&name, &Default::default(), &patch).await;
    }
}

async fn check(cluster: &Cluster, ledger: &Ledger) -> Result<(), String> {
    for pod in list(&cluster.namespaced::<Pod>(NAMESPACE)).await {
        let name = pod.metadata.name.unwrap_or_default();
        if pod.metadata.deletion_timestamp.is_some() {
            return Err(format!("pod {name} does not end"));
        }
        if pod
            .metadata
            .finalizers
            .iter()
            .flatten()
            .any(|f| f == FINALIZER)
        {
            return Err(format!("pod {name} is held"));
        }
    }
    for job in list(&cluster.namespaced::<Job>(NAMESPACE)).await {
        check_job(&job, ledger)?;
    }
    Ok(())
}

fn check_job(job: &Job, ledger: &Ledger) -> Result<(), String> {
    let name = job.metadata.name.clone().unwrap_or_default();
    let status = job.status.clone().unwrap_or_default();
    let spec = job.spec.clone().unwrap_or_default();
    if job.metadata.deletion_timestamp.is_some() {
        return Err(format!("job {name} does not go"));
    }
    let holds = |type_: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.any(|c| c.type_ == type_ && c.status == "True")
    };
    if !holds("Complete") && !holds("Failed") {
        return Err(format!("job {name} does not end: {status:?}"));
    }
    let completions = spec.completions.unwrap_or(1);
    let (succeeded, failed) = (status.succeeded.unwrap_or(0), status.failed.unwrap_or(0));
    let uid = job.metadata.uid.clone().unwrap_or_default();
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = ledger
        .get(&uid)
        .map(|seen| (seen.succeeded.len(), seen.failed.len()));
    let seen = seen.unwrap_or_default();
    let counted = |count: i32| usize::try_from(count).unwrap_or(0);
    assert!(
        counted(succeeded) <= seen.0,
        "job {name}: {seen:?} were seen: {status:?}"
    );
    assert!(
        counted(failed) <= seen.1,
        "job {name}: {seen:?} were seen: {status:?}"
    );
    if holds("Complete") {
        assert!(
            succeeded >= completions,
            "job {name} is not complete: {status:?}"
        );
    }
    if holds("Complete") && spec.completion_mode.as_deref() == Some("Indexed") {
        let all = match completions {
            1 => "0".to_owned(),
            2 => "0,1".to_owned(),
            n => format!("0-{}", n - 1),
        };
        assert_eq!(
            status.completed_indexes.as_deref(),
            Some(all.as_str()),
            "job {name}"
        );
    }
    if holds("Failed") {
        let few = spec
            .backoff_limit
            .is_some_and(|limit| limit < 1000 && failed > limit);
        let indexes = status.failed_indexes.as_deref().unwrap_or_default();
        assert!(
            few || !indexes.is_empty(),
            "job {name} did not fail: {status:?}"
        );
    }
    Ok(())
}
