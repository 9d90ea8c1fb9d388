//! Changes of a pod's resources, from the API to the runtime.

use serde_json::{Value, json};

use super::*;

const MI: u64 = 1 << 20;

fn sized(cpu: &str, memory: &str, policy: &Value) -> Value {
    let amounts = json!({ "cpu": cpu, "memory": memory });
    json!({ "containers": [{
        "name": "a", "image": "img:1", "resizePolicy": policy,
        "resources": { "requests": amounts, "limits": amounts },
    }] })
}

fn plain(cpu: &str, memory: &str) -> Value {
    sized(cpu, memory, &json!([]))
}

impl Bench {
    /// The API has another specification.
    fn wants(&mut self, spec: Value) {
        let generation = self.pod.metadata.generation.unwrap_or(1) + 1;
        let held = self.api.pod.lock().unwrap().clone().unwrap();
        let mut pod: Pod = serde_json::from_value(held).unwrap();
        pod.spec = testing::pod(spec).spec;
        pod.metadata.generation = Some(generation);
        *self.api.pod.lock().unwrap() = Some(serde_json::to_value(&pod).unwrap());
        self.pod = pod;
        self.input
            .send_replace(Update::new(Arc::new(self.pod.clone()), false));
    }

    /// Waits until the pod's container is promised this CPU and no change of it is under way.
    async fn until_cpu(&self, cpu: &str) -> Value {
        let generation = self.pod.metadata.generation;
        let done = |pod: Option<&Value>| {
            let Some(status) = pod.map(|pod| &pod["status"]) else {
                return false;
            };
            let container = &status["containerStatuses"][0];
            status["observedGeneration"].as_i64() == generation
                && condition(status, "PodResize").is_none()
                && container["allocatedResources"]["cpu"] == cpu
                && container["resources"]["requests"]["cpu"] == cpu
                && container["ready"] == true
        };
        self.api.until(cpu, done).await.unwrap()
    }

    async fn until_condition(&self, kind: &str, reason: &str) -> Value {
        let there = |pod: Option<&Value>| {
            let found = pod.and_then(|pod| condition(&pod["status"], kind));
            found.is_some_and(|found| found["reason"] == reason)
        };
        let pod = self.api.until(reason, there).await.unwrap();
        condition(&pod["status"], kind).unwrap().clone()
    }
}

/// The first condition whose type begins so.
fn condition<'a>(status: &'a Value, kind: &str) -> Option<&'a Value> {
    let mut conditions = status["conditions"].as_array()?.iter();
    conditions.find(|c| c["type"].as_str().is_some_and(|t| t.starts_with(kind)))
}

#[tokio::test]
async fn a_running_container_gets_other_resources() {
    let mut bench = Bench::new(plain("100m", "100Mi")).await;
    bench.until_ready().await;
    bench.wants(plain("200m", "200Mi"));
    let pod = bench.until_cpu("200m").await;
    let resources = &pod["status"]["containerStatuses"][0]["resources"];
    assert_eq!(
        resources["limits"],
        json!({ "cpu": "200m", "memory": "200Mi" })
    );
    // Memory first, then CPU.
    assert_eq!(
        bench.log()[3..],
        [
            format!("update a-0 quota=10000 memory={}", 200 * MI),
            format!("update a-0 quota=20000 memory={}", 200 * MI),
        ]
    );
    bench.delete(0).await;
}

#[tokio::test]
async fn a_container_that_asks_for_it_is_started_anew() {
    let policy = json!([{ "resourceName": "cpu", "restartPolicy": "RestartContainer" }]);
    let mut spec = sized("100m", "100Mi", &policy);
    spec["restartPolicy"] = json!("OnFailure");
    let mut bench = Bench::new(spec.clone()).await;
    bench.until_ready().await;
    let mut more = sized("200m", "100Mi", &policy);
    more["restartPolicy"] = json!("OnFailure");
    bench.wants(more);
    let pod = bench.until_cpu("200m").await;
    assert_eq!(pod["status"]["containerStatuses"][0]["restartCount"], 1);
    assert_eq!(bench.log()[3..], ["stop a-0 30", "create a-1", "start a-1"]);
}

