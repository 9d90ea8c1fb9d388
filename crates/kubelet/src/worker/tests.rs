use std::{collections::HashMap, sync::Arc, time::Duration};

use knarr_cri::v1;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::*;

mod hooks;
mod images;
mod resize;
mod restart_all;
mod settled;
mod told;
mod volumes;
use crate::{
    config::Config,
    observed::Observed,
    runtime::Runtime,
    testing::{
        self,
        fake::{self, Api, Fake},
    },
};

/// The kubelet that the workers are of.
const OWNER: &str = "own";

/// A worker with its runtime and its API.
struct Bench {
    fake: Fake,
    api: Api,
    pod: Pod,
    input: watch::Sender<Update>,
    token: CancellationToken,
    worker: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Bench {
    async fn new(spec: Value) -> Self {
        Self::with(spec, |_| {}).await
    }

    /// With a runtime in a state of its own.
    async fn with(spec: Value, edit: impl FnOnce(&mut fake::State)) -> Self {
        Self::configured(spec, edit, Config::default()).await
    }

    /// In a kubelet with a configuration of its own, until its first restart.
    async fn configured(spec: Value, edit: impl FnOnce(&mut fake::State), config: Config) -> Self {
        let mut pod = testing::pod(spec);
        pod.metadata.resource_version = Some("1".to_owned());
        pod.status = Some(PodStatus {
            phase: Some("Pending".to_owned()),
            ..Default::default()
        });
        let fake = Fake::default();
        fake.state(edit);
        let dir = tempfile::tempdir().unwrap();
        fake.serve(&dir.path().join("cri.sock"));
        let api = Api::new(&pod);
        let (input, worker, token) = start(&api, &pod, &dir, config).await;
        Self {
            fake,
            api,
            pod,
            input,
            token,
            worker,
            dir,
        }
    }

    /// Ends the worker as a crash would, and starts another.
    async fn restart(&mut self) {
        self.token.cancel();
        (&mut self.worker).await.unwrap();
        self.resume().await;
    }

    /// Starts another worker of the pod as the API has it.
    async fn resume(&mut self) {
        let held = self.api.pod.lock().unwrap().clone().unwrap();
        self.pod = serde_json::from_value(held).unwrap();
        (self.input, self.worker, self.token) =
            start(&self.api, &self.pod, &self.dir, Config::default()).await;
    }

    async fn until_phase(&self, phase: &str) -> Value {
        let wanted = |pod: Option<&Value>| pod.is_some_and(|p| p["status"]["phase"] == phase);
        self.api.until(phase, wanted).await.unwrap()
    }

    async fn until_ready(&self) -> Value {
        let ready = |pod: Option<&Value>| {
            let conditions = pod.and_then(|p| p["status"]["conditions"].as_array());
            conditions.is_some_and(|all| {
                all.iter()
                    .any(|c| c["type"] == "Ready" && c["status"] == "True")
            })
        };
        self.api.until("the pod is ready", ready).await.unwrap()
    }

    /// The API marks the pod for deletion; it ends.
    async fn delete(&mut self, grace: i64) {
        self.mark_deleted(grace);
        self.api
            .until("the pod is deleted", |pod| pod.is_none())
            .await;
        (&mut self.worker).await.unwrap();
    }

    fn mark_deleted(&mut self, grace: i64) {
        self.pod.metadata.deletion_timestamp = Some(
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now()),
        );
        self.pod.metadata.deletion_grace_period_seconds = Some(grace);
        self.input
            .send_replace(Update::new(Arc::new(self.pod.clone()), false));
    }

    fn log(&self) -> Vec<String> {
        self.fake.state(|state| state.log.clone())
    }
}

async fn start(
    api: &Api,
    pod: &Pod,
    dir: &tempfile::TempDir,
    config: Config,
) -> (watch::Sender<Update>, JoinHandle<()>, CancellationToken) {
    let token = CancellationToken::new();
    let config = Config {
        instance: OWNER.into(),
        ..config
    };
    let ctx = testing::context(api.client(), config, dir.path()).await;
    let stream = ctx.runtime.events().await.unwrap();
    ctx.observed.relist().await.unwrap();
    tokio::spawn(ctx.observed.clone().follow(Some(stream), token.clone()));
    let (input, receiver) = watch::channel(Update::new(Arc::new(pod.clone()), false));
    let worker = tokio::spawn(Worker::new(ctx, receiver).run(token.clone()));
    (input, worker, token)
}

