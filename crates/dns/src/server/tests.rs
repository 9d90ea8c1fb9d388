use std::net::SocketAddr;

use hickory_proto::op::Query;

use super::*;
use crate::zone;

fn shared(forwarders: Vec<SocketAddr>) -> Shared {
    Shared {
        zone: zone::tests::zone(),
        forwarder: Forwarder::new(forwarders),
    }
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn answered(outcome: Outcome) -> Message {
    match outcome {
        Outcome::Answered(bytes) => Message::from_vec(&bytes).unwrap(),
        Outcome::Forward => panic!("the name is ours"),
        Outcome::Ignore => panic!("the query is well-formed"),
    }
}

#[test]
fn a_missing_name_is_unknown_only_after_the_first_list() {
    let shared = shared(Vec::new());
    let bytes = query("none.default.svc.cluster.local.", RecordType::A);
    let message = answered(shared.answer(&bytes, false));
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn no_records_of_a_type_is_not_an_error() {
    let shared = shared(Vec::new());
    let bytes = query("web.default.svc.cluster.local.", RecordType::AAAA);
    let message = answered(shared.answer(&bytes, false));
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert_eq!((message.answers.len(), message.authorities.len()), (0, 1));
    assert_eq!(message.metadata.id, 77);
}

#[test]
fn ports_come_with_the_addresses_of_their_hosts() {
    let shared = shared(Vec::new());
    let bytes = query("_sql._tcp.db.default.svc.cluster.local.", RecordType::SRV);
    let message = answered(shared.answer(&bytes, false));
    let mut lines: Vec<String> = message
        .additionals
        .iter()
        .map(|record| format!("{} {}", record.name, record.data))
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "10-42-0-3.db.default.svc.cluster.local. 10.42.0.3",
            "db-0.db.default.svc.cluster.local. 10.42.0.2",
        ]
    );
    assert_eq!(message.answers.len(), 2);
}

#[test]
fn what_does_not_fit_loses_its_additions_first() {
    let shared = Shared {
        zone: zone::tests::many(7),
        forwarder: Forwarder::new(Vec::new()),
    };
    let name = "_sql._tcp.db.default.svc.cluster.local.";
    let bytes = query(name, RecordType::SRV);
    let whole = answered(shared.answer(&bytes, true));
    assert_eq!((whole.answers.len(), whole.additionals.len()), (7, 7));
    let short = answered(shared.answer(&bytes, false));
    assert_eq!((short.answers.len(), short.additionals.len()), (7, 0));
    assert!(!short.metadata.truncation);

    let shared = Shared {
        zone: zone::tests::many(60),
        forwarder: Forwarder::new(Vec::new()),
    };
    let none = answered(shared.answer(&bytes, false));
    assert!(none.answers.is_empty() && none.metadata.truncation);
}

#[test]
fn foreign_names_are_forwarded_and_nonsense_is_refused() {
    let shared = shared(Vec::new());
    let bytes = query("example.org.", RecordType::A);
    assert!(matches!(shared.answer(&bytes, false), Outcome::Forward));
    let message = answered(shared.answer(&[0, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 200], false));
    assert_eq!(message.metadata.response_code, ResponseCode::FormErr);
    assert!(matches!(shared.answer(&[1], false), Outcome::Ignore));
}

#[tokio::test]
async fn a_resolver_is_asked_and_its_answer_comes_back_under_our_id() {
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = resolver.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, client) = resolver.recv_from(&mut buffer).await.unwrap();
        let asked = Message::from_vec(&buffer[..length]).unwrap();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        answer.add_queries(asked.queries);
        resolver
            .send_to(&answer.to_vec().unwrap(), client)
            .await
            .unwrap();
    });
    let shared = shared(vec![address]);
    let answer = shared
        .forward(&query("example.org.", RecordType::A), false)
        .await;
    serving.await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().metadata.id, 77);
}

#[tokio::test]
async fn without_resolvers_the_answer_is_servfail() {
    let answer = shared(Vec::new())
        .forward(&query("example.org.", RecordType::A), false)
        .await;
    let message = Message::from_vec(&answer).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
}
