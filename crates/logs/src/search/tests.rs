use serde_json::Value;

use super::*;
use crate::store::Limits;

fn source(pod: &str, app: &str) -> Arc<Source> {
    Arc::new(Source {
        namespace: "default".to_owned(),
        pod: pod.to_owned(),
        container: "main".to_owned(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        ..Source::default()
    })
}

fn open(home: &std::path::Path) -> Arc<Store> {
    let limits = Limits {
        bytes: 256 << 20,
        age: Duration::from_secs(u64::from(u32::MAX)),
        free_percent: 0,
    };
    Arc::new(Store::open(home, limits).unwrap().0)
}

fn write(store: &Store, source: &Arc<Source>, time: i64, text: &str) {
    let mut writer = store.writer();
    writer.push(&Record {
        source: source.clone(),
        stream: Stream::Stdout,
        time,
        text: text.as_bytes(),
    });
    writer.commit(None);
}

async fn lines(receiver: &mut mpsc::Receiver<Bytes>, until: &str) -> Vec<Value> {
    let mut text = String::new();
    while !text.contains(until) {
        let piece = timeout(Duration::from_secs(30), receiver.recv())
            .await
            .expect("a piece");
        let Some(piece) = piece else { break };
        text += std::str::from_utf8(&piece).unwrap();
    }
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn queries_find_what_they_ask_for_the_newest_first() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let (web, db) = (source("web-0", "web"), source("db-0", "db"));
    let filler = "x".repeat(1_000);
    // Enough for several blocks and a head.
    for number in 0..5_000_i64 {
        let source = if number % 2 == 0 { &web } else { &db };
        write(
            &store,
            source,
            number * 1_000_000_000,
            &format!("order {number} {filler}"),
        );
    }
    let searcher = Searcher::new("n1", store, Outputs::default(), false);
    for (query, wanted) in [
        ("grep=order+42+", vec![42]),
        ("grep=ORDER+42+&ignoreCase", vec![42]),
        ("grep=ORDER+42+", vec![]),
        ("grep=order+43+&pod=web-0", vec![]),
        ("grep=order+43+&labelSelector=app%3Ddb", vec![43]),
        ("limit=3", vec![4_999, 4_998, 4_997]),
        (
            "limit=2&pod=web-0&namespace=default&container=main",
            vec![4_998, 4_996],
        ),
        ("regex=order+.00+&limit=3", vec![900, 800, 700]),
        ("grep=r+7+", vec![7]),
        (
            "sinceTime=1970-01-01T01:23:18Z&grep=order",
            vec![4_999, 4_998],
        ),
        ("namespace=other", vec![]),
        ("limit=0", vec![]),
    ] {
        let mut receiver = searcher.answer(query, CancellationToken::new()).unwrap();
        let found = lines(&mut receiver, "\"end\"").await;
        let numbers: Vec<i64> = found
            .iter()
            .filter_map(|line| line["message"].as_str()?.split(' ').nth(1)?.parse().ok())
            .collect();
        assert_eq!(numbers, wanted, "{query}");
        let end = &found.last().unwrap()["end"];
        assert_eq!(
            (&end["found"], &end["unread"]),
            (&json!(wanted.len()), &json!(0)),
            "{query}"
        );
    }
}

#[tokio::test]
async fn whoever_follows_gets_what_is_to_come_once() {
    let home = tempfile::tempdir().unwrap();
    let store = open(home.path());
    let web = source("web-0", "web");
    write(&store, &web, 1, "before");
    let searcher = Searcher::new("n1", store.clone(), Outputs::default(), false);
    let token = CancellationToken::new();
    let mut receiver = searcher
        .answer("follow&grep=e&limit=5", token.clone())
        .unwrap();
    let found = lines(&mut receiver, "\"end\"").await;
    assert_eq!(found[0]["message"], "before");
    for number in 0..2_000 {
        write(
            &store,
            &web,
            number,
            &format!("line {number} {}", "y".repeat(100)),
        );
    }
    write(&store, &web, 7, "the last one");
    let found = lines(&mut receiver, "the last one").await;
    assert_eq!(found.len(), 2_001);
    assert!(found.iter().all(|line| line.get("missed").is_none()));
    token.cancel();
    assert!(
        timeout(Duration::from_secs(30), receiver.recv())
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn answers_have_a_limit() {
    let home = tempfile::tempdir().unwrap();
    let searcher = Searcher::new("n1", open(home.path()), Outputs::default(), true);
    let answer = |query: &str| searcher.answer(query, CancellationToken::new());
    assert!(matches!(answer("limit=1"), Err(Refused::NothingRetained)));
    let held: Vec<_> = (0..MAX_ANSWERS)
        .map(|_| answer("follow").unwrap())
        .collect();
    assert!(matches!(answer("follow"), Err(Refused::TooMany)));
    drop(held);
}
