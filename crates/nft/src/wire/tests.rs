use proptest::prelude::*;

use super::*;

fn header(kind: u16) -> Header {
    Header {
        kind,
        flags: 0,
        family: 2,
        resource: 10,
        sequence: 7,
    }
}

#[test]
fn what_is_written_is_read() {
    let mut writer = Writer::default();
    writer.message(header(16), |writer| {
        writer.text(1, "table");
        writer.nested(2, |writer| {
            writer.u32(1, 42);
            writer.bytes(3, &[1, 2, 3, 4, 5]);
        });
    });
    let second = writer.len();
    writer.message(header(17), |_| {});
    writer.acknowledge(second);
    let bytes = writer.into_bytes();
    assert_eq!(bytes.len() % ALIGNMENT, 0);
    let acknowledged = u16::from_ne_bytes([bytes[second + 6], bytes[second + 7]]);
    assert_eq!(acknowledged, flags(NLM_F_REQUEST | NLM_F_ACK));
    let found: Vec<_> = messages(&bytes).collect();
    let kinds: Vec<_> = found.iter().map(|m| (m.kind, m.sequence, m.port)).collect();
    assert_eq!(kinds, [(16, 7, 0), (17, 7, 0)]);
    assert_eq!(found[0].family(), Some(2));
    let attributes = found[0].attributes();
    assert_eq!(attributes.text(1), Some("table"));
    let nested = Attributes::new(attributes.find(2).unwrap());
    assert_eq!(nested.u32(1), Some(42));
    assert_eq!(nested.find(3), Some([1, 2, 3, 4, 5].as_slice()));
    assert_eq!(nested.find(4), None);
}

#[test]
fn torn_messages_are_none() {
    let mut writer = Writer::default();
    writer.message(header(16), |writer| writer.text(1, "table"));
    let bytes = writer.into_bytes();
    for length in 0..bytes.len() {
        assert_eq!(messages(&bytes[..length]).count(), 0, "{length}");
    }
    // A length of nothing would go on for ever.
    let mut stuck = bytes;
    stuck[..4].copy_from_slice(&[0; 4]);
    assert_eq!(messages(&stuck).count(), 0);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for message in messages(&bytes) {
            message.attributes().for_each(drop);
            message.attributes().text(1);
        }
        let attributes = Attributes::new(&bytes);
        for (_, _, value) in attributes {
            Attributes::new(value).for_each(drop);
        }
    }
}
