mod other_pods;

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use serde_json::{Value, json};

use super::*;
use crate::{
    cycle::{Decision, decide},
    framework::Change,
    plugins::profile,
    state::State,
};

fn pod(uid: &str, priority: i32) -> Arc<PodInfo> {
    let mut pod = Pod::default();
    pod.metadata.uid = Some(uid.to_owned());
    pod.spec = Some(PodSpec {
        priority: Some(priority),
        ..PodSpec::default()
    });
    Arc::new(PodInfo::new(&Arc::new(pod)))
}

fn pop(queue: &mut Queue, now: Instant) -> Option<String> {
    queue.pop(now).ok().map(|attempt| attempt.info.uid.clone())
}

/// An event that helps a pod that nobody ruled out.
fn anything_changes(queue: &mut Queue) {
    let node = crate::snapshot::NodeInfo::default();
    let event = ClusterEvent::of_node(Change::NodeAdded, &node, None);
    queue.wake(&profile().into(), &event);
}

#[test]
fn higher_priority_first_then_first_come() {
    let mut queue = Queue::default();
    for (uid, priority) in [("a", 0), ("b", 5), ("c", 0), ("d", 5)] {
        queue.set(pod(uid, priority));
    }
    let now = Instant::now();
    let order: Vec<_> = std::iter::from_fn(|| pop(&mut queue, now)).collect();
    assert_eq!(order, ["b", "d", "a", "c"]);
}

#[test]
fn an_unschedulable_pod_waits_for_a_change() {
    let mut queue = Queue::default();
    queue.set(pod("a", 0));
    let now = Instant::now();
    let attempt = queue.pop(now).ok().unwrap();
    queue.unschedulable(&attempt, Rejectors::default(), now);
    assert_eq!(pop(&mut queue, now + Backoff::default().max), None);
    anything_changes(&mut queue);
    queue.set(pod("b", -1));
    assert_eq!(
        pop(&mut queue, now),
        Some("b".to_owned()),
        "the back-off is waited for while there is something else to try"
    );
    assert_eq!(pop(&mut queue, now), Some("a".to_owned()));
}

#[test]
fn a_change_during_the_attempt_is_not_missed() {
    let mut queue = Queue::default();
    queue.set(pod("a", 0));
    let now = Instant::now();
    let attempt = queue.pop(now).ok().unwrap();
    anything_changes(&mut queue);
    queue.unschedulable(&attempt, Rejectors::default(), now);
    assert_eq!(
        pop(&mut queue, now + Backoff::default().initial),
        Some("a".to_owned())
    );
}

#[test]
fn without_a_change_a_pod_is_tried_after_five_minutes() {
    let mut queue = Queue::default();
    queue.set(pod("a", 0));
    let now = Instant::now();
    let attempt = queue.pop(now).ok().unwrap();
    queue.unschedulable(&attempt, Rejectors::default(), now);
    assert_eq!(
        queue.pop(now).err().flatten(),
        Some(now + UNSCHEDULABLE_MAX)
    );
    assert_eq!(
        pop(&mut queue, now + UNSCHEDULABLE_MAX),
        Some("a".to_owned())
    );
}

#[test]
fn removed_pods_are_forgotten_wherever_they_are() {
    let mut queue = Queue::default();
    queue.set(pod("a", 0));
    queue.set(pod("b", 0));
    let now = Instant::now();
    let attempt = queue.pop(now).ok().unwrap();
    queue.remove(&attempt.info.uid);
    queue.unschedulable(&attempt, Rejectors::default(), now);
    queue.remove("b");
    assert_eq!((queue.len(), pop(&mut queue, now)), (0, None));
}

#[test]
fn back_off_doubles_to_its_limit() {
    let seconds: Vec<_> = (1..=6)
        .map(|n| Backoff::default().after(n).as_secs())
        .collect();
    assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
}

