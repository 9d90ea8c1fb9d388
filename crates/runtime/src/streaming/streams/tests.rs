use super::*;

fn governed(window: usize) -> (Output, mpsc::Receiver<Outgoing>, Windows, CancellationToken) {
    let (queue, receiver) = mpsc::channel(OUTPUT_CHUNKS);
    let windows = Windows {
        stream: Arc::new(Semaphore::new(window)),
        session: Arc::new(Semaphore::new(1000)),
        piece: 4,
    };
    let reset = CancellationToken::new();
    let output = Output::new(1, queue).governed(Some(windows.clone()), reset.clone());
    (output, receiver, windows, reset)
}

fn data(bytes: &'static [u8]) -> Outgoing {
    Outgoing::Data {
        stream: 1,
        bytes: Bytes::from_static(bytes),
    }
}

#[tokio::test]
async fn an_output_sends_what_the_window_allows_and_waits_for_more() {
    let (output, mut receiver, windows, _) = governed(6);
    let sending = tokio::spawn(async move { output.send(Bytes::from_static(b"abcdefghij")).await });
    assert_eq!(receiver.recv().await, Some(data(b"abcd")));
    tokio::task::yield_now().await;
    assert!(receiver.try_recv().is_err(), "two bytes are not enough");
    windows.stream.add_permits(4);
    assert_eq!(receiver.recv().await, Some(data(b"efgh")));
    assert_eq!(receiver.recv().await, Some(data(b"ij")));
    assert_eq!(sending.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_reset_frees_who_waits_for_a_window() {
    let (output, _receiver, windows, reset) = governed(0);
    let sending = tokio::spawn(async move { output.send(Bytes::from_static(b"a")).await });
    tokio::task::yield_now().await;
    reset.cancel();
    windows.stream.close();
    assert_eq!(sending.await.unwrap(), Err(Gone));
}
