use serde_json::json;

use super::*;
use crate::testing::object;

fn pod(name: &str, uid: &str) -> Pod {
    object(
        json!({ "metadata": { "name": name, "namespace": "ns", "uid": uid }, "spec": { "containers": [] } }),
    )
}

fn mirror(name: &str, uid: &str, of: &str, phase: &str) -> Arc<Pod> {
    Arc::new(object(json!({
        "metadata": { "name": name, "namespace": "ns", "uid": uid, "annotations": { MIRROR: of } },
        "status": { "phase": phase },
    })))
}

fn shown(steps: impl IntoIterator<Item = Step>) -> Vec<String> {
    let mut shown: Vec<String> = steps
        .into_iter()
        .map(|step| match step {
            Step::Start(pod) => format!("start {}", context::uid(&pod)),
            Step::End(pod) => format!("end {}", context::uid(&pod)),
        })
        .collect();
    shown.sort();
    shown
}

fn set(statics: &mut Statics, source: Source, pods: &[(&str, &str)]) -> Vec<String> {
    let pods = pods.iter().map(|(name, uid)| pod(name, uid)).collect();
    shown(statics.set(source, pods).0)
}

#[test]
fn one_pod_of_a_name_runs_at_a_time() {
    let mut all = Statics::default();
    assert_eq!(
        set(&mut all, Source::File, &[("a", "1"), ("b", "2")]),
        ["start 1", "start 2"]
    );
    // What is the same stays.
    assert_eq!(
        set(&mut all, Source::File, &[("a", "1"), ("b", "3")]),
        ["end 2"]
    );
    // It is changed once more while the first one ends.
    assert_eq!(
        set(&mut all, Source::File, &[("a", "1"), ("b", "4")]),
        [""; 0]
    );
    assert!(all.contains("2") && all.contains("4") && !all.contains("3"));
    assert_eq!(shown(all.ended("2")), ["start 4"]);
    // Gone, and back before it has ended.
    assert_eq!(set(&mut all, Source::File, &[("b", "4")]), ["end 1"]);
    assert_eq!(
        set(&mut all, Source::File, &[("a", "1"), ("b", "4")]),
        [""; 0]
    );
    assert_eq!(shown(all.ended("1")), ["start 1"]);
    assert_eq!(set(&mut all, Source::File, &[]), ["end 1", "end 4"]);
    assert_eq!(
        shown(all.ended("1").into_iter().chain(all.ended("4"))),
        [""; 0]
    );
    assert!(all.list().is_empty() && all.slots.is_empty());
}

#[test]
fn of_two_pods_of_one_name_the_first_is_taken() {
    let mut all = Statics::default();
    let (steps, doubled) = all.set(Source::File, vec![pod("a", "1"), pod("a", "2")]);
    assert_eq!(shown(steps), ["start 1"]);
    assert_eq!(doubled.len(), 1);
    let (steps, doubled) = all.set(Source::Http, vec![pod("a", "3")]);
    assert_eq!(shown(steps), [""; 0]);
    assert_eq!(doubled.len(), 1, "the other has been told of");
    assert_eq!(set(&mut all, Source::File, &[]), ["end 1"]);
    assert_eq!(shown(all.ended("1")), ["start 3"]);
}

#[test]
fn what_was_left_has_its_name_until_it_is_gone() {
    let mut all = Statics::default();
    all.adopt(Arc::new(pod("a", "old")));
    assert_eq!(set(&mut all, Source::File, &[("a", "1")]), [""; 0]);
    let key = ("ns".to_owned(), "a".to_owned());
    assert!(all.update(&key, None).is_none());
    assert_eq!(context::uid(&all.get("ns", "a").unwrap()), "1");
    assert_eq!(all.wants(&[])[&key], Want::Whatever);
    assert_eq!(shown(all.ended("old")), ["start 1"]);
    assert!(matches!(all.wants(&[])[&key], Want::Mirror(_, None)));
}

#[test]
fn when_a_pod_was_first_seen_stays() {
    let mut all = Statics::default();
    let seen = |all: &Statics| {
        all.get("ns", "a")
            .unwrap()
            .metadata
            .annotations
            .clone()
            .unwrap()[SEEN]
            .clone()
    };
    set(&mut all, Source::File, &[("a", "1")]);
    let first = seen(&all);
    set(&mut all, Source::File, &[("a", "1")]);
    assert_eq!(seen(&all), first);
}

#[test]
fn a_worker_sees_the_status_of_its_own_mirror() {
    let mut all = Statics::default();
    set(&mut all, Source::File, &[("a", "1")]);
    let key = ("ns".to_owned(), "a".to_owned());
    let mut deleted = Pod::clone(&mirror("a", "m", "1", "Running"));
    deleted.metadata.deletion_timestamp = Some(Time(Timestamp::now()));
    for (given, taken) in [
        (mirror("a", "m1", "0", "Running"), false),
        (Arc::new(deleted), false),
        // Of the same pod when it ran before.
        (mirror("a", "m2", "1", "Failed"), false),
        (mirror("a", "m3", "1", "Pending"), true),
        // Once it is taken, it may end.
        (mirror("a", "m3", "1", "Failed"), true),
    ] {
        let phase = given.status.clone().unwrap().phase;
        let update = all.update(&key, Some(given)).unwrap();
        assert_eq!(update.object.is_some(), taken, "{phase:?}");
        if taken {
            assert_eq!(update.pod.status.clone().unwrap().phase, phase);
        }
        assert_eq!(update.pod.metadata.deletion_timestamp, None);
    }
    set(&mut all, Source::File, &[]);
    let meta = &all.update(&key, None).unwrap().pod.metadata;
    assert!(meta.deletion_timestamp.is_some());
    assert_eq!(meta.deletion_grace_period_seconds, Some(30));
}
