use super::*;

fn head(bytes: &[u8]) -> Result<Head, FrameError> {
    Head::parse(bytes[..HEAD_BYTES].try_into().unwrap())
}

#[test]
fn heads() {
    let check = |bytes: &[u8], expected: Result<Head, FrameError>| {
        assert_eq!(head(bytes), expected, "{bytes:02x?}");
    };
    check(
        &[0, 0, 0, 5, 1, 0, 1, 2],
        Ok(Head::Data {
            stream: 5,
            fin: true,
            length: 258,
        }),
    );
    check(
        &[0x80, 3, 0, 1, 0, 0, 0, 0x29],
        Ok(Head::Control {
            kind: 1,
            flags: 0,
            length: 41,
        }),
    );
    check(&[0x80, 2, 0, 1, 0, 0, 0, 4], Err(FrameError::Version(2)));
    check(
        &[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff],
        Err(FrameError::TooLong(0xff_ffff)),
    );
}

#[test]
fn control_frames_from_clients() {
    let check =
        |kind: u16, flags: u8, payload: &'static [u8], expected: Result<Control, FrameError>| {
            let parsed = Control::parse(kind, flags, Bytes::from_static(payload));
            assert_eq!(parsed, expected, "type {kind}");
        };
    check(
        SYN_STREAM,
        1,
        &[0x80, 0, 0, 7, 0, 0, 0, 0, 0xe0, 0, 9, 9],
        Ok(Control::SynStream {
            stream: 7,
            fin: true,
            headers: Bytes::from_static(&[9, 9]),
        }),
    );
    check(
        SYN_STREAM,
        0,
        &[0; 9],
        Err(FrameError::TooShort(SYN_STREAM)),
    );
    check(
        RST_STREAM,
        0,
        &[0, 0, 0, 3, 0, 0, 0, 5],
        Ok(Control::Reset { stream: 3 }),
    );
    check(
        SETTINGS,
        0,
        &[0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 100, 1, 0, 0, 7, 0, 1, 0, 0],
        Ok(Control::Settings {
            initial_window: Some(65536),
        }),
    );
    check(
        SETTINGS,
        0,
        &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 7],
        Ok(Control::Settings {
            initial_window: None,
        }),
    );
    check(PING, 0, &[0, 0, 0, 9], Ok(Control::Ping { id: 9 }));
    check(GOAWAY, 0, &[0; 8], Ok(Control::GoAway));
    check(
        WINDOW_UPDATE,
        0,
        &[0, 0, 0, 1, 0, 0, 1, 0],
        Ok(Control::WindowUpdate {
            stream: 1,
            delta: 256,
        }),
    );
    check(10, 0, &[], Ok(Control::Other));
}

#[test]
fn frames_to_clients() {
    assert_eq!(data(5, true, 0)[..], [0, 0, 0, 5, 1, 0, 0, 0]);
    assert_eq!(data(5, false, 258)[..], [0, 0, 0, 5, 0, 0, 1, 2]);
    assert_eq!(
        syn_reply(1, &[9])[..],
        [0x80, 3, 0, 2, 0, 0, 0, 5, 0, 0, 0, 1, 9]
    );
    assert_eq!(
        rst_stream(1, Reset::RefusedStream)[..],
        [0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 3]
    );
    assert_eq!(ping(7)[..], [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 7]);
    assert_eq!(
        goaway(3)[..],
        [0x80, 3, 0, 7, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0, 0]
    );
    assert_eq!(
        window_update(0, 16384)[..],
        [0x80, 3, 0, 9, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0x40, 0]
    );
}
