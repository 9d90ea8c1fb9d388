use super::*;

const INTERVAL: Duration = Duration::from_secs(10);

#[tokio::test(start_paused = true)]
async fn a_turn_is_gone_only_when_it_was_spent() {
    let turns = Turns::default();
    let turn = turns.take("a", INTERVAL).expect("the first one");
    assert_eq!(turns.take("a", INTERVAL).err(), Some(ASK_AGAIN));
    assert!(turns.take("b", INTERVAL).is_ok(), "zones are apart");
    // The write failed.
    drop(turn);
    let turn = turns.take("a", INTERVAL).expect("free again");
    turn.spend();
    assert_eq!(turns.take("a", INTERVAL).err(), Some(INTERVAL));
    tokio::time::advance(Duration::from_secs(4)).await;
    let left = turns.take("a", INTERVAL).err();
    assert_eq!(left, Some(Duration::from_secs(6)));
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(turns.take("a", INTERVAL).is_ok());
}

#[tokio::test(start_paused = true)]
async fn zones_that_are_gone_are_forgotten() {
    let turns = Turns::default();
    turns.take("a", INTERVAL).expect("a turn").spend();
    let held = turns.take("b", INTERVAL).expect("a turn");
    turns.retain(|_| false);
    assert!(turns.take("a", INTERVAL).is_ok());
    assert_eq!(turns.take("b", INTERVAL).err(), Some(ASK_AGAIN));
    drop(held);
}
