use std::sync::atomic::{AtomicBool, AtomicUsize};

use super::*;

/// Keeps what it gets, unless it is told to fail.
#[derive(Clone, Default)]
struct Memory {
    batches: Arc<Mutex<Vec<usize>>>,
    failing: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    under_way: Arc<AtomicUsize>,
}

#[async_trait]
impl Sink for Memory {
    async fn keep(&self, events: &[Bytes]) -> Result<(), String> {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.failing.load(Ordering::Relaxed) {
            return Err("no space left on device".to_owned());
        }
        self.batches.lock().push(events.len());
        Ok(())
    }
}

fn batching(buffer: usize, max_events: usize, max_wait: Duration) -> Batching {
    Batching {
        buffer,
        max_events,
        max_wait,
        throttle: None,
    }
}

fn backend(mode: Mode, batching: &Batching, memory: &Memory) -> Arc<Backend> {
    let sink = Box::new(memory.clone());
    Arc::new(Backend::new("test", mode, batching, None, true, sink).expect("a backend"))
}

fn running(backend: &Arc<Backend>) -> (CancellationToken, tokio::task::JoinHandle<()>) {
    let (backend, stop) = (backend.clone(), CancellationToken::new());
    let token = stop.clone();
    (stop, tokio::spawn(async move { backend.run(&token).await }))
}

const EVENT: Bytes = Bytes::from_static(b"{}");
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_batch_is_full_or_old() {
    let memory = Memory::default();
    let backend = backend(Mode::Batch, &batching(100, 3, 30 * SECOND), &memory);
    let (stop, done) = running(&backend);
    for _ in 0..4 {
        assert!(backend.send(EVENT).await);
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(*memory.batches.lock(), [3]);
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(*memory.batches.lock(), [3, 1]);
    backend.offer(EVENT);
    stop.cancel();
    done.await.expect("it ends");
    assert_eq!(*memory.batches.lock(), [3, 1, 1], "at the end");
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_holds_up_nobody() {
    let memory = Memory::default();
    let backend = backend(Mode::Batch, &batching(2, 1, SECOND), &memory);
    for _ in 0..5 {
        assert!(backend.send(EVENT).await);
    }
    assert_eq!(backend.errors(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_hangs_holds_up_the_queue_and_no_more() {
    let memory = Memory::default();
    memory.hangs.store(true, Ordering::Relaxed);
    let backend = backend(Mode::Batch, &batching(10, 1, SECOND), &memory);
    let (_stop, _done) = running(&backend);
    for _ in 0..1000 {
        assert!(backend.send(EVENT).await);
        tokio::task::yield_now().await;
    }
    assert_eq!(memory.under_way.load(Ordering::Relaxed), BATCHES);
    assert!(backend.errors() > 900);
}

#[tokio::test(start_paused = true)]
async fn who_blocks_waits_until_it_is_kept() {
    for (mode, wanted) in [(Mode::Blocking, true), (Mode::BlockingStrict, false)] {
        let memory = Memory::default();
        let backend = backend(mode, &batching(1, 10, SECOND), &memory);
        let (_stop, _done) = running(&backend);
        assert!(backend.send(EVENT).await);
        assert_eq!(*memory.batches.lock(), [1], "{mode:?}");
        memory.failing.store(true, Ordering::Relaxed);
        assert_eq!(backend.send(EVENT).await, wanted, "{mode:?}");
        assert_eq!(backend.errors(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_after_the_end_is_counted() {
    let memory = Memory::default();
    let backend = backend(Mode::BlockingStrict, &batching(1, 10, SECOND), &memory);
    let (stop, done) = running(&backend);
    stop.cancel();
    done.await.expect("it ends");
    assert!(!backend.send(EVENT).await);
    assert_eq!(backend.errors(), 1);
}

#[test]
fn numbers_that_make_no_sense_are_refused() {
    let memory = Memory::default();
    for (batching, wanted) in [
        (
            batching(0, 1, SECOND),
            "invalid audit batch test buffer size 0, must be a positive number",
        ),
        (
            Batching {
                throttle: Some((0.0, 1)),
                ..batching(1, 1, SECOND)
            },
            "invalid audit batch test throttle QPS 0, must be a positive number",
        ),
    ] {
        let sink = Box::new(memory.clone());
        let made = Backend::new("test", Mode::Batch, &batching, None, true, sink);
        let error = made.map(drop).expect_err("it is refused");
        assert_eq!(error.to_string(), wanted);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_one_batch_and_not_the_next_is_told_now_and_then() {
    let (mut news, start) = (News::default(), Instant::now());
    let mut told = Vec::new();
    // Every second one is lost, one a second; then all are kept.
    for second in 0..200_u64 {
        let lost = second < 130 && second % 2 == 0;
        if news.is_worth_telling(lost, start + SECOND * second as u32) {
            told.push((second, lost));
        }
    }
    assert_eq!(told, [(0, true), (61, false), (122, true), (182, false)]);
}
