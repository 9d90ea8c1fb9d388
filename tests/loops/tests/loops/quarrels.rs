//! What people ask for that cannot be, or that somebody else takes back: upstream's conditions say so, and nobody writes without end.
//!
//! Writes are counted: whatever the quarrel, a controller that loops is one that writes many times a minute.

mod refused;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    Event, Namespace, Pod, ReplicationController, ResourceQuota, ServiceAccount,
};
use kube::Api;
use kube::api::{DeleteParams, PatchParams};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::cluster::{Cluster, create, is_active, keep_pods, list, merge_patch};
use super::controllers::{add_node, bind_pods, renew_leases};
use super::without_faults;

const NAMESPACE: &str = "x";
const MINUTE: Duration = Duration::from_secs(60);
/// After pods that ended before their time a Job makes new ones in up to ten minutes.
const BACKOFF: Duration = Duration::from_secs(660);
/// By then first tries that fail at once are over: the pause between them has doubled a dozen times.
const SETTLED: Duration = Duration::from_secs(600);
/// Writes of one workload that is refused: a try, its event and its status, as often as upstream's longest pause of a Job (a minute).
const WRITES_A_MINUTE: u64 = 6;

/// A cluster with a node, a namespace and somebody who runs pods.
struct Stage {
    cluster: Cluster,
    hands: Vec<JoinHandle<()>>,
}

impl Stage {
    async fn set(cluster: Cluster) -> Self {
        add_node(&cluster, "n0").await;
        let namespace = json!({"metadata": {"name": NAMESPACE}});
        create(&cluster.all::<Namespace>(), namespace).await;
        let account = json!({"metadata": {"name": "default"}});
        create(&cluster.namespaced::<ServiceAccount>(NAMESPACE), account).await;
        let hands = vec![
            tokio::spawn(keep_pods(cluster.admin.clone())),
            tokio::spawn(bind_pods(cluster.admin.clone())),
            tokio::spawn(renew_leases(cluster.admin.clone())),
        ];
        cluster.control();
        Self { cluster, hands }
    }

    fn end(self) {
        self.hands.iter().for_each(JoinHandle::abort);
        self.cluster.token.cancel();
    }

    async fn active(&self) -> usize {
        let pods = list(&self.cluster.namespaced::<Pod>(NAMESPACE)).await;
        pods.iter().filter(|pod| is_active(pod)).count()
    }

    /// What controllers write within a time.
    async fn writes(&self, time: Duration) -> BTreeMap<String, u64> {
        let before = self.cluster.faults.writes();
        sleep(time).await;
        let after = self.cluster.faults.writes().into_iter();
        let counted = after.map(|(write, count)| {
            let known = before.get(&write).copied().unwrap_or(0);
            (write, count - known)
        });
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Nobody writes anything any more.
    async fn rests(&self, what: &str) {
        let writes = self.writes(SETTLED).await;
        assert!(writes.is_empty(), "{what}: {writes:#?}");
    }

    /// So many workloads write no more than those that are refused may.
    async fn is_slow(&self, what: &str, workloads: u64) {
        const MINUTES: u64 = 10;
        let writes = self.writes(MINUTE * 10).await;
        let count: u64 = writes.values().sum();
        let most = WRITES_A_MINUTE * MINUTES * workloads;
        assert!(count <= most, "{what}: {count} writes: {writes:#?}");
    }

    /// Whether an event of this reason is told, with words that it contains.
    async fn is_told(&self, reason: &str, words: &str) -> bool {
        let events = list(&self.cluster.namespaced::<Event>(NAMESPACE)).await;
        let is_it = |event: &Event| {
            let message = event.message.as_deref().unwrap_or_default();
            event.reason.as_deref() == Some(reason) && message.contains(words)
        };
        events.iter().any(is_it)
    }
}

fn template(labels: &Value) -> Value {
    json!({"metadata": {"labels": labels}, "spec": {"automountServiceAccountToken": false,
        "terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": "i"}]}})
}

fn workload(name: &str, replicas: u8, labels: &Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
        "serviceName": name, "template": template(labels)}})
}

fn set(name: &str, replicas: u8, labels: &Value) -> Value {
    let mut set = workload(name, replicas, labels);
    if let Some(spec) = set["spec"].as_object_mut() {
        spec.remove("serviceName");
    }
    set
}

fn job(name: &str, labels: &Value) -> Value {
    let mut template = template(labels);
    template["spec"]["restartPolicy"] = "Never".into();
    json!({"metadata": {"name": name}, "spec": {"completions": 4, "parallelism": 2, "template": template}})
}