#[tokio::test]
async fn what_does_not_fit_waits() {
    let mut bench = Bench::new(plain("100m", "100Mi")).await;
    bench.until_ready().await;
    bench.wants(plain("100000", "100Mi"));
    let pending = bench.until_condition("PodResizePending", "Deferred").await;
    let why = pending["message"].as_str().unwrap();
    assert!(
        why.starts_with("Node didn't have enough resource: cpu, requested: 100000000, used: 0")
    );
    assert_eq!(pending["observedGeneration"], 2);
    // A new kubelet has promised no more.
    bench.restart().await;
    bench.until_condition("PodResizePending", "Deferred").await;
    let pod = bench.api.pod.lock().unwrap().clone().unwrap();
    let container = &pod["status"]["containerStatuses"][0];
    assert_eq!(container["allocatedResources"]["cpu"], "100m");
    bench.wants(plain("100m", "100Mi"));
    bench.until_cpu("100m").await;
    assert_eq!(bench.log().len(), 3, "{:?}", bench.log());
}

#[tokio::test]
async fn memory_in_use_is_not_taken_away() {
    let mut bench = Bench::new(plain("100m", "100Mi")).await;
    bench.until_ready().await;
    bench.fake.state(|state| state.memory_used = 60 * MI);
    bench.wants(plain("100m", "50Mi"));
    let failed = bench.until_condition("PodResizeInProgress", "Error").await;
    let why = failed["message"].as_str().unwrap();
    assert!(
        why.contains("pod memory limit (52428800) below current usage (62914560)"),
        "{why}"
    );
    let pod = bench.api.pod.lock().unwrap().clone().unwrap();
    let resources = &pod["status"]["containerStatuses"][0]["resources"];
    assert_eq!(resources["requests"]["memory"], "100Mi");
    bench.wants(plain("100m", "80Mi"));
    bench.until_cpu("100m").await;
    assert_eq!(
        bench.log()[3..],
        [format!("update a-0 quota=10000 memory={}", 80 * MI)]
    );
}

#[tokio::test]
async fn a_change_while_the_kubelet_was_away_is_made() {
    let mut bench = Bench::new(plain("100m", "100Mi")).await;
    bench.until_ready().await;
    let mut pod = bench.api.pod.lock().unwrap().clone().unwrap();
    pod["spec"] = plain("300m", "100Mi");
    *bench.api.pod.lock().unwrap() = Some(pod);
    bench.restart().await;
    bench.until_cpu("300m").await;
    assert_eq!(
        bench.log()[3..],
        [format!("update a-0 quota=30000 memory={}", 100 * MI)]
    );
}

#[tokio::test]
async fn an_ephemeral_container_is_started_beside_the_others() {
    let mut bench = Bench::new(one("Always")).await;
    bench.until_ready().await;
    let mut spec = one("Always");
    spec["ephemeralContainers"] =
        json!([{ "name": "debugger", "image": "img:1", "targetContainerName": "a" }]);
    bench.wants(spec);
    let runs = |pod: Option<&Value>| {
        let statuses = pod.map(|pod| &pod["status"]["ephemeralContainerStatuses"][0]);
        statuses.is_some_and(|status| status["state"]["running"].is_object())
    };
    bench.api.until("the debugger runs", runs).await;
    bench.fake.exit("debugger", 1);
    let ended = |pod: Option<&Value>| {
        let statuses = pod.map(|pod| &pod["status"]["ephemeralContainerStatuses"][0]);
        statuses.is_some_and(|status| status["state"]["terminated"]["exitCode"] == 1)
    };
    let pod = bench
        .api
        .until("the debugger has ended", ended)
        .await
        .unwrap();
    assert_eq!(pod["status"]["phase"], "Running");
    bench.restart().await;
    bench.delete(0).await;
    let log = bench.log();
    assert_eq!(log[3..5], ["create debugger-0", "start debugger-0"]);
    assert!(!log.iter().any(|entry| entry == "create debugger-1"));
}
