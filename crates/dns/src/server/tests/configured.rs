//! Answers by a configuration of CoreDNS.

use std::collections::BTreeMap;

use hickory_proto::rr::rdata::A;

use super::*;

fn configured(text: &str, resolvers: Vec<SocketAddr>) -> Shared {
    let main = BTreeMap::from([("Corefile".to_owned(), text.to_owned())]);
    let settings = Settings::read(&around(resolvers), Some(&main), &BTreeMap::new()).unwrap();
    Shared {
        zone: zone::tests::zone(),
        kept: RwLock::default(),
        settings: Arc::new(RwLock::new(Arc::new(settings))),
    }
}

/// A resolver that knows one address, and whatever it is asked.
async fn resolver(address: [u8; 4]) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let name = query.queries[0].name().clone();
            let mut answer = query.into_response();
            answer.add_answer(Record::from_rdata(name, 60, RData::A(A(address.into()))));
            let answer = answer.to_vec().unwrap();
            socket.send_to(&answer, client).await.unwrap();
        }
    });
    at
}

/// Code, question, and records of the answer.
async fn ask(shared: &Shared, name: &str) -> (ResponseCode, String, Vec<String>) {
    let bytes = query(name, RecordType::A);
    let answer = match shared.answer(&bytes, false) {
        Outcome::Answered(answer) => answer,
        outcome => shared.ask_others(outcome, &bytes, false).await,
    };
    let answer = Message::from_vec(&answer).unwrap();
    assert_eq!(answer.metadata.id, 77);
    let records = answer.answers.iter();
    let records = records.map(|record| format!("{} {}", record.name, record.data));
    let question = answer.queries[0].name().to_string();
    (answer.metadata.response_code, question, records.collect())
}

#[tokio::test]
async fn each_domain_has_its_own_resolvers() {
    let (one, two) = (
        resolver([192, 0, 2, 1]).await,
        resolver([192, 0, 2, 2]).await,
    );
    let text = format!(
        ".:53 {{\nkubernetes cluster.local\nforward . /etc/resolv.conf\ncache 30\n}}\ncorp.example {{\nforward . {two} {{\nexcept public.corp.example\n}}\ncache\n}}\n"
    );
    let shared = configured(&text, vec![one]);
    for _ in 0..2 {
        let (_, _, records) = ask(&shared, "a.example.").await;
        assert_eq!(records, ["a.example. 192.0.2.1"]);
        let (_, _, records) = ask(&shared, "a.corp.example.").await;
        assert_eq!(records, ["a.corp.example. 192.0.2.2"]);
    }
    let (code, _, records) = ask(&shared, "web.default.svc.cluster.local.").await;
    assert_eq!((code, records.len()), (ResponseCode::NoError, 1));
    // Of an alias the resolvers of where it leads to are asked.
    let (_, _, records) = ask(&shared, "outside.default.svc.cluster.local.").await;
    assert_eq!(records.last().unwrap(), "example.org. 192.0.2.1");
    let (code, ..) = ask(&shared, "a.public.corp.example.").await;
    assert_eq!(code, ResponseCode::ServFail);
}

#[tokio::test]
async fn who_is_told_nothing_refuses() {
    let shared = configured("corp.example {\n}\n", Vec::new());
    let (code, question, _) = ask(&shared, "a.example.").await;
    assert_eq!(
        (code, question.as_str()),
        (ResponseCode::Refused, "a.example.")
    );
}

#[tokio::test]
async fn questions_are_asked_under_other_names() {
    let at = resolver([192, 0, 2, 1]).await;
    let text = "
        .:53 {
            rewrite name db.example.com web.default.svc.cluster.local
            rewrite name suffix .old.example .new.example answer auto
            kubernetes cluster.local
            forward . /etc/resolv.conf
            cache
        }
    ";
    let shared = configured(text, vec![at]);
    let (code, question, records) = ask(&shared, "DB.example.com.").await;
    assert_eq!(
        (code, question.as_str()),
        (ResponseCode::NoError, "DB.example.com.")
    );
    assert_eq!(records, ["db.example.com. 10.43.0.9"]);
    for _ in 0..2 {
        let (_, question, records) = ask(&shared, "a.old.example.").await;
        assert_eq!(question, "a.old.example.");
        assert_eq!(records, ["a.old.example. 192.0.2.1"]);
    }
}

#[tokio::test]
async fn more_questions_than_are_allowed_are_refused() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap();
    let text = format!(". {{\nforward . {at} {{\nmax_concurrent 1\n}}\n}}\n");
    let shared = Arc::new(configured(&text, Vec::new()));
    let first = shared.clone();
    let first = tokio::spawn(async move { ask(&first, "a.example.").await });
    let mut buffer = [0; 512];
    silent.recv_from(&mut buffer).await.unwrap();
    let (code, ..) = ask(&shared, "b.example.").await;
    assert_eq!(code, ResponseCode::Refused);
    first.abort();
}