fn one(policy: &str) -> Value {
    json!({ "restartPolicy": policy, "containers": [{ "name": "a", "image": "img:1" }] })
}

#[tokio::test]
async fn a_pod_starts_and_is_deleted() {
    let mut bench = Bench::new(one("Always")).await;
    let pod = bench.until_ready().await;
    assert_eq!(pod["status"]["podIP"], "10.42.0.9");
    assert_eq!(
        pod["status"]["containerStatuses"][0]["containerID"],
        "fake://a-0"
    );
    assert_eq!(bench.log(), ["run sandbox-0", "create a-0", "start a-0"]);
    bench.delete(7).await;
    assert_eq!(
        bench.log()[3..],
        [
            "stop a-0 7",
            "stop sandbox-0",
            "remove a-0",
            "remove sandbox-0"
        ]
    );
    assert!(!bench.dir.path().join("kubelet/pods/u1").exists());
}

#[tokio::test]
async fn what_another_kubelet_made_is_not_looked_at() {
    let bench = Bench::new(one("Always")).await;
    bench.until_ready().await;
    let labels = |owner: &str| {
        HashMap::from([
            (crate::labels::POD_UID.to_owned(), "u2".to_owned()),
            (crate::labels::OWNER_LABEL.to_owned(), owner.to_owned()),
        ])
    };
    bench.fake.state(|state| {
        let mut sandbox = testing::sandbox(7, 1);
        sandbox.labels = labels("another");
        state.sandboxes.insert(sandbox.id.clone(), sandbox);
        let running = v1::ContainerState::ContainerRunning;
        let mut container = testing::container("b", 0, running, 1, 0);
        container.labels = labels("another");
        state.containers.insert(container.id.clone(), container);
    });
    let socket = bench.dir.path().join("cri.sock").display().to_string();
    let runtime = Runtime::connect(&socket, Duration::from_secs(10))
        .await
        .unwrap();
    for (owner, uids) in [(OWNER, ["u1"]), ("another", ["u2"])] {
        let observed = Observed::new(runtime.clone(), owner);
        observed.relist().await.unwrap();
        assert_eq!(observed.uids(), uids, "{owner}");
    }
}

#[tokio::test]
async fn a_container_that_ends_is_started_again_once_then_waits() {
    let bench = Bench::new(one("Always")).await;
    bench.until_ready().await;
    bench.fake.exit("a", 1);
    let again = |pod: Option<&Value>| {
        pod.is_some_and(|p| p["status"]["containerStatuses"][0]["restartCount"] == 1)
    };
    bench.api.until("it is restarted", again).await;
    bench.until_ready().await;
    bench.fake.exit("a", 1);
    let waits = |pod: Option<&Value>| {
        pod.is_some_and(|p| {
            p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        })
    };
    let pod = bench.api.until("it waits", waits).await.unwrap();
    assert_eq!(
        pod["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"],
        1
    );
}

#[tokio::test]
async fn a_container_that_cannot_start_is_tried_again_once_then_waits() {
    let bench = Bench::with(one("Always"), |state| state.start_fails = true).await;
    let waits = |pod: Option<&Value>| {
        let status = pod.map(|pod| &pod["status"]["containerStatuses"][0]);
        status.is_some_and(|s| s["state"]["waiting"]["reason"] == "CrashLoopBackOff")
    };
    let pod = bench.api.until("it waits", waits).await.unwrap();
    let status = &pod["status"]["containerStatuses"][0];
    assert_eq!(status["restartCount"], 1, "{status}");
    assert_eq!(status["lastState"]["terminated"]["reason"], "StartError");
    let starts = bench.log().into_iter().filter(|o| o.starts_with("start "));
    assert_eq!(starts.collect::<Vec<_>>(), ["start a-0", "start a-1"]);
}

#[tokio::test]
async fn a_job_ends_and_gives_its_sandbox_back() {
    let bench = Bench::new(one("Never")).await;
    bench.until_ready().await;
    bench.fake.exit("a", 0);
    bench.until_phase("Succeeded").await;
    bench.fake.until_asked("stop sandbox-0").await;
    // Its record stays, for its logs.
    assert!(
        bench
            .fake
            .state(|state| state.containers.contains_key("a-0"))
    );
}

