use serde_json::{Value, json};

use super::*;
use crate::testing::object;

fn room() -> Room {
    Room {
        units: Units::from([(CPU, 1_000), (MEMORY, 1 << 30)]),
        pods: 10,
    }
}

fn pod(uid: &str, cpu: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": uid, "namespace": "shop", "uid": uid },
        "spec": { "containers": [{ "name": "a", "resources": { "requests": { "cpu": cpu } } }] },
    });
    if let (Some(spec), Value::Object(more)) = (pod["spec"].as_object_mut(), more) {
        spec.extend(more);
    }
    Arc::new(object(pod))
}

fn plain(uid: &str, cpu: &str) -> Arc<Pod> {
    pod(uid, cpu, json!({}))
}

struct Bench {
    dir: tempfile::TempDir,
    all: Allocations,
    bell: Arc<Notify>,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            all: Allocations::new(dir.path().to_owned(), room()),
            bell: Arc::default(),
            dir,
        }
    }

    /// As after a start of the kubelet.
    fn restart(&mut self) {
        self.all = Allocations::new(self.dir.path().to_owned(), room());
    }

    fn admit(&self, pod: &Arc<Pod>) {
        self.all.admit(pod, true, |_| Ok(())).unwrap();
    }

    fn ask(&self, pod: &Arc<Pod>) -> Answer {
        self.all.ask(pod, &self.bell, None)
    }

    /// CPU that the pod is promised.
    fn cpu(&self, pod: &Arc<Pod>) -> String {
        let promised = self.all.promised(pod);
        let container = containers(&promised).next().unwrap();
        let requests = container.resources.as_ref().unwrap().requests.as_ref();
        requests.unwrap()["cpu"].0.clone()
    }
}

fn no_room(asked: i64, used: i64) -> Answer {
    Answer::Deferred(format!(
        "Node didn't have enough resource: cpu, requested: {asked}, used: {used}, capacity: 1000"
    ))
}

#[test]
fn what_fits_is_promised() {
    let bench = Bench::new();
    let (one, other) = (plain("one", "300m"), plain("other", "500m"));
    // Nobody has let it in.
    assert_eq!(bench.ask(&one), Answer::Kept);
    bench.admit(&one);
    bench.admit(&other);
    assert_eq!(bench.ask(&one), Answer::Kept);
    // The same in other words.
    assert_eq!(bench.ask(&plain("one", "0.3")), Answer::Kept);
    assert_eq!(bench.ask(&plain("one", "500m")), Answer::Promised);
    assert_eq!(bench.ask(&plain("one", "500m")), Answer::Kept);
    let more = plain("one", "501m");
    assert_eq!(bench.ask(&more), no_room(501, 500));
    assert_eq!(bench.cpu(&more), "500m");
    // It thinks better of it.
    assert_eq!(bench.ask(&plain("one", "500m")), Answer::Kept);
}

#[test]
fn room_is_free_once_containers_have_less() {
    let bench = Bench::new();
    let (one, other) = (plain("one", "500m"), plain("other", "500m"));
    bench.admit(&one);
    bench.admit(&other);
    let (less, more) = (plain("one", "200m"), plain("other", "700m"));
    assert_eq!(bench.ask(&less), Answer::Promised);
    assert_eq!(bench.ask(&more), no_room(700, 500));
    let given = containers(&less).next().unwrap().resources.clone().unwrap();
    bench.all.give("one", "a", given);
    bench.all.settle(&less);
    // It has been promised meanwhile, and hears of it once.
    assert_eq!(bench.cpu(&more), "700m");
    assert_eq!(bench.ask(&more), Answer::Promised);
    assert_eq!(bench.ask(&more), Answer::Kept);
}

