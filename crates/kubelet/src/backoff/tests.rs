use super::*;

#[tokio::test(start_paused = true)]
async fn delays_double_to_five_minutes_and_are_forgotten() {
    let mut backoff = Backoff::default();
    assert_eq!(backoff.remaining(), Duration::ZERO);
    for seconds in [10, 20, 40, 80, 160, 300, 300] {
        backoff.next();
        assert_eq!(backoff.remaining(), Duration::from_secs(seconds));
        tokio::time::advance(Duration::from_secs(seconds)).await;
        assert_eq!(backoff.remaining(), Duration::ZERO);
    }
    tokio::time::advance(backoff.reset_after() + Duration::from_secs(1)).await;
    backoff.next();
    assert_eq!(backoff.remaining(), FIRST);
}

#[tokio::test(start_paused = true)]
async fn the_delay_counts_from_the_end_of_the_container() {
    let mut backoff = Backoff::default();
    backoff.next();
    tokio::time::advance(Duration::from_secs(60)).await;
    let ended = Instant::now();
    assert_eq!(
        backoff.remaining_since(Some(ended)),
        Duration::from_secs(10)
    );
    tokio::time::advance(Duration::from_secs(4)).await;
    assert_eq!(backoff.remaining_since(Some(ended)), Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn restarts_that_nobody_saw_count() {
    for (restarts, seconds) in [(0, 0), (1, 10), (3, 40), (50, 300)] {
        let backoff = Backoff::after(restarts, Duration::ZERO, LONGEST);
        assert_eq!(backoff.remaining(), Duration::from_secs(seconds));
    }
}

#[tokio::test(start_paused = true)]
async fn the_longest_delay_may_be_short() {
    let mut backoff = Backoff::up_to(Duration::from_secs(3));
    for _ in 0..3 {
        backoff.next();
        assert_eq!(backoff.remaining(), Duration::from_secs(3));
    }
    let after = Backoff::after(9, Duration::ZERO, Duration::from_secs(25));
    assert_eq!(after.remaining(), Duration::from_secs(25));
}
