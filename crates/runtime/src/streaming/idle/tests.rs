use super::*;

#[tokio::test(start_paused = true)]
async fn movement_puts_the_end_off() {
    let limit = Duration::from_secs(10);
    let idle = Idle::new(limit);
    let start = Instant::now();
    let mover = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        idle.touch();
        std::future::pending::<()>().await
    };
    tokio::select! {
        () = idle.expired() => {}
        () = mover => {}
    }
    assert_eq!(start.elapsed().as_secs(), 17);
}