#[test]
fn the_most_urgent_comes_first() {
    let bench = Bench::new();
    let big = plain("big", "400m");
    bench.admit(&big);
    let with = |uid, cpu, priority: i32| pod(uid, cpu, json!({ "priority": priority }));
    for uid in ["low", "high", "late"] {
        bench.admit(&with(uid, "200m", 0));
    }
    let (low, high, late) = (
        with("low", "400m", 1),
        with("high", "400m", 5),
        with("late", "400m", 5),
    );
    for pod in [&low, &high, &late] {
        assert!(matches!(bench.ask(pod), Answer::Deferred(_)));
    }
    bench.all.release("big");
    let got = [&low, &high, &late].map(|pod| bench.cpu(pod));
    assert_eq!(got, ["200m", "400m", "400m"]);
    bench.all.forget("late");
    assert_eq!(bench.cpu(&low), "400m");
}

#[test]
fn who_asks_again_keeps_its_place() {
    let bench = Bench::new();
    let (big, first, second) = (
        plain("big", "600m"),
        plain("first", "100m"),
        plain("second", "100m"),
    );
    for pod in [&big, &first, &second] {
        bench.admit(pod);
    }
    let (first, second) = (plain("first", "800m"), plain("second", "800m"));
    for pod in [&first, &second, &first] {
        assert!(matches!(bench.ask(pod), Answer::Deferred(_)));
    }
    bench.all.release("big");
    assert_eq!(
        [&first, &second].map(|pod| bench.cpu(pod)),
        ["800m", "100m"]
    );
    // A kubelet that was started anew hears of the others first, and knows who has waited longer.
    let early = Some(Timestamp::UNIX_EPOCH);
    let third = plain("third", "100m");
    bench.admit(&third);
    let third = plain("third", "800m");
    let asked = bench.all.ask(&third, &bench.bell, early);
    assert!(matches!(asked, Answer::Deferred(_)));
    bench.all.forget("first");
    assert_eq!(
        [&third, &second].map(|pod| bench.cpu(pod)),
        ["800m", "100m"]
    );
}

#[test]
fn promises_outlast_the_kubelet() {
    let mut bench = Bench::new();
    let (one, other) = (plain("one", "300m"), plain("other", "500m"));
    bench.admit(&one);
    bench.admit(&other);
    bench.restart();
    // It asked for more while the kubelet was away: the other one still has its room, whoever comes first.
    let more = plain("one", "600m");
    assert_eq!(bench.cpu(&more), "300m");
    bench.admit(&bench.all.promised(&more));
    assert_eq!(bench.ask(&more), no_room(600, 500));
    bench.all.forget("other");
    assert_eq!(bench.ask(&more), Answer::Promised);
    bench.restart();
    assert_eq!(bench.cpu(&plain("one", "1")), "600m");
    // What cannot be read is not there.
    std::fs::write(bench.dir.path().join("one").join(FILE), b"{").unwrap();
    bench.restart();
    assert_eq!(bench.cpu(&plain("one", "1")), "1");
}

#[test]
fn what_is_stated_for_the_pod_is_promised_too() {
    let mut bench = Bench::new();
    let stated = |cpu: &str| {
        pod(
            "a",
            "100m",
            json!({ "resources": { "requests": { "cpu": cpu } } }),
        )
    };
    let of = |bench: &Bench, pod: &Arc<Pod>| {
        let promised = bench.all.promised(pod);
        whole(&promised).unwrap().requests.as_ref().unwrap()["cpu"]
            .0
            .clone()
    };
    bench.admit(&stated("200m"));
    bench.admit(&plain("b", "500m"));
    assert_eq!(bench.ask(&stated("300m")), Answer::Promised);
    // It has no room for more.
    let more = stated("600m");
    assert!(matches!(bench.ask(&more), Answer::Deferred(_)));
    assert_eq!(of(&bench, &more), "300m");
    bench.restart();
    assert_eq!(of(&bench, &more), "300m");
    bench.admit(&more);
    bench.admit(&plain("b", "500m"));
    assert!(matches!(bench.ask(&more), Answer::Deferred(_)));
    bench.all.release("b");
    assert_eq!(bench.ask(&more), Answer::Promised);
    assert_eq!(of(&bench, &more), "600m");
}