/// A scheduler's state without its tasks.
struct Bench {
    state: State,
    profiles: Profiles,
    now: Instant,
}

impl Bench {
    fn new(nodes: &[Value]) -> Self {
        let mut bench = Self {
            state: State::default(),
            profiles: profile().into(),
            now: Instant::now(),
        };
        for node in nodes {
            bench.set_node(node);
        }
        bench
    }

    fn set_node(&mut self, node: &Value) -> bool {
        let mut whole =
            json!({"status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}});
        for (key, value) in node.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        let node: Node = serde_json::from_value(whole).expect("a node");
        self.state.set_node(&self.profiles, &Arc::new(node))
    }

    fn pod(name: &str, node: Option<&str>, spec: &Value) -> Arc<PodInfo> {
        let mut spec = spec.clone();
        spec["nodeName"] = json!(node);
        if spec["containers"].is_null() {
            spec["containers"] = json!([]);
        }
        let pod = json!({"metadata": {"name": name, "uid": name}, "spec": spec});
        Arc::new(PodInfo::new(&Arc::new(
            serde_json::from_value(pod).expect("a pod"),
        )))
    }

    fn run(&mut self, name: &str, node: &str, spec: &Value) {
        let pod = Self::pod(name, Some(node), spec);
        self.state.set_pod(&self.profiles, pod);
    }

    fn end(&mut self, name: &str) {
        self.state.remove_pod(&self.profiles, name);
    }

    /// Tries the next pod as the cycle does: its node, or an empty name when it was set aside. `None`: nothing to try.
    fn step(&mut self) -> Option<String> {
        let attempt = self.state.queue.pop(self.now).ok()?;
        let plugins = self.profiles.of(&attempt.info);
        match decide(plugins, &self.state.snapshot, &attempt.info, &mut 0) {
            Decision::Node(node) => Some(node),
            Decision::None(rejection) => {
                let rejectors = rejection.rejectors;
                self.state
                    .queue
                    .unschedulable(&attempt, rejectors, self.now);
                Some(String::new())
            }
        }
    }
}

/// Sets `spec` aside among `nodes` with `pods` on them (name, node, spec), lets `change` happen after its back-off, and
/// tells what becomes of it at once.
fn after<R>(
    nodes: &[Value],
    pods: &[(&str, &str, Value)],
    spec: &Value,
    change: impl FnOnce(&mut Bench) -> R,
) -> Option<String> {
    let mut bench = Bench::new(nodes);
    for (name, node, spec) in pods {
        bench.run(name, node, spec);
    }
    bench.state.queue.set(Bench::pod("p", None, spec));
    assert_eq!(bench.step().as_deref(), Some(""), "it is set aside: {spec}");
    bench.now += Backoff::default().initial;
    change(&mut bench);
    bench.step()
}

fn plain() -> Value {
    json!({"metadata": {"name": "a"}})
}

fn node(more: Value) -> Value {
    let mut node = plain();
    for (key, value) in more.as_object().into_iter().flatten() {
        node[key] = value.clone();
    }
    node
}

fn cpu(cores: &str) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": {"cpu": cores}}}]})
}

fn port(number: u16) -> Value {
    json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": number}]}]})
}

#[test]
fn changes_of_nodes_wake_the_pods_that_they_help() {
    let labelled = |disk: &str| node(json!({"metadata": {"name": "a", "labels": {"disk": disk}}}));
    let tainted =
        |key: &str| node(json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule"}]}}));
    let roomy = |cpu: &str| node(json!({"status": {"allocatable": {"cpu": cpu, "pods": "3"}}}));
    let cordoned = || node(json!({"spec": {"unschedulable": true}}));
    let heartbeat = || {
        node(
            json!({"status": {"conditions": [{"type": "Ready", "status": "True"}],
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "3"}}}),
        )
    };
    let fast = json!({"nodeSelector": {"disk": "fast"}});
    let tolerant = json!({"tolerations": [{"key": "k", "operator": "Exists"}]});
    let (none, claiming) = (json!({}), json!({"resourceClaims": [{"name": "c"}]}));
    let (found, not_tried) = (Some("a"), None);
    let rows = [
        (plain(), &fast, labelled("fast"), found),
        (plain(), &fast, labelled("slow"), not_tried),
        (plain(), &fast, tainted("k"), not_tried),
        (plain(), &fast, roomy("8"), not_tried),
        (tainted("k"), &none, plain(), found),
        (tainted("k"), &none, tainted("other"), not_tried),
        (tainted("other"), &tolerant, tainted("k"), found),
        (tainted("k"), &none, cordoned(), Some("")),
        (cordoned(), &none, plain(), found),
        (cordoned(), &none, tainted("k"), Some("")),
        (plain(), &cpu("4"), roomy("4"), found),
        (plain(), &cpu("4"), roomy("3"), not_tried),
        (plain(), &cpu("4"), labelled("fast"), not_tried),
        (plain(), &cpu("4"), heartbeat(), not_tried),
        (plain(), &claiming, labelled("fast"), Some("")),
    ];
    for (before, spec, now, expected) in rows {
        let found = after(std::slice::from_ref(&before), &[], spec, |bench| {
            bench.set_node(&now)
        });
        assert_eq!(found.as_deref(), expected, "{spec}: {before} to {now}");
    }
}

#[test]
fn pods_that_go_wake_those_that_want_their_room() {
    let rows = [
        // What is on the node, what waits, who goes, whether it is tried.
        (cpu("1500m"), cpu("1"), true),
        (cpu("1500m"), cpu("3"), false),
        (port(80), port(80), true),
        (json!({}), json!({"nodeSelector": {"disk": "fast"}}), false),
    ];
    for (on_node, spec, tried) in rows {
        let pods = [("old", "a", on_node.clone())];
        let found = after(&[plain()], &pods, &spec, |bench| bench.end("old"));
        assert_eq!(found.is_some(), tried, "{spec} for {on_node}");
    }
    // One goes that was not in the way.
    let pods = [("old", "a", port(80)), ("other", "a", port(81))];
    let found = after(&[plain()], &pods, &port(80), |bench| bench.end("other"));
    assert_eq!(found, None);
    // The last place for a pod.
    let pods = ["x", "y", "z"].map(|name| (name, "a", json!({})));
    let found = after(&[plain()], &pods, &json!({}), |bench| bench.end("y"));
    assert_eq!(found.as_deref(), Some("a"));
}

#[test]
fn room_on_a_node_that_has_enough_but_is_closed_helps_nobody() {
    let closed = json!({"metadata": {"name": "b"}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}});
    let pods = [("full", "a", cpu("2")), ("old", "b", cpu("100m"))];
    let found = after(&[plain(), closed], &pods, &cpu("1"), |bench| {
        bench.end("old");
    });
    assert_eq!(found, None);
}

