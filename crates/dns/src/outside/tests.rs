use hickory_proto::{
    op::{Message, Query},
    rr::{RData, Record, RecordType, rdata::A},
};
use tokio::net::UdpSocket;

use std::time::Duration;

use super::*;
use crate::cache::Rules;
use crate::forward::Policy;

/// A resolver that answers once, and is away afterwards: what is old is the answer then, for a short while.
#[tokio::test]
async fn old_answers_stand_in_for_resolvers_that_are_away() {
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let route = Route {
        from: Name::root(),
        except: Vec::new(),
        forwarder: Forwarder::new(vec![resolver.local_addr().unwrap()], Policy::default()),
    };
    let mut rules = Rules::default();
    rules.success.least = 1;
    let outside = Outside::new(Some(Cache::new(rules)), vec![route]);
    let mut query = Message::query();
    query.metadata.id = 77;
    query.metadata.recursion_desired = true;
    let name = Name::from_ascii("a.example.").unwrap();
    query.add_query(Query::query(name.clone(), RecordType::A));
    let bytes = query.to_vec().unwrap();
    let question = Question::read(&bytes).unwrap();
    let answering = async {
        let mut buffer = [0; 512];
        let (length, client) = resolver.recv_from(&mut buffer).await.unwrap();
        let mut answer = Message::from_vec(&buffer[..length])
            .unwrap()
            .into_response();
        answer.add_answer(Record::from_rdata(name, 1, RData::A(A::new(192, 0, 2, 1))));
        resolver
            .send_to(&answer.to_vec().unwrap(), client)
            .await
            .unwrap();
    };
    let (first, ()) = tokio::join!(outside.ask(&bytes, None, false), answering);
    let read = |asked: Asked| match asked {
        Asked::Answer(answer) => Message::from_vec(&answer).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(read(first).answers[0].ttl, 1);
    assert!(matches!(outside.get(&bytes, &question), Known::Answer(_)));
    drop(resolver);
    let old = loop {
        match outside.get(&bytes, &question) {
            Known::Old(entry) => break entry,
            Known::Answer(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            Known::Nothing => panic!("what is old is gone"),
        }
    };
    let stale = read(outside.ask(&bytes, Some(old), false).await);
    assert_eq!((stale.metadata.id, stale.answers[0].ttl), (77, 30));
}
