use std::convert::Infallible;

use super::{super::entry::Entry, *};
use crate::cache::message::{Message, Parts};

fn message(bytes: usize) -> Message {
    let parts = Parts {
        metadata: b"\x0a\x01a",
        version_at: 3,
        rest: &vec![0; bytes],
    };
    Message::new(parts, 7, None).expect("a place within the metadata")
}

fn entry(name: &str) -> Entry {
    let kind = knarr_api::built_in("", "v1", "configmaps").expect("a core kind");
    let json = super::super::entry::encode(&serde_json::json!({
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name},
    }));
    Entry::bare(kind, name.to_owned(), 7, json)
}

fn always(_: &Message) -> bool {
    true
}

#[test]
fn is_made_once_while_it_is_kept_and_again_after_others_took_its_place() {
    let messages = Kept::default();
    let first = entry("first");
    let mut made = 0;
    let mut read = |messages: &Kept<Message>| {
        let make = || {
            made += 1;
            Ok::<_, Infallible>(message(1000))
        };
        messages
            .of(&first.message, always, make)
            .expect("a message");
        made
    };
    assert_eq!(read(&messages), 1);
    assert_eq!(read(&messages), 1);
    let others: Vec<Entry> = (0..40).map(|n| entry(&n.to_string())).collect();
    for other in &others {
        let make = || Ok::<_, Infallible>(message(1 << 20));
        messages
            .of(&other.message, always, make)
            .expect("a message");
    }
    assert!(messages.queue.lock().bytes <= Message::LIMIT_BYTES);
    assert_eq!(read(&messages), 2);
    let held = others.iter().filter(|entry| {
        let slot = entry.message.0.get().expect("it was read");
        slot.lock().is_some()
    });
    assert!(held.count() < Message::LIMIT_BYTES >> 20);
}

#[test]
fn what_is_good_no_more_is_made_anew_and_costs_no_more() {
    let messages = Kept::default();
    let entry = entry("a");
    let mut made = 0;
    for _ in 0..3 {
        let make = || {
            made += 1;
            Ok::<_, Infallible>(message(10))
        };
        let of = messages.of(&entry.message, |_| false, make);
        assert!(of.is_ok());
    }
    assert_eq!(made, 3);
    let queue = messages.queue.lock();
    assert_eq!(queue.slots.len(), 1);
}

#[test]
fn goes_with_its_entry() {
    let messages = Kept::default();
    let gone = entry("gone");
    let message = messages.of(&gone.message, always, || Ok::<_, Infallible>(message(10)));
    let message = Arc::downgrade(&message.expect("a message"));
    drop(gone);
    assert!(message.upgrade().is_none());
}
