mod configured;

use std::net::SocketAddr;

use hickory_proto::op::Query;
use proptest::{collection::vec, option, prelude::*, sample::select, test_runner::TestRunner};

use super::*;
use crate::{settings::Surroundings, zone};
use knarr_client::Informer;

/// Bytes of an answer to `_sql._tcp.db.default.svc.cluster.local.` before its records.
const HEADER_AND_QUESTION: usize = 12 + 41 + 4;
/// Messages that a property is tried with.
const CASES: u32 = 4096;

fn around(resolvers: Vec<SocketAddr>) -> Surroundings {
    crate::surroundings("cluster.local", resolvers, Vec::new()).unwrap()
}

fn live(resolvers: Vec<SocketAddr>) -> Arc<Live> {
    let settings = Settings::built_in(&around(resolvers));
    Arc::new(RwLock::new(Arc::new(settings)))
}

fn shared(forwarders: Vec<SocketAddr>) -> Shared {
    Shared {
        zone: zone::tests::zone(),
        kept: RwLock::default(),
        settings: live(forwarders),
    }
}

/// What a resolver sends that repeats what it was asked.
fn echo(query: &[u8]) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.id = 77;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

async fn forwarded(shared: &Shared, query: &[u8], tcp: bool) -> Vec<u8> {
    let site = shared.settings.read().only().unwrap().clone();
    forward(&site, query, None, tcp).await.unwrap()
}

