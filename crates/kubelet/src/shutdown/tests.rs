use std::{collections::BTreeMap, path::Path};

use serde_json::{Value, json};

use super::{bus::testing::FakeLogind, *};
use crate::{
    config::Config,
    configuration::KubeletConfiguration,
    testing::{
        self,
        fake::{Api, Fake},
    },
};

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    Settings::clone(&KubeletConfiguration::with(change).settings)
}

fn shown(periods: &[Period]) -> Vec<(i32, i64)> {
    periods
        .iter()
        .map(|period| (period.priority, period.seconds))
        .collect()
}

#[test]
fn times_are_those_of_priorities_or_of_two_groups() {
    assert_eq!(periods(&settings(|_| ())), []);
    let two = settings(|own| {
        own.shutdown_grace_period = Duration::from_secs(30);
        own.shutdown_grace_period_critical_pods = Duration::from_secs(10);
    });
    assert_eq!(shown(&periods(&two)), [(0, 20), (CRITICAL, 10)]);
    let many = settings(|own| {
        let list = json!([
            { "priority": 1000, "shutdownGracePeriodSeconds": 5 },
            { "priority": 0, "shutdownGracePeriodSeconds": 60 },
        ]);
        own.shutdown_grace_period_by_pod_priority = serde_json::from_value(list).unwrap();
    });
    assert_eq!(shown(&periods(&many)), [(0, 60), (1000, 5)]);
}

#[test]
fn pods_go_with_the_period_below_their_priority() {
    let periods = [1, 10, 100].map(|priority| Period {
        priority,
        seconds: 1,
    });
    let pod = |priority: i32| {
        let mut pod = testing::pod(json!({ "priority": priority, "containers": [] }));
        pod.metadata.uid = Some(priority.to_string());
        Arc::new(pod)
    };
    let groups = groups(&periods, [-5, 0, 1, 9, 10, 99, 100, 5000].map(pod).into());
    let found: BTreeMap<i32, Vec<String>> = groups
        .into_iter()
        .map(|(period, pods)| {
            let uids = pods.iter().map(|pod| context::uid(pod).to_owned());
            (period.priority, uids.collect())
        })
        .collect();
    assert_eq!(found[&1], ["-5", "0", "1", "9"]);
    assert_eq!(found[&10], ["10", "99"]);
    assert_eq!(found[&100], ["100", "5000"]);
}

async fn kubelet(dir: &Path) -> Shared {
    let fake = Fake::default();
    fake.serve(&dir.join("cri.sock"));
    let api = Api::new(&testing::pod(json!({ "containers": [] })));
    let configuration = KubeletConfiguration::with(|own| {
        own.shutdown_grace_period = Duration::from_secs(20);
        own.shutdown_grace_period_critical_pods = Duration::from_secs(5);
    });
    let config = Config {
        configuration,
        ..Config::default()
    };
    std::fs::create_dir_all(dir.join("kubelet")).unwrap();
    testing::context(api.client(), config, dir).await
}

/// Waits for what another task does.
async fn until(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(
        timeout(Duration::from_secs(20), wait).await.is_ok(),
        "{what}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_waits_until_pods_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let ctx = kubelet(dir.path()).await;
    // Logind would wait five seconds.
    let fake = FakeLogind::start(dir.path(), 5_000_000);
    let logind = Logind::at(fake.socket.clone(), dir.path().join("logind.conf.d"));
    logind.check().unwrap();
    let token = CancellationToken::new();
    let running = tokio::spawn(run(ctx.clone(), logind, token.clone()));
    until("the lock is taken", || fake.locks() == 1).await;
    let text = std::fs::read_to_string(dir.path().join("logind.conf.d/99-kubelet.conf")).unwrap();
    assert!(text.ends_with("[Login]\nInhibitDelayMaxSec=20\n"), "{text}");
    assert_eq!(
        (ctx.shutdown.trouble(), ctx.shutdown.admit()),
        (None, Ok(()))
    );
    fake.tell(true);
    until("the lock is let go", || fake.locks() == 0).await;
    assert_eq!(ctx.shutdown.trouble(), Some("node is shutting down"));
    let rejected = ctx.shutdown.admit().unwrap_err();
    assert_eq!(rejected.reason, "NodeShutdown");
    assert_eq!(
        rejected.message,
        "Pod was rejected as the node is shutting down."
    );
    let state = std::fs::read(ctx.config.root().path().join(STATE_FILE)).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert!(
        state["startTime"].as_str() <= state["endTime"].as_str(),
        "{state}"
    );
    fake.tell(false);
    until("the lock is taken again", || fake.locks() == 1).await;
    until("the node is back", || ctx.shutdown.trouble().is_none()).await;
    token.cancel();
    running.await.unwrap();
    until("nothing is left", || fake.locks() == 0).await;
}

#[test]
fn a_machine_without_logind_is_told_of() {
    let nowhere = Logind::at("/nowhere/bus".into(), "/nowhere".into());
    let error = nowhere.check().unwrap_err();
    assert!(error.starts_with("/nowhere/bus: "), "{error}");
}
