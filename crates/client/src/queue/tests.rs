use super::*;

async fn next(queue: &WorkQueue<&'static str>) -> &'static str {
    queue.next().await.expect("the queue runs")
}

fn is_idle(queue: &WorkQueue<&'static str>) -> bool {
    use futures::FutureExt;
    queue.next().now_or_never().is_none()
}

#[tokio::test(start_paused = true)]
async fn a_waiting_key_is_there_once() {
    let queue = WorkQueue::new();
    queue.add("a");
    queue.add("b");
    queue.add("a");
    assert_eq!(queue.len(), 2);
    assert_eq!((next(&queue).await, next(&queue).await), ("a", "b"));
    assert!(is_idle(&queue));
}

#[tokio::test(start_paused = true)]
async fn a_key_in_work_is_not_handed_out_twice_and_not_lost() {
    let queue = WorkQueue::new();
    queue.add("a");
    assert_eq!(next(&queue).await, "a");
    queue.add("a");
    queue.add("a");
    assert!(is_idle(&queue), "another worker has it");
    queue.done(&"a");
    assert_eq!(next(&queue).await, "a");
    queue.done(&"a");
    assert!(is_idle(&queue), "added twice, processed once more");
}

#[tokio::test(start_paused = true)]
async fn a_resting_key_is_not_handed_out_and_not_lost() {
    let queue = WorkQueue::new();
    let start = Instant::now();
    queue.add("a");
    queue.add("b");
    assert_eq!(next(&queue).await, "a");
    queue.add("a");
    queue.done_after(&"a", Duration::from_secs(3));
    queue.add("a");
    queue.add_after("a", Duration::from_secs(1));
    assert_eq!(next(&queue).await, "b", "others do not wait");
    assert_eq!(start.elapsed().as_secs(), 0);
    assert_eq!(next(&queue).await, "a");
    assert_eq!(start.elapsed().as_secs(), 3);
    queue.done_after(&"a", Duration::from_secs(3));
    tokio::time::advance(Duration::from_secs(10)).await;
    assert!(is_idle(&queue), "nobody asked while it rested");
    queue.add("a");
    assert_eq!(next(&queue).await, "a");
    assert_eq!(start.elapsed().as_secs(), 13, "the rest is over");
}

#[tokio::test(start_paused = true)]
async fn the_earliest_delay_counts() {
    let queue = WorkQueue::new();
    let start = Instant::now();
    queue.add_after("late", Duration::from_secs(10));
    queue.add_after("soon", Duration::from_secs(30));
    queue.add_after("soon", Duration::from_secs(5));
    queue.add_after("soon", Duration::from_secs(20));
    assert_eq!(next(&queue).await, "soon");
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(next(&queue).await, "late");
    assert_eq!(start.elapsed().as_secs(), 10);
    queue.done(&"soon");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(is_idle(&queue), "the outdated delays mean nothing");
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_worker_learns_of_an_earlier_delay() {
    let queue: WorkQueue<&'static str> = WorkQueue::new();
    queue.add_after("late", Duration::from_secs(100));
    let worker = tokio::spawn({
        let queue = queue.clone();
        async move { queue.next().await }
    });
    tokio::task::yield_now().await;
    let start = Instant::now();
    queue.add_after("soon", Duration::from_secs(1));
    assert_eq!(worker.await.expect("no panic"), Some("soon"));
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn failures_double_the_delay_until_forgotten() {
    let queue = WorkQueue::new();
    let mut delays = Vec::new();
    for _ in 0..4 {
        let start = Instant::now();
        queue.add_rate_limited("a");
        next(&queue).await;
        queue.done(&"a");
        delays.push(start.elapsed().as_millis());
    }
    assert_eq!(delays, [5, 10, 20, 40]);
    assert_eq!(queue.failures(&"a"), 4);
    queue.forget(&"a");
    let start = Instant::now();
    queue.add_rate_limited("a");
    next(&queue).await;
    assert_eq!(start.elapsed().as_millis(), 5);
}

#[tokio::test(start_paused = true)]
async fn many_failures_reach_the_longest_delay_only() {
    let queue = WorkQueue::new();
    let mut longest = Duration::ZERO;
    for _ in 0..80 {
        let start = Instant::now();
        queue.add_rate_limited("a");
        next(&queue).await;
        queue.done(&"a");
        longest = longest.max(start.elapsed());
    }
    assert_eq!(longest, RETRY_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_queue_may_be_patient() {
    let second = Duration::from_secs(1);
    let queue = WorkQueue::with_retries(second, second * 3);
    for wanted in [1, 2, 3, 3] {
        let start = Instant::now();
        queue.add_rate_limited("a");
        assert_eq!(queue.next().await, Some("a"));
        queue.done(&"a");
        assert_eq!(start.elapsed(), second * wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn shutting_down_ends_all_workers() {
    let queue: WorkQueue<&'static str> = WorkQueue::new();
    let workers: Vec<_> = (0..3)
        .map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move { queue.next().await })
        })
        .collect();
    tokio::task::yield_now().await;
    queue.shut_down();
    for worker in workers {
        assert_eq!(worker.await.expect("no panic"), None);
    }
    assert_eq!(queue.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn no_wake_up_is_lost_between_many_workers() {
    let queue: WorkQueue<u32> = WorkQueue::new();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let (queue, sender) = (queue.clone(), sender.clone());
            tokio::spawn(async move {
                while let Some(key) = queue.next().await {
                    tokio::task::yield_now().await;
                    queue.done(&key);
                    sender.send(key).expect("the test listens");
                }
            })
        })
        .collect();
    for key in 0..1000 {
        queue.add(key);
        if key % 7 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 1000 {
        seen.insert(receiver.recv().await.expect("workers run"));
    }
    queue.shut_down();
    for worker in workers {
        worker.await.expect("no panic");
    }
}
