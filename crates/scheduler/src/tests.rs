//! The informers' handlers, fed by hand.

use knarr_client::fake;
use serde_json::{Value, json};

use super::*;

fn scheduler() -> (Scheduler, fake::Server) {
    let (client, server) = fake::client();
    let informers = Informers::new(client.clone(), CancellationToken::new());
    let scheduler = Scheduler::new(Config::default(), client, &informers);
    let node: Node = serde_json::from_value(json!({
        "metadata": {"name": "a"},
        "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10"}},
    }))
    .expect("a node");
    scheduler.nodes.replace(vec![node]);
    (scheduler, server)
}

fn pod(name: &str, uid: &str, cpu: &str, node: Option<&str>) -> Pod {
    let mut pod: Value = json!({
        "metadata": {"name": name, "namespace": "x", "uid": uid, "resourceVersion": uid},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]},
    });
    if let Some(node) = node {
        pod["spec"]["nodeName"] = json!(node);
    }
    serde_json::from_value(pod).expect("a pod")
}

fn requested(scheduler: &Scheduler) -> (resources::Amount, usize) {
    let state = scheduler.shared.state.lock();
    let node = state.snapshot.node("a").expect("the node");
    (node.requested.milli_cpu, node.pods.len())
}

#[tokio::test]
async fn a_relist_that_shows_another_pod_of_the_name_gives_the_old_ones_room_back() {
    let (scheduler, _server) = scheduler();
    scheduler
        .pods
        .replace(vec![pod("p", "1", "1500m", Some("a"))]);
    assert_eq!(requested(&scheduler), (1500, 1));
    scheduler
        .pods
        .replace(vec![pod("p", "2", "500m", Some("a"))]);
    assert_eq!(requested(&scheduler), (500, 1));
    scheduler.pods.replace(vec![pod("p", "3", "1", None)]);
    assert_eq!(requested(&scheduler), (0, 0));
    assert_eq!(scheduler.shared.state.lock().queue.len(), 1);
    scheduler.pods.replace(vec![pod("p", "4", "1", None)]);
    assert_eq!(scheduler.shared.state.lock().queue.len(), 1);
    scheduler.pods.replace(Vec::new());
    assert_eq!(scheduler.shared.state.lock().queue.len(), 0);
}

/// Sets a pod of one and a half CPUs aside, lets something happen, and tells whether it is to be tried again.
fn woken(change: impl FnOnce(&Scheduler)) -> bool {
    let (scheduler, _server) = scheduler();
    scheduler.pods.apply(pod("big", "1", "1500m", Some("a")));
    scheduler.pods.apply(pod("waits", "9", "1500m", None));
    let now = tokio::time::Instant::now();
    {
        let mut state = scheduler.shared.state.lock();
        let attempt = state.queue.pop(now).expect("it is tried");
        let plugins = scheduler.shared.profiles.of(&attempt.info);
        let decision = cycle::decide(plugins, &state.snapshot, &attempt.info, &mut 0);
        let cycle::Decision::None(rejection) = decision else {
            panic!("there is no room")
        };
        state
            .queue
            .unschedulable(&attempt, rejection.rejectors, now);
    }
    change(&scheduler);
    let later = now + Duration::from_secs(2);
    scheduler.shared.state.lock().queue.pop(later).is_ok()
}

#[tokio::test]
async fn room_that_an_update_frees_wakes_who_waits_for_it() {
    assert!(!woken(|_| {}));
    assert!(!woken(|s| s.pods.apply(pod(
        "big",
        "1",
        "1500m",
        Some("a")
    ))));
    assert!(woken(|s| s.pods.apply(pod("big", "1", "500m", Some("a")))));
    assert!(woken(|s| s.pods.apply(pod("big", "1", "1500m", Some("b")))));
    assert!(woken(|s| s.pods.apply(pod("big", "2", "500m", Some("a")))));
}

/// Whatever a binding's answer says, a pod that was seen on a node counts there.
#[tokio::test]
async fn a_failed_binding_takes_nothing_from_a_pod_that_was_seen_bound() {
    let (scheduler, _server) = scheduler();
    let waits = Arc::new(PodInfo::new(&Arc::new(pod("p", "1", "1", None))));
    let now = tokio::time::Instant::now();
    let profiles = &scheduler.shared.profiles;
    for confirmed in [true, false] {
        scheduler.pods.apply(pod("p", "1", "1", None));
        let mut state = scheduler.shared.state.lock();
        let attempt = state.queue.pop(now).expect("it is tried");
        state.snapshot.assume(attempt.info, "a");
        drop(state);
        if confirmed {
            scheduler.pods.apply(pod("p", "1", "1", Some("a")));
        }
        scheduler.shared.state.lock().forget(profiles, &waits, now);
        let expected = if confirmed { (1000, 1) } else { (0, 0) };
        assert_eq!(requested(&scheduler), expected);
        let queued = scheduler.shared.state.lock().queue.len();
        assert_eq!(queued, usize::from(!confirmed));
        scheduler.pods.remove(pod("p", "1", "1", None));
    }
}

/// A pod that is being bound counts once, whatever its status still says.
#[tokio::test]
async fn a_nomination_is_over_once_its_pod_is_being_bound() {
    let (scheduler, _server) = scheduler();
    let nominated = |version: &str| {
        let mut pod = pod("p", "1", "1", None);
        pod.metadata.resource_version = Some(version.to_owned());
        let status = pod.status.get_or_insert_default();
        status.nominated_node_name = Some("a".to_owned());
        pod
    };
    scheduler.pods.apply(nominated("1"));
    let holds = || {
        let state = scheduler.shared.state.lock();
        state.snapshot.nominated.to("a").len()
    };
    assert_eq!((holds(), requested(&scheduler)), (1, (0, 0)));
    let now = tokio::time::Instant::now();
    {
        let mut state = scheduler.shared.state.lock();
        let attempt = state.queue.pop(now).expect("it is tried");
        state.assume(&scheduler.shared.profiles, attempt.info, "a");
    }
    scheduler.pods.apply(nominated("2"));
    assert_eq!((holds(), requested(&scheduler)), (0, (1000, 1)));
    scheduler.pods.apply(pod("p", "1", "1", Some("a")));
    assert_eq!((holds(), requested(&scheduler)), (0, (1000, 1)));
}