fn answered(outcome: Outcome) -> Message {
    match outcome {
        Outcome::Answered(bytes) => Message::from_vec(&bytes).unwrap(),
        Outcome::Forward(..) | Outcome::Follow(_) | Outcome::Rewritten(_) => {
            panic!("the name is ours")
        }
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

/// A server that has been started while the API is away.
#[test]
fn names_of_before_are_good_until_there_are_others() {
    let (services, slices, namespaces) = (Informer::new(), Informer::new(), Informer::new());
    let (filled, of_slices, of_namespaces) = (services.clone(), slices.clone(), namespaces.clone());
    let shared = Shared {
        zone: Zone::with("cluster.local", services, slices, namespaces).unwrap(),
        kept: RwLock::new(Some(Arc::new(zone::tests::zone()))),
        settings: live(Vec::new()),
    };
    let ask = |name: &str| {
        let bytes = query(&format!("{name}.default.svc.cluster.local."), RecordType::A);
        let message = answered(shared.answer(&bytes, false));
        (message.metadata.response_code, message.answers.len())
    };
    assert_eq!(ask("web"), (ResponseCode::NoError, 1));
    assert_eq!(ask("none").0, ResponseCode::ServFail);
    filled.replace(Vec::new());
    of_slices.replace(Vec::new());
    assert_eq!(ask("web"), (ResponseCode::NoError, 1));
    of_namespaces.replace(Vec::new());
    assert_eq!(ask("web"), (ResponseCode::NXDomain, 0));
    assert!(shared.kept.read().is_none());
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
fn an_alias_is_told_with_what_it_leads_to_or_not_at_all() {
    let shared = shared(Vec::new());
    for (name, kind, wanted) in [
        ("alias", RecordType::A, 2),
        ("alias", RecordType::AAAA, 2),
        ("alias", RecordType::CNAME, 1),
        ("alias-of-four", RecordType::AAAA, 0),
        ("circle", RecordType::A, 0),
    ] {
        let bytes = query(&format!("{name}.default.svc.cluster.local."), kind);
        let message = answered(shared.answer(&bytes, false));
        let code = message.metadata.response_code;
        assert_eq!(code, ResponseCode::NoError, "{kind} of {name}");
        assert!(message.metadata.authoritative, "{kind} of {name}");
        let found = (message.answers.len(), message.authorities.len());
        assert_eq!(
            found,
            (wanted, usize::from(wanted == 0)),
            "{kind} of {name}"
        );
    }
}

#[test]
fn the_servers_of_the_zone_come_with_their_addresses() {
    let message =
        answered(shared(Vec::new()).answer(&query("cluster.local.", RecordType::NS), false));
    let found: Vec<_> = message
        .additionals
        .iter()
        .map(|r| r.data.to_string())
        .collect();
    assert_eq!(
        (message.answers.len(), found),
        (1, vec!["10.43.0.10".to_owned()])
    );
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
fn hosts_of_ports_have_addresses_of_both_families() {
    let shared = shared(Vec::new());
    for (name, wanted) in [
        ("_http._tcp.both", vec!["10.43.0.8", "fd00:43::8"]),
        (
            "_sql._tcp.six",
            vec!["10.42.0.6", "10.42.0.7", "fd00:42::6", "fd00:42::7"],
        ),
    ] {
        let bytes = query(
            &format!("{name}.default.svc.cluster.local."),
            RecordType::SRV,
        );
        let message = answered(shared.answer(&bytes, true));
        let found = message
            .additionals
            .iter()
            .map(|record| record.data.to_string());
        let mut found: Vec<_> = found.collect();
        found.sort();
        assert_eq!(found, wanted, "{name}");
    }
}

#[test]
fn what_does_not_fit_loses_its_additions_first() {
    let shared = Shared {
        kept: RwLock::default(),
        zone: zone::tests::many(7),
        settings: live(Vec::new()),
    };
    let name = "_sql._tcp.db.default.svc.cluster.local.";
    let bytes = query(name, RecordType::SRV);
    let whole = answered(shared.answer(&bytes, true));
    assert_eq!((whole.answers.len(), whole.additionals.len()), (7, 7));
    let short = answered(shared.answer(&bytes, false));
    assert_eq!((short.answers.len(), short.additionals.len()), (7, 0));
    assert!(!short.metadata.truncation);

    let shared = Shared {
        kept: RwLock::default(),
        zone: zone::tests::many(60),
        settings: live(Vec::new()),
    };
    let whole = answered(shared.answer(&bytes, true));
    let part = shared.answer(&bytes, false);
    let Outcome::Answered(encoded) = &part else {
        panic!("the name is ours")
    };
    let length = encoded.len();
    assert!(length <= 512, "{length} bytes");
    let part = answered(part);
    assert!(part.metadata.truncation);
    // Whoever cannot ask over TCP has what fits: one more would not have.
    let count = part.answers.len();
    assert_eq!(part.answers[..], whole.answers[..count]);
    let more = length + (length - HEADER_AND_QUESTION) / count;
    assert!(count > 0 && more > 512, "{count} answers in {length} bytes");
}

#[test]
fn the_size_that_a_client_takes_is_kept_to() {
    let shared = Shared {
        kept: RwLock::default(),
        zone: zone::tests::many(60),
        settings: live(Vec::new()),
    };
    let size = |payload: u16| {
        let mut message = Message::from_vec(&query(
            "_sql._tcp.db.default.svc.cluster.local.",
            RecordType::SRV,
        ))
        .unwrap();
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
        let outcome = shared.answer(&message.to_vec().unwrap(), false);
        let Outcome::Answered(encoded) = &outcome else {
            panic!("the name is ours")
        };
        let length = encoded.len();
        let message = answered(outcome);
        assert!(message.metadata.truncation && message.edns.is_some());
        (length, message.answers.len())
    };
    let (small, few) = size(0);
    let (large, many) = size(u16::MAX);
    assert!(small <= 512 && few > 0, "{few} answers in {small} bytes");
    assert!(
        (513..=1232).contains(&large) && many > few,
        "{many} answers in {large} bytes"
    );
    assert!((601..=900).contains(&size(900).0));
}

#[test]
fn foreign_names_are_forwarded_and_nonsense_is_refused() {
    let shared = shared(Vec::new());
    let bytes = query("example.org.", RecordType::A);
    assert!(matches!(
        shared.answer(&bytes, false),
        Outcome::Forward(_, None)
    ));
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
    let answer = forwarded(&shared, &query("example.org.", RecordType::A), false).await;
    serving.await.unwrap();
    assert_eq!(Message::from_vec(&answer).unwrap().metadata.id, 77);
}

/// Clients take no alias alone for an answer.
#[tokio::test]
async fn an_alias_comes_with_what_resolvers_know_of_it() {
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let shared = shared(vec![resolver.local_addr().unwrap()]);
    let answering = async {
        let mut buffer = [0; 512];
        let (length, client) = resolver.recv_from(&mut buffer).await.unwrap();
        let asked = Message::from_vec(&buffer[..length]).unwrap();
        let name = asked.queries[0].name().clone();
        let mut answer = Message::response(asked.metadata.id, OpCode::Query);
        answer.add_queries(asked.queries);
        let address = RData::A("192.0.2.9".parse().unwrap());
        answer.add_answers([Record::from_rdata(name, 60, address)]);
        let answer = answer.to_vec().unwrap();
        resolver.send_to(&answer, client).await.unwrap();
    };
    let bytes = query("outside.default.svc.cluster.local.", RecordType::A);
    let outcome = shared.answer(&bytes, false);
    let (answer, ()) = tokio::join!(shared.ask_others(outcome, &bytes, false), answering);
    let answer = Message::from_vec(&answer).unwrap();
    let shown: Vec<String> = answer
        .answers
        .iter()
        .map(|record| format!("{} {}", record.name, record.data))
        .collect();
    assert_eq!(
        shown,
        [
            "outside.default.svc.cluster.local. example.org.",
            "example.org. 192.0.2.9"
        ]
    );
    assert_eq!(answer.metadata.id, 77);
    // Without one it is there alone.
    let shared = self::shared(Vec::new());
    let outcome = shared.answer(&bytes, false);
    let answer = shared.ask_others(outcome, &bytes, false).await;
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert_eq!(answer.answers.len(), 1);
}

#[tokio::test]
async fn resolvers_are_asked_over_ipv6_too() {
    let udp = UdpSocket::bind("[::1]:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let tcp = TcpListener::bind(address).await.unwrap();
    let shared = shared(vec![address]);
    let bytes = query("example.org.", RecordType::AAAA);
    let answering = async {
        let mut buffer = [0; 512];
        let (length, client) = udp.recv_from(&mut buffer).await.unwrap();
        udp.send_to(&echo(&buffer[..length]), client).await.unwrap();
    };
    let (answer, ()) = tokio::join!(forwarded(&shared, &bytes, false), answering);
    assert_eq!(answer, echo(&bytes));
    let answering = async {
        let (mut stream, _) = tcp.accept().await.unwrap();
        let asked = read_framed(&mut stream).await.unwrap().unwrap();
        write_framed(&mut stream, &echo(&asked)).await.unwrap();
    };
    let (answer, ()) = tokio::join!(forwarded(&shared, &bytes, true), answering);
    assert_eq!(answer, echo(&bytes));
}

#[tokio::test]
async fn without_resolvers_the_answer_is_servfail() {
    let answer = forwarded(
        &shared(Vec::new()),
        &query("example.org.", RecordType::A),
        false,
    )
    .await;
    let message = Message::from_vec(&answer).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::ServFail);
}

/// A resolver that asks the cluster's DNS, as systemd-resolved may have been told to.
#[tokio::test]
async fn a_loop_ends_with_the_first_question_that_comes_back() {
    let relay = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let server = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, back) = (relay.local_addr().unwrap(), server.local_addr().unwrap());
    let questions = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = questions.clone();
    let relaying = tokio::spawn(async move {
        let mut buffer = [0; 512];
        loop {
            let (length, client) = relay.recv_from(&mut buffer).await.unwrap();
            if client != back {
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                relay.send_to(&buffer[..length], back).await.unwrap();
            }
        }
    });
    let token = CancellationToken::new();
    let server = Arc::into_inner(server).unwrap();
    let running = Server::new(zone::tests::zone(), None, live(vec![address]));
    let running = tokio::spawn(running.run(server, listener, token.clone()));
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let bytes = query("example.org.", RecordType::A);
    client.send_to(&bytes, back).await.unwrap();
    let mut buffer = [0; 512];
    let (length, _) = timeout(IDLE_TIMEOUT, client.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(questions.load(std::sync::atomic::Ordering::Relaxed), 1);
    token.cancel();
    running.await.unwrap();
    relaying.abort();
}

/// Whoever asks the same meanwhile gets the same answer, under an id of its own.
#[tokio::test]
async fn a_question_is_asked_once_at_a_time() {
    let resolver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let shared = shared(vec![resolver.local_addr().unwrap()]);
    let mut other = query("example.org.", RecordType::A);
    other[1] = 78;
    let first = query("example.org.", RecordType::A);
    let answering = async {
        let mut buffer = [0; 512];
        let (length, client) = resolver.recv_from(&mut buffer).await.unwrap();
        let answer = echo(&buffer[..length]);
        resolver.send_to(&answer, client).await.unwrap();
    };
    let (first, other, ()) = tokio::join!(
        forwarded(&shared, &first, false),
        forwarded(&shared, &other, false),
        answering
    );
    assert_eq!((first[1], other[1]), (77, 78));
    assert_eq!(first[2..], other[2..]);
}

/// Whatever arrives is answered within the size that was asked for, forwarded or ignored.
#[test]
fn no_message_panics() {
    let shared = Shared {
        kept: RwLock::default(),
        zone: zone::tests::many(60),
        settings: live(Vec::new()),
    };
    let questions = [
        "_sql._tcp.db.default.svc.cluster.local.",
        "web.default.svc.cluster.local.",
        "2.0.42.10.in-addr.arpa.",
        "dns-version.cluster.local.",
    ];
    let kinds = [
        RecordType::A,
        RecordType::SRV,
        RecordType::PTR,
        RecordType::ANY,
        RecordType::OPT,
    ];
    let asked = (
        select(questions.to_vec()),
        select(kinds.to_vec()),
        option::of(any::<u16>()),
    )
        .prop_map(|(name, kind, payload)| {
            let mut message = Message::from_vec(&query(name, kind)).unwrap();
            if let Some(payload) = payload {
                let mut edns = Edns::new();
                edns.set_max_payload(payload);
                message.set_edns(edns);
            }
            message.to_vec().unwrap()
        });
    // Good queries with some bytes changed and cut off get further than noise.
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..6);
    let changed =
        (asked, changes, any::<prop::sample::Index>()).prop_map(|(mut bytes, changes, cut)| {
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            // Mostly whole.
            let length = cut.index(bytes.len() * 3);
            bytes.truncate(length.max(1));
            bytes
        });
    let noise = vec(any::<u8>(), 0..QUERY_LIMIT_BYTES);
    let mut runner = TestRunner::new(ProptestConfig::with_cases(CASES));
    runner
        .run(
            &(prop_oneof![1 => noise, 4 => changed], any::<bool>()),
            |(bytes, tcp)| {
                if let Outcome::Answered(answer) = shared.answer(&bytes, tcp) {
                    let limit = if tcp { u16::MAX } else { EDNS_LIMIT_BYTES };
                    prop_assert!(answer.len() <= usize::from(limit));
                    prop_assert_eq!(&answer[..2], &bytes[..2]);
                    prop_assert!(Message::from_vec(&answer).is_ok());
                }
                Ok(())
            },
        )
        .unwrap();
}
