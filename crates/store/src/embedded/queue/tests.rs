use super::*;
use futures::FutureExt;

const SOON: Duration = Duration::from_secs(5);

fn op(bytes: usize) -> Op {
    Op::put("/a", vec![0; bytes])
}

fn submit(queue: &Queue, op: Op) -> Option<Result<oneshot::Receiver<Result<Outcome>>>> {
    queue.submit(op).now_or_never()
}

#[test]
fn a_full_queue_makes_writers_wait() {
    let queue = Queue::new(2);
    assert!(submit(&queue, op(1)).is_some());
    assert!(submit(&queue, op(1)).is_some());
    assert!(submit(&queue, op(1)).is_none(), "the third has to wait");
    assert_eq!(queue.take(SOON).map(|batch| batch.len()), Some(2));
    assert!(submit(&queue, op(1)).is_some(), "there is room again");
}

#[test]
fn batches_are_bounded_in_bytes_and_requests() {
    let queue = Queue::new(5000);
    for _ in 0..3 {
        submit(&queue, op(3 << 20));
    }
    assert_eq!(queue.take(SOON).map(|batch| batch.len()), Some(2));
    assert_eq!(
        queue.take(SOON).map(|batch| batch.len()),
        Some(1),
        "a request over the limit goes alone"
    );
    for _ in 0..MAX_BATCH_REQUESTS + 7 {
        submit(&queue, op(1));
    }
    assert_eq!(
        queue.take(SOON).map(|batch| batch.len()),
        Some(MAX_BATCH_REQUESTS)
    );
    assert_eq!(queue.take(SOON).map(|batch| batch.len()), Some(7));
}

#[test]
fn a_closed_queue_serves_what_it_has() {
    let queue = Queue::new(5);
    submit(&queue, op(1));
    queue.close();
    assert!(matches!(submit(&queue, op(1)), Some(Err(Error::Closed))));
    assert_eq!(queue.take(SOON).map(|batch| batch.len()), Some(1));
    assert!(queue.take(SOON).is_none());
}

#[test]
fn a_nudge_wakes_without_requests() {
    let queue = Queue::new(5);
    queue.nudge();
    assert_eq!(queue.take(SOON).map(|batch| batch.len()), Some(0));
}

#[test]
fn the_next_batch_waits_for_the_writers_of_the_last() {
    let queue = std::sync::Arc::new(Queue::new(100));
    for _ in 0..12 {
        submit(&queue, op(1));
    }
    assert_eq!(queue.take(SOON).map(|batch| batch.len()), Some(12));
    let writer = std::thread::spawn({
        let queue = queue.clone();
        move || queue.take(SOON).map(|batch| batch.len())
    });
    submit(&queue, op(1));
    // Only one came back: the wait for the others ends by itself.
    assert_eq!(writer.join().ok(), Some(Some(1)));
}

#[test]
fn an_abandoned_queue_lets_its_writers_go() {
    let queue = Queue::new(5);
    let Some(Ok(mut outcome)) = submit(&queue, op(1)) else {
        panic!("there is room")
    };
    queue.abandon();
    assert!(matches!(
        outcome.try_recv(),
        Err(oneshot::error::TryRecvError::Closed)
    ));
    assert!(matches!(submit(&queue, op(1)), Some(Err(Error::Closed))));
}
