use super::*;

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