#[tokio::test]
async fn a_new_kubelet_restarts_nothing() {
    let mut bench = Bench::new(one("Always")).await;
    bench.until_ready().await;
    let before = bench.log();
    bench.restart().await;
    bench.fake.exit("a", 2);
    let again = |pod: Option<&Value>| {
        pod.is_some_and(|p| p["status"]["containerStatuses"][0]["restartCount"] == 1)
    };
    bench
        .api
        .until("the exit after the restart was seen", again)
        .await;
    assert_eq!(bench.log()[..before.len()], before);
    assert_eq!(bench.log()[before.len()..], ["create a-1", "start a-1"]);
}

#[tokio::test]
async fn a_conflict_is_no_end_of_a_pod() {
    let mut bench = Bench::new(one("Always")).await;
    *bench.api.conflicts.lock().unwrap() = 2;
    bench.until_ready().await;
    assert_eq!(bench.log(), ["run sandbox-0", "create a-0", "start a-0"]);
    // Nor of its deletion: the object is deleted, not taken for deleted.
    *bench.api.conflicts.lock().unwrap() = 2;
    bench.delete(0).await;
    assert!(bench.api.pod.lock().unwrap().is_none());
}

#[tokio::test]
async fn a_missing_image_is_told() {
    let mut spec = one("Always");
    spec["containers"][0]["image"] = json!("missing:1");
    let mut bench = Bench::new(spec).await;
    let told = |pod: Option<&Value>| {
        pod.is_some_and(|p| {
            p["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "ErrImagePull"
        })
    };
    bench.api.until("the pull fails", told).await;
    bench.delete(0).await;
}

#[tokio::test]
async fn that_an_image_is_missing_is_told_once_a_look() {
    let mut spec = one("Always");
    spec["containers"][0]["image"] = json!("missing:1");
    spec["containers"][0]["imagePullPolicy"] = json!("Never");
    let mut bench = Bench::new(spec).await;
    bench.api.until_told("Failed").await;
    // Enough for another event of the same look, and too short for another look.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = bench.api.events.lock().unwrap().clone();
    let reasons: Vec<_> = told.iter().map(|event| event[0].as_str()).collect();
    assert_eq!(reasons, ["ErrImageNeverPull", "Failed"], "{told:?}");
    bench.delete(0).await;
}

#[tokio::test]
async fn the_policy_says_whether_an_image_is_pulled() {
    // No registry has anything here.
    for (image, policy, waits_for, wanted) in [
        ("img:1", "IfNotPresent", None, None),
        ("img:1", "Never", None, None),
        ("img:1", "Always", Some("ErrImagePull"), Some("pull img:1")),
        ("missing:1", "Never", Some("ErrImageNeverPull"), None),
    ] {
        let mut spec = one("Always");
        spec["containers"][0]["image"] = json!(image);
        spec["containers"][0]["imagePullPolicy"] = json!(policy);
        let mut bench = Bench::new(spec).await;
        if let Some(reason) = waits_for {
            let told = |pod: Option<&Value>| {
                let waiting = pod.map(|p| &p["status"]["containerStatuses"][0]["state"]["waiting"]);
                waiting.is_some_and(|waiting| {
                    waiting["reason"] == reason
                        || waiting["message"]
                            .as_str()
                            .is_some_and(|text| text.contains(reason))
                })
            };
            bench.api.until("it is said why it waits", told).await;
        } else {
            bench.until_ready().await;
        }
        let log = bench.log();
        let pulls = log.iter().find(|line| line.starts_with("pull "));
        assert_eq!(pulls.map(String::as_str), wanted, "{image} {policy}");
        bench.delete(0).await;
    }
}

#[tokio::test]
async fn a_pod_does_not_run_without_the_devices_that_it_claims() {
    let mut spec = one("Always");
    spec["resourceClaims"] = json!([{"name": "gpu", "resourceClaimName": "gpu"}]);
    spec["containers"][0]["image"] = json!("missing:1");
    let mut bench = Bench::new(spec).await;
    let told = bench.api.until_told("FailedPrepareDynamicResources").await;
    // Nothing is made nor pulled for it, and nothing else is told.
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(bench.log(), [""; 0]);
    bench.delete(0).await;
}

#[tokio::test]
async fn a_pod_that_does_not_fit_is_turned_away() {
    let mut spec = one("Always");
    spec["containers"][0]["resources"] = json!({ "requests": { "cpu": "100000" } });
    let bench = Bench::new(spec).await;
    let pod = bench.until_phase("Failed").await;
    assert_eq!(pod["status"]["reason"], "OutOfcpu");
    assert!(bench.log().is_empty());
    let told = bench.api.until_told("OutOfcpu").await;
    let why = &told[0][2];
    assert!(
        why.starts_with("Node didn't have enough resource: cpu"),
        "{why}"
    );
    assert_eq!(pod["status"]["message"], format!("Pod was rejected: {why}"));
}

#[tokio::test]
async fn readiness_is_probed_until_the_containers_have_ended() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let probe = json!({
        "tcpSocket": { "host": "127.0.0.1", "port": port },
        "periodSeconds": 1, "failureThreshold": 1,
    });
    let mut spec = one("Always");
    spec["containers"][0]["readinessProbe"] = probe.clone();
    spec["containers"][0]["livenessProbe"] = probe;
    spec["containers"][0]["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": 3600 } } });
    let mut bench = Bench::new(spec).await;
    bench.until_ready().await;
    bench.mark_deleted(3600);
    bench.api.until_told("Killing").await;
    // The container serves no more, and its hook takes its time.
    drop(listener);
    let unready = |pod: Option<&Value>| {
        let status = pod.map(|pod| &pod["status"]["containerStatuses"][0]);
        status.is_some_and(|status| {
            status["ready"] == false && status["state"]["running"].is_object()
        })
    };
    bench.api.until("it is not ready", unready).await;
    bench.delete(0).await;
    let told = bench.api.events.lock().unwrap().clone();
    let failed = |kind: &str| told.iter().any(|event| event[2].starts_with(kind));
    assert!(failed("Readiness probe failed"), "{told:?}");
    assert!(!failed("Liveness probe failed"), "{told:?}");
}

