use super::*;

#[tokio::test]
async fn movement_puts_the_end_off() {
    let idle = Idle::new(Duration::from_millis(100));
    let start = Instant::now();
    let mover = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        idle.touch();
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = idle.expired() => {}
        () = mover => {}
    }
    assert!(
        start.elapsed() >= Duration::from_millis(149),
        "{:?}",
        start.elapsed()
    );
}
