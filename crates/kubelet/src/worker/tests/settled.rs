//! What the API is told while containers are killed and started.

use super::*;
use crate::configuration::KubeletConfiguration;

impl Bench {
    /// The first container's status and the pod's Ready condition, after each write from number `first` on.
    fn told(&self, first: usize) -> Vec<(Value, Value)> {
        let history = self.api.history.lock().unwrap();
        let told = history.iter().skip(first).map(|pod| {
            let conditions = pod["status"]["conditions"].as_array().unwrap();
            let mut conditions = conditions.iter();
            let ready = conditions.find(|c| c["type"] == "Ready").unwrap();
            (
                pod["status"]["containerStatuses"][0].clone(),
                ready["status"].clone(),
            )
        });
        told.collect()
    }

    async fn until_restarted(&self, count: u64) {
        let done = |pod: Option<&Value>| {
            let container = pod.map(|pod| &pod["status"]["containerStatuses"][0]);
            container.is_some_and(|c| c["restartCount"] == count && c["ready"] == true)
        };
        self.api.until("it is started anew", done).await;
    }
}

#[tokio::test]
async fn a_container_that_is_replaced_stays_ready_until_its_successor_is() {
    let mut bench = Bench::new(one("Never")).await;
    bench.until_ready().await;
    let before = bench.told(0).len();
    let mut spec = one("Never");
    spec["containers"][0]["image"] = json!("img:2");
    bench.pod.spec = testing::pod(spec).spec;
    let update = Update::new(Arc::new(bench.pod.clone()), false);
    bench.input.send_replace(update);
    bench.until_restarted(1).await;
    assert_eq!(bench.log()[3..], ["stop a-0 30", "create a-1", "start a-1"]);
    let told = bench.told(before);
    for (container, ready) in &told {
        assert!(container["state"]["running"].is_object(), "{told:#?}");
        assert_eq!(ready, "True", "{told:#?}");
    }
    let (last, _) = told.last().unwrap();
    assert_eq!(last["lastState"]["terminated"]["exitCode"], 143);
    bench.delete(0).await;
}

#[tokio::test]
async fn a_container_that_was_held_off_waits_until_it_runs() {
    let config = Config {
        configuration: KubeletConfiguration::with(|own| {
            own.crash_loop_back_off.max_container_restart_period = Duration::from_secs(1);
        }),
        ..Config::default()
    };
    let mut bench = Bench::configured(one("Always"), |_| {}, config).await;
    bench.until_ready().await;
    bench.fake.exit("a", 1);
    bench.until_restarted(1).await;
    bench.fake.exit("a", 1);
    bench.until_restarted(2).await;
    let told = bench.told(0);
    let waits = |(container, _): &(Value, Value)| {
        container["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    };
    let held = told.iter().position(waits).unwrap();
    let after = told.iter().skip(held).find(|told| !waits(told)).unwrap();
    assert!(after.0["state"]["running"].is_object(), "{told:#?}");
    // It is told of to the end as it was at last.
    bench.delete(0).await;
    let counts: Vec<_> = bench
        .told(0)
        .iter()
        .map(|(c, _)| c["restartCount"].as_u64())
        .collect();
    assert!(counts.is_sorted(), "{counts:?}");
}

#[tokio::test]
async fn a_container_waits_for_its_hook_in_a_sandbox_that_is_ready() {
    let mut spec = one("Always");
    spec["containers"][0]["lifecycle"] = json!({ "postStart": { "sleep": { "seconds": 3600 } } });
    let mut bench = Bench::new(spec).await;
    bench.api.until_told("Started").await;
    let ready = |pod: Option<&Value>| {
        let conditions = pod.and_then(|pod| pod["status"]["conditions"].as_array());
        let mut all = conditions.into_iter().flatten();
        all.any(|c| c["type"] == "PodReadyToStartContainers" && c["status"] == "True")
    };
    let pod = bench
        .api
        .until("the sandbox is ready", ready)
        .await
        .unwrap();
    let status = &pod["status"];
    let waiting = &status["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "ContainerCreating", "{status:#}");
    assert_eq!(status["podIP"], "10.42.0.9");
    bench.delete(0).await;
}
