use std::convert::Infallible;

use bytes::BytesMut;

use super::*;

fn message(bytes: usize) -> Message {
    Message::new(b"\x0a\x01a", 3, &vec![0; bytes]).expect("a place within the metadata")
}

fn entry(name: &str) -> Entry {
    let kind = knarr_api::built_in("", "v1", "configmaps").expect("a core kind");
    let json = super::super::entry::encode(&serde_json::json!({
        "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name},
    }));
    Entry::bare(kind, name.to_owned(), 7, json)
}

#[test]
fn any_revision_is_written_in_its_place() {
    let message = Message::new(b"\x0a\x01a\x42\x00", 3, b"\x12\x01x").expect("a message");
    let written = |revision| {
        let mut out = BytesMut::new();
        message.write(&mut out, revision);
        assert_eq!(out.len(), message.size(revision));
        out
    };
    assert_eq!(
        &written(0)[..],
        b"\x0a\x07\x0a\x01a\x32\x00\x42\x00\x12\x01x"
    );
    assert_eq!(
        &written(105)[..],
        b"\x0a\x0a\x0a\x01a\x32\x03105\x42\x00\x12\x01x"
    );
    let mut partial = BytesMut::new();
    message.write_partial(&mut partial, 105);
    assert_eq!(&partial[..], b"\x0a\x0a\x0a\x01a\x32\x03105\x42\x00");
    assert_eq!(partial.len(), message.partial_size(105));
    assert!(Message::new(b"ab", 3, b"").is_none());
}

#[test]
fn lengths_are_as_long_as_they_say() {
    for length in [
        0,
        1,
        127,
        128,
        16_383,
        16_384,
        2_097_151,
        2_097_152,
        3 << 30,
    ] {
        let mut out = BytesMut::new();
        put_varint(&mut out, length);
        assert_eq!(out.len(), varint_size(length), "{length}");
    }
}

#[test]
fn is_made_once_while_it_is_kept_and_again_after_others_took_its_place() {
    let messages = Messages::default();
    let first = entry("first");
    let mut made = 0;
    let mut read = |messages: &Messages| {
        let make = || {
            made += 1;
            Ok::<_, Infallible>(message(1000))
        };
        messages.of(&first, make).expect("a message");
        made
    };
    assert_eq!(read(&messages), 1);
    assert_eq!(read(&messages), 1);
    let others: Vec<Entry> = (0..40).map(|n| entry(&n.to_string())).collect();
    for other in &others {
        let make = || Ok::<_, Infallible>(message(1 << 20));
        messages.of(other, make).expect("a message");
    }
    assert!(messages.kept.lock().bytes <= KEPT_BYTES);
    assert_eq!(read(&messages), 2);
    let held = others.iter().filter(|entry| {
        let slot = entry.message.get().expect("it was read");
        slot.lock().is_some()
    });
    assert!(held.count() < KEPT_BYTES >> 20);
}

#[test]
fn goes_with_its_entry() {
    let messages = Messages::default();
    let gone = entry("gone");
    let message = messages.of(&gone, || Ok::<_, Infallible>(message(10)));
    let message = Arc::downgrade(&message.expect("a message"));
    drop(gone);
    assert!(message.upgrade().is_none());
}
