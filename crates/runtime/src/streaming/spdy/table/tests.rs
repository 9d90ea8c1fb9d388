use futures::FutureExt;

use super::*;

fn entry() -> Entry {
    Entry {
        input: None,
        window: None,
        reset: CancellationToken::new(),
        ended: false,
    }
}

#[test]
fn streams_that_are_not_open_are_not_remembered() {
    let table = Table::default();
    for stream in (1..200_000).step_by(2) {
        table.credits.add(stream, 1);
    }
    assert!(table.insert(200_001, entry()));
    table.remove(200_001);
    // Its consumer takes what was still queued.
    table.credits.add(200_001, 1);
    assert!(table.credits.owed.lock().streams.is_empty());
}

#[test]
fn open_streams_and_the_connection_are_credited() {
    let table = Table::default();
    assert!(table.insert(1, entry()));
    let bytes = CREDIT_BYTES;
    table.credits.add(1, bytes as usize);
    assert_eq!(
        table.credits.due().now_or_never(),
        Some(vec![(0, bytes), (1, bytes)])
    );
    table.credits.add(3, bytes as usize);
    assert_eq!(table.credits.due().now_or_never(), Some(vec![(0, bytes)]));
    table.credits.add(1, 1);
    assert_eq!(table.credits.due().now_or_never(), None);
}
