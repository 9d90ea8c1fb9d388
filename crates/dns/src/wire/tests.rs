use hickory_proto::{
    op::{Edns, Message, Query},
    rr::{
        Name, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};

use super::*;

fn message(change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii("Www.Example.org.").unwrap();
    message.add_query(Query::query(name, RecordType::A));
    change(&mut message);
    message.to_vec().unwrap()
}

#[test]
fn only_what_the_answer_depends_on_makes_the_key() {
    let key = |bytes: &[u8]| Question::read(bytes).unwrap().key().bytes().to_vec();
    let plain = message(|_| ());
    let wanted = b"\x03www\x07example\x03org\0\0\x01\0\x01\0";
    assert_eq!(key(&plain), wanted);
    let extended = |dnssec: bool| {
        message(|message| {
            let mut edns = Edns::new();
            edns.set_max_payload(4096).set_dnssec_ok(dnssec);
            message.set_edns(edns);
        })
    };
    assert_eq!(key(&extended(false)), wanted);
    assert_ne!(key(&extended(true)), wanted);
    let unchecked = message(|message| message.metadata.checking_disabled = true);
    assert_ne!(key(&unchecked), wanted);
    assert_ne!(key(&unchecked), key(&extended(true)));
}

#[test]
fn what_is_out_of_the_ordinary_is_told() {
    let option = |code: u16| {
        message(|message| {
            let mut edns = Edns::new();
            let option = EdnsOption::Unknown(code, vec![1, 2, 3]);
            edns.options_mut().insert(option);
            assert!(edns.option(EdnsCode::from(code)).is_some());
            message.set_edns(edns);
        })
    };
    let kind = |kind| {
        message(move |message| {
            message.queries[0].set_query_type(kind);
        })
    };
    let mut long = message(|_| ());
    long.push(0);
    for (bytes, ordinary, why) in [
        (message(|_| ()), true, "a question"),
        (option(10), true, "a cookie"),
        (option(8), false, "a client's network"),
        (kind(RecordType::HTTPS), true, "HTTPS"),
        (kind(RecordType::AXFR), false, "a transfer"),
        (kind(RecordType::ANY), false, "everything"),
        (
            message(|message| message.metadata.recursion_desired = false),
            false,
            "no recursion",
        ),
        (
            message(|message| message.queries.clear()),
            false,
            "no question",
        ),
        (long, false, "a byte more"),
        (Vec::new(), false, "nothing"),
    ] {
        assert_eq!(Question::read(&bytes).is_some(), ordinary, "{why}");
    }
}

#[test]
fn a_question_is_passed_on_without_what_is_between_neighbours() {
    let bytes = message(|message| {
        let mut edns = Edns::new();
        edns.set_max_payload(4096).set_dnssec_ok(true);
        edns.options_mut()
            .insert(EdnsOption::Unknown(10, vec![0; 8]));
        message.set_edns(edns);
    });
    let outgoing = Question::read(&bytes).unwrap().outgoing();
    let read = Message::from_vec(&outgoing).unwrap();
    assert_eq!(read.queries[0].name().to_ascii(), "Www.Example.org.");
    assert!(read.metadata.recursion_desired);
    let edns = read.edns.unwrap();
    assert!(edns.flags().dnssec_ok && edns.max_payload() == 1232);
    assert!(edns.options().as_ref().is_empty());
}

#[test]
fn an_answer_is_one_to_the_question() {
    let bytes = message(|_| ());
    let question = Question::read(&bytes).unwrap();
    let answer = |name: &str, kind, response: bool| {
        message(|message| {
            message.metadata.message_type = match response {
                true => hickory_proto::op::MessageType::Response,
                false => hickory_proto::op::MessageType::Query,
            };
            message.queries = vec![Query::query(Name::from_ascii(name).unwrap(), kind)];
        })
    };
    for (name, kind, response, wanted) in [
        ("www.example.org.", RecordType::A, true, true),
        ("WWW.EXAMPLE.ORG.", RecordType::A, true, true),
        ("www.example.org.", RecordType::A, false, false),
        ("www.example.org.", RecordType::AAAA, true, false),
        ("www.example.com.", RecordType::A, true, false),
        ("example.org.", RecordType::A, true, false),
    ] {
        let found = question.is_answered_by(&answer(name, kind, response));
        assert_eq!(found, wanted, "{kind} of {name}");
    }
    assert!(!question.is_answered_by(&[]));
}
