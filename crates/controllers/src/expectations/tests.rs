use super::*;

fn key() -> Key {
    Key::new("x", "web")
}

#[tokio::test(start_paused = true)]
async fn unmet_until_all_is_seen() {
    let expectations = Expectations::default();
    assert_eq!(expectations.unmet(&key()), None);
    expectations.expect_creations(&key(), 2);
    expectations.creation_observed(&key());
    assert!(expectations.unmet(&key()).is_some());
    expectations.creation_observed(&key());
    assert_eq!(expectations.unmet(&key()), None);
    expectations.creation_observed(&key());
    assert_eq!(
        expectations.unmet(&key()),
        None,
        "more than expected is fine"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deletion_counts_once() {
    let expectations = Expectations::default();
    expectations.expect_deletions(&key(), ["a".to_owned(), "b".to_owned()]);
    expectations.deletion_observed(&key(), "a");
    expectations.deletion_observed(&key(), "a");
    expectations.deletion_observed(&key(), "unrelated");
    assert!(expectations.unmet(&key()).is_some());
    expectations.deletion_observed(&key(), "b");
    assert_eq!(expectations.unmet(&key()), None);
}

#[tokio::test(start_paused = true)]
async fn they_expire() {
    let expectations = Expectations::default();
    expectations.expect_creations(&key(), 1);
    tokio::time::advance(EXPECTATIONS_TIMEOUT / 2).await;
    assert_eq!(expectations.unmet(&key()), Some(EXPECTATIONS_TIMEOUT / 2));
    tokio::time::advance(EXPECTATIONS_TIMEOUT / 2).await;
    assert_eq!(expectations.unmet(&key()), None);
}

#[tokio::test(start_paused = true)]
async fn forgotten_with_their_object() {
    let expectations = Expectations::default();
    expectations.expect_creations(&key(), 1);
    expectations.forget(&key());
    assert_eq!(expectations.unmet(&key()), None);
}
