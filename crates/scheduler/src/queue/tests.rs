use k8s_openapi::api::core::v1::{Pod, PodSpec};

use super::*;

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
    queue.unschedulable(&attempt, now);
    assert_eq!(pop(&mut queue, now + BACKOFF_MAX), None);
    queue.retry_unschedulable();
    assert_eq!(
        pop(&mut queue, now),
        None,
        "the back-off is still waited for"
    );
    assert_eq!(pop(&mut queue, now + BACKOFF_BASE), Some("a".to_owned()));
}

#[test]
fn a_change_during_the_attempt_is_not_missed() {
    let mut queue = Queue::default();
    queue.set(pod("a", 0));
    let now = Instant::now();
    let attempt = queue.pop(now).ok().unwrap();
    queue.retry_unschedulable();
    queue.unschedulable(&attempt, now);
    assert_eq!(pop(&mut queue, now + BACKOFF_BASE), Some("a".to_owned()));
}

#[test]
fn without_a_change_a_pod_is_tried_after_five_minutes() {
    let mut queue = Queue::default();
    queue.set(pod("a", 0));
    let now = Instant::now();
    let attempt = queue.pop(now).ok().unwrap();
    queue.unschedulable(&attempt, now);
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
    queue.unschedulable(&attempt, now);
    queue.remove("b");
    assert_eq!((queue.len(), pop(&mut queue, now)), (0, None));
}

#[test]
fn back_off_doubles_to_its_limit() {
    let seconds: Vec<_> = (1..=6).map(|n| backoff(n).as_secs()).collect();
    assert_eq!(seconds, [1, 2, 4, 8, 10, 10]);
}