#[test]
fn a_new_node_helps_only_whom_it_passes() {
    let second = |labels: Value| json!({"metadata": {"name": "b", "labels": labels}});
    let rows = [
        (
            json!({"nodeSelector": {"disk": "fast"}}),
            json!({"disk": "fast"}),
            true,
        ),
        (json!({"nodeSelector": {"disk": "fast"}}), json!({}), false),
        (cpu("4"), json!({}), false),
    ];
    for (spec, labels, tried) in rows {
        let found = after(&[plain()], &[], &spec, |bench| {
            bench.set_node(&second(labels.clone()));
        });
        assert_eq!(found.is_some(), tried, "{spec} with {labels}");
    }
    // Without any node nobody ruled the pod out.
    let found = after(&[], &[], &json!({}), |bench| bench.set_node(&plain()));
    assert_eq!(found.as_deref(), Some("a"));
}

#[test]
fn events_that_do_not_help_do_not_add_to_the_back_off() {
    let mut bench = Bench::new(&[plain()]);
    for name in ["p", "huge"] {
        let spec = json!({"nodeSelector": {"disk": "fast"}});
        bench.state.queue.set(Bench::pod(name, None, &spec));
        assert_eq!(bench.step().as_deref(), Some(""));
    }
    for second in 0..20 {
        bench.now += Duration::from_secs(second);
        bench.run("short", "a", &cpu("1"));
        bench.end("short");
        assert_eq!(bench.step(), None);
    }
    assert!(!bench.set_node(&plain()), "nobody is woken");
    assert!(bench.set_node(&node(
        json!({"metadata": {"name": "a", "labels": {"disk": "fast"}}}),
    )));
    assert_eq!(bench.step().as_deref(), Some("a"));
    assert_eq!(bench.step().as_deref(), Some("a"));
}