/// The status and reason of a condition, as `True Reason`.
fn condition(object: &impl serde::Serialize, kind: &str) -> Option<String> {
    let object = serde_json::to_value(object).ok()?;
    let conditions = object["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|c| c["type"] == kind)?;
    let (status, reason) = (found["status"].as_str()?, found["reason"].as_str());
    Some(format!("{status} {}", reason.unwrap_or_default()))
}

#[test]
fn controllers_that_select_the_same_pods_leave_each_others_alone() {
    without_faults(|cluster| async move {
        let stage = Stage::set(cluster).await;
        let labels = json!({"app": "web"});
        let sets = stage.cluster.namespaced::<ReplicaSet>(NAMESPACE);
        let controllers = stage.cluster.namespaced::<ReplicationController>(NAMESPACE);
        let stateful = stage.cluster.namespaced::<StatefulSet>(NAMESPACE);
        let daemons = stage.cluster.namespaced::<DaemonSet>(NAMESPACE);
        create(&sets, set("a", 3, &labels)).await;
        create(&sets, set("b", 2, &labels)).await;
        let controller = json!({"metadata": {"name": "c"}, "spec": {"replicas": 2, "selector": labels,
            "template": template(&labels)}});
        create(&controllers, controller).await;
        create(&stateful, workload("d", 2, &labels)).await;
        let daemon = json!({"metadata": {"name": "e"}, "spec": {"selector": {"matchLabels": labels},
            "template": template(&labels)}});
        create(&daemons, daemon).await;
        sleep(SETTLED).await;
        assert_eq!(stage.active().await, 3 + 2 + 2 + 2 + 1);
        stage.rests("five that select the same").await;
        // A pod that is nobody's is one's in the end, who has one too many then.
        let pods = stage.cluster.namespaced::<Pod>(NAMESPACE);
        let mut stray = template(&labels);
        stray["metadata"]["name"] = "stray".into();
        create(&pods, stray).await;
        sleep(SETTLED).await;
        assert_eq!(stage.active().await, 10);
        stage.rests("after a stray pod").await;
        stage.end();
    });
}

#[test]
fn deployments_that_select_the_same_do_not_fight() {
    without_faults(|cluster| async move {
        let stage = Stage::set(cluster).await;
        let labels = json!({"app": "web"});
        let deployments = stage.cluster.namespaced::<Deployment>(NAMESPACE);
        for (name, image) in [("a", "one"), ("b", "two")] {
            let mut deployment = set(name, 3, &labels);
            deployment["spec"]["template"]["spec"]["containers"][0]["image"] = image.into();
            create(&deployments, deployment).await;
        }
        sleep(SETTLED).await;
        assert_eq!(stage.active().await, 6);
        for name in ["a", "b"] {
            let deployment = deployments.get(name).await.expect("a deployment");
            let available = condition(&deployment, "Available");
            assert_eq!(available.as_deref(), Some("True MinimumReplicasAvailable"));
        }
        stage.rests("two deployments").await;
        stage.end();
    });
}

#[test]
fn an_autoscaler_and_a_user_take_turns() {
    without_faults(|cluster| async move {
        let stage = Stage::set(cluster).await;
        let deployments = stage.cluster.namespaced::<Deployment>(NAMESPACE);
        let autoscalers = stage
            .cluster
            .namespaced::<HorizontalPodAutoscaler>(NAMESPACE);
        create(&deployments, set("web", 3, &json!({"app": "web"}))).await;
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let autoscaler = json!({"metadata": {"name": "web"}, "spec": {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 4}});
        create(&autoscalers, autoscaler).await;
        sleep(MINUTE).await;
        for replicas in [10, 1, 10, 1] {
            scale(&deployments, replicas).await;
            let writes = stage.writes(MINUTE).await;
            let scales =
                |(write, count): (&String, &u64)| write.ends_with("/scale").then_some(*count);
            let scaled: u64 = writes.iter().filter_map(scales).sum();
            assert_eq!(scaled, 1, "one answer to {replicas}: {writes:#?}");
            let wanted = if replicas > 4 { 4 } else { 2 };
            assert_eq!(stage.active().await, wanted, "{replicas}");
        }
        assert!(
            stage
                .is_told("SuccessfulRescale", "above Spec.MaxReplicas")
                .await
        );
        assert!(
            stage
                .is_told("SuccessfulRescale", "below Spec.MinReplicas")
                .await
        );
        // Nothing is the user's last word: the autoscaler leaves it so.
        scale(&deployments, 0).await;
        sleep(SETTLED).await;
        assert_eq!(stage.active().await, 0);
        let autoscaler = autoscalers.get("web").await.expect("an autoscaler");
        let active = condition(&autoscaler, "ScalingActive");
        assert_eq!(active.as_deref(), Some("False ScalingDisabled"));
        stage.rests("an autoscaler that is off").await;
        stage.end();
    });
}

async fn scale(deployments: &Api<Deployment>, replicas: u8) {
    let patch = merge_patch(json!({"spec": {"replicas": replicas}}));
    let scaled = deployments
        .patch("web", &PatchParams::default(), &patch)
        .await;
    scaled.expect("scaled");
}

#[test]
fn autoscalers_of_one_deployment_say_that_there_are_two() {
    without_faults(|cluster| async move {
        let stage = Stage::set(cluster).await;
        let deployments = stage.cluster.namespaced::<Deployment>(NAMESPACE);
        let autoscalers = stage
            .cluster
            .namespaced::<HorizontalPodAutoscaler>(NAMESPACE);
        create(&deployments, set("web", 3, &json!({"app": "web"}))).await;
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        for name in ["a", "b"] {
            let spec = json!({"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 4});
            let autoscaler = json!({"metadata": {"name": name}, "spec": spec});
            create(&autoscalers, autoscaler).await;
        }
        sleep(SETTLED).await;
        let autoscaler = autoscalers.get("b").await.expect("an autoscaler");
        let active = condition(&autoscaler, "ScalingActive");
        assert_eq!(active.as_deref(), Some("False AmbiguousSelector"));
        assert_eq!(stage.active().await, 3);
        stage.is_slow("two autoscalers", 2).await;
        stage.end();
    });
}

/// What a container of a job does here: it ends well, unless the pod's name was said to fail.
async fn end_pods(admin: kube::Client, phase: &'static str) {
    let pods: Api<Pod> = Api::namespaced(admin, NAMESPACE);
    loop {
        for pod in list(&pods).await {
            let runs = pod.status.as_ref().and_then(|s| s.phase.as_deref()) == Some("Running");
            if !runs || !is_active(&pod) {
                continue;
            }
            let name = pod.metadata.name.clone().unwrap_or_default();
            let patch = merge_patch(json!({"status": {"phase": phase}}));
            let _ = pods
                .patch_status(&name, &PatchParams::default(), &patch)
                .await;
        }
        sleep(Duration::from_secs(30)).await;
    }
}

#[test]
fn a_job_that_is_edited_while_it_runs_does_what_it_says_last() {
    without_faults(|cluster| async move {
        let stage = Stage::set(cluster).await;
        let jobs = stage.cluster.namespaced::<Job>(NAMESPACE);
        let edit = async |name: &str, spec: Value| {
            let patch = merge_patch(json!({"spec": spec}));
            jobs.patch(name, &PatchParams::default(), &patch).await
        };
        // Pods that an edit ends count as failed, as upstream counts them.
        let mut edited = job("a", &json!({"job": "a"}));
        edited["spec"]["backoffLimit"] = 100.into();
        create(&jobs, edited).await;
        sleep(MINUTE).await;
        for (spec, active) in [
            (json!({"parallelism": 4}), 4),
            (json!({"parallelism": 1}), 1),
            (json!({"parallelism": 0}), 0),
            (json!({"parallelism": 2}), 2),
            (json!({"suspend": true}), 0),
            (json!({"suspend": false}), 2),
        ] {
            edit("a", spec.clone())
                .await
                .expect("an edit that is allowed");
            sleep(BACKOFF).await;
            assert_eq!(stage.active().await, active, "{spec}");
        }
        stage.rests("a job whose pods run on").await;
        for spec in [
            json!({"completions": 7}),
            json!({"completionMode": "Indexed"}),
            json!({"template": {"spec": {"containers": [{"name": "c", "image": "another"}]}}}),
        ] {
            let refused = edit("a", spec.clone())
                .await
                .expect_err("an edit that is not");
            assert!(
                refused.to_string().contains("field is immutable"),
                "{spec}: {refused}"
            );
        }
        edit("a", json!({"activeDeadlineSeconds": 1}))
            .await
            .expect("a deadline");
        sleep(SETTLED).await;
        let ended = jobs.get("a").await.expect("a job");
        let failed = condition(&ended, "Failed");
        assert_eq!(failed.as_deref(), Some("True DeadlineExceeded"));
        assert!(
            stage
                .is_told("DeadlineExceeded", "active longer than specified deadline")
                .await
        );
        stage.rests("a job that is over").await;
        // A limit that is below what has failed by now.
        let mut failing = job("b", &json!({"job": "b"}));
        failing["spec"]["backoffLimit"] = 100.into();
        create(&jobs, failing).await;
        let hand = tokio::spawn(end_pods(stage.cluster.admin.clone(), "Failed"));
        sleep(MINUTE * 3).await;
        edit("b", json!({"backoffLimit": 1}))
            .await
            .expect("a limit");
        sleep(BACKOFF * 2).await;
        hand.abort();
        let ended = jobs.get("b").await.expect("a job");
        let failed = condition(&ended, "Failed");
        assert_eq!(failed.as_deref(), Some("True BackoffLimitExceeded"));
        assert!(
            stage
                .is_told(
                    "BackoffLimitExceeded",
                    "reached the specified backoff limit"
                )
                .await
        );
        stage.rests("a job that failed").await;
        stage.end();
    });
}

/// Workloads of [`create_all`]; a deployment is two that write.
const WORKLOADS: u64 = 6;