#[tokio::test]
async fn what_the_runtime_kept_of_a_container_is_enough() {
    let bench = Bench::new(one("Always")).await;
    bench.until_ready().await;
    let container = bench.fake.state(|state| state.containers["a-0"].clone());
    assert_eq!(container.labels[crate::labels::POD_UID], "u1");
    assert_eq!(container.annotations[crate::labels::RESTART_COUNT], "0");
    assert_eq!(container.state(), v1::ContainerState::ContainerRunning);
}

fn sidecar(name: &str) -> Value {
    json!({ "name": name, "image": "img:1", "restartPolicy": "Always" })
}

#[tokio::test]
async fn sidecars_end_last_in_reverse_order() {
    let mut spec = one("Always");
    spec["initContainers"] = json!([sidecar("x"), sidecar("y")]);
    let mut bench = Bench::new(spec).await;
    bench.until_ready().await;
    let begun = bench.log().len();
    bench.delete(7).await;
    let stopped: Vec<String> = bench.log().split_off(begun);
    assert_eq!(
        stopped[..4],
        ["stop a-0 7", "stop y-0 7", "stop x-0 7", "stop sandbox-0"]
    );
}

#[tokio::test]
async fn hooks_of_sidecars_do_not_wait_for_their_turn() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut spec = one("Always");
    spec["containers"][0]["lifecycle"] = json!({ "preStop": { "sleep": { "seconds": 3600 } } });
    spec["initContainers"] = json!([sidecar("x")]);
    spec["initContainers"][0]["lifecycle"] =
        json!({ "preStop": { "httpGet": { "host": "127.0.0.1", "port": port } } });
    let mut bench = Bench::new(spec).await;
    bench.until_ready().await;
    bench.mark_deleted(3600);
    let called = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
    drop(called.unwrap().unwrap());
    let ended = |log: Vec<String>| log.iter().any(|line| line.starts_with("stop "));
    assert!(!ended(bench.log()), "{:?}", bench.log());
    // Whoever has run out of patience still gives them a moment after TERM.
    bench.delete(0).await;
    let log = bench.log();
    assert!(log.contains(&"stop a-0 2".to_owned()), "{log:?}");
}