#[test]
fn a_pod_that_is_woken_waits_while_there_are_others_to_try() {
    let mut bench = Bench::new(&[plain()]);
    bench.state.queue.set(Bench::pod("p", None, &cpu("4")));
    assert_eq!(bench.step().as_deref(), Some(""));
    bench.set_node(&node(
        json!({"status": {"allocatable": {"cpu": "4", "pods": "3"}}}),
    ));
    bench.state.queue.set(Bench::pod("q", None, &cpu("1")));
    bench.state.queue.set(Bench::pod("r", None, &cpu("4")));
    assert_eq!(bench.step().as_deref(), Some("a"), "q had not failed");
    assert_eq!(bench.step().as_deref(), Some("a"), "r had not either");
    assert_eq!(bench.step().as_deref(), Some("a"));
}

/// While pods are ended for it, a pod is not tried: it would choose others.
#[test]
fn a_pod_that_is_held_is_tried_once_it_is_released() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.set(pod("a", 0));
    let attempt = queue.pop(now).ok().unwrap();
    queue.unschedulable(&attempt, Rejectors::default(), now);
    queue.hold("a");
    queue.release("a");
    assert_eq!(
        pop(&mut queue, now),
        None,
        "nothing would have had it tried"
    );
    queue.hold("a");
    anything_changes(&mut queue);
    assert_eq!(
        pop(&mut queue, now + Backoff::default().max),
        None,
        "it is held"
    );
    queue.release("a");
    assert_eq!(pop(&mut queue, now), Some("a".to_owned()));
}

#[test]
fn a_pod_that_is_retried_waits_no_longer() {
    let mut queue = Queue::default();
    let now = Instant::now();
    queue.set(pod("a", 0));
    let attempt = queue.pop(now).ok().unwrap();
    queue.unschedulable(&attempt, Rejectors::default(), now);
    assert!(queue.retry("a") && !queue.retry("a") && !queue.retry("nobody"));
    assert_eq!(pop(&mut queue, now), Some("a".to_owned()));
    assert_eq!(pop(&mut queue, now + UNSCHEDULABLE_MAX), None);
}

/// The end of one that is as important leaves less important ones to be preempted.
#[test]
fn room_that_others_could_be_made_to_leave_counts() {
    let of = |name: &str, cpu: &str, priority: i32| {
        let mut spec = self::cpu(cpu);
        spec["priority"] = json!(priority);
        (name.to_owned(), spec)
    };
    for (policy, tried) in [("PreemptLowerPriority", true), ("Never", false)] {
        let mut bench = Bench::new(&[plain()]);
        for (name, spec) in [of("low", "1", 1), of("same", "1", 9)] {
            bench.run(&name, "a", &spec);
        }
        let (_, mut spec) = of("p", "1500m", 9);
        spec["preemptionPolicy"] = json!(policy);
        bench.state.queue.set(Bench::pod("p", None, &spec));
        assert_eq!(bench.step().as_deref(), Some(""));
        bench.end("same");
        assert_eq!(bench.step().is_some(), tried, "{policy}");
    }
}
