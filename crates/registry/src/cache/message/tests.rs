use super::*;

const PARTS: Parts<'_> = Parts {
    metadata: b"\x0a\x01a\x42\x00",
    version_at: 3,
    rest: b"\x12\x01x",
};

#[test]
fn any_revision_is_written_in_its_place() {
    for made_at in [0, 7, 105] {
        let message = Message::new(PARTS, made_at, None).expect("a message");
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
    }
    let outside = Parts {
        metadata: b"ab",
        ..PARTS
    };
    assert!(Message::new(outside, 0, None).is_none());
}

#[test]
fn a_body_is_at_hand_at_its_own_revision() {
    let around = Around {
        head: b"<",
        tail: b">",
    };
    let message = Message::new(PARTS, 105, Some(around)).expect("a message");
    let body = message.body(105).expect("a body");
    assert_eq!(
        &body[..],
        b"<\x0f\x0a\x0a\x0a\x01a\x32\x03105\x42\x00\x12\x01x>"
    );
    let mut object = BytesMut::new();
    message.write(&mut object, 105);
    assert_eq!(&body[2..body.len() - 1], &object[..]);
    assert_eq!(message.body(106), None);
    let alone = Message::new(PARTS, 105, None).expect("a message");
    assert_eq!(alone.body(105), None, "the object alone is no body");
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
