//! A watch has the seats of its list until its client has what was there when it began.

use std::time::Instant;

use super::{
    flow_control::{answer, asks, crowded, narrow},
    refusals::{Out, Running, Sender},
    *,
};

/// More together than a connection holds.
const OBJECTS: usize = 8;
const OBJECT_BYTES: usize = 700 << 10;
const FROM_THE_START: &str =
    "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
/// Nobody waits as long for a client that does not read.
const LONGEST_START: Duration = Duration::from_secs(5);

/// A level of one seat, and who uses it.
struct Narrow {
    running: Running,
    sender: Sender,
    schema: String,
}

impl Narrow {
    async fn new() -> Narrow {
        let running = crowded(2).await;
        for n in 0..OBJECTS {
            let map = json!({"metadata": {"name": format!("m{n}")}, "data": {"a": "x".repeat(OBJECT_BYTES)}});
            let created = running.admin(Method::POST, CONFIGMAPS, map).await;
            assert_eq!(created.code, 201);
        }
        let sender = running.connect(b"h2").await;
        let (_, schema) = narrow(&running).await;
        let schema = schema.body["metadata"]["uid"].as_str().unwrap_or("?");
        Narrow {
            running,
            sender,
            schema: schema.to_owned(),
        }
    }

    /// Whether another one finds a seat.
    async fn is_free(&self) -> bool {
        let began = Instant::now();
        loop {
            let (code, headers, _) = answer(&self.sender, "poor", "/version").await;
            if headers["x-kubernetes-pf-flowschema-uid"] == *self.schema {
                return code == 200;
            }
            assert!(began.elapsed() < DEADLINE, "the schema is not acted upon");
        }
    }

    async fn until_free(&self) -> Duration {
        let began = Instant::now();
        while !self.is_free().await {
            assert!(began.elapsed() < DEADLINE, "the seat is not given back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    async fn watch(&self, query: &str) -> hyper::body::Incoming {
        let Sender::Two(sender) = &self.sender else {
            panic!("HTTP/2 is expected");
        };
        let asked: Request<Out> = asks("poor", &format!("{CONFIGMAPS}?{query}"));
        let response = sender.clone().send_request(asked).await.expect("an answer");
        assert_eq!(response.status(), 200);
        response.into_body()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_has_its_seat_until_it_has_begun() {
    let narrow = Narrow::new().await;
    assert!(narrow.is_free().await);
    let mut watch = narrow.watch(FROM_THE_START).await;
    for _ in 0..3 {
        assert!(!narrow.is_free().await, "nobody has read what is there");
    }
    let mut bytes = 0;
    let mut last = Vec::new();
    while !String::from_utf8_lossy(&last).contains("k8s.io/initial-events-end") {
        let frame = tokio::time::timeout(DEADLINE, watch.frame()).await;
        let frame = frame.expect("in time").expect("no end").expect("a frame");
        let data = frame.into_data().expect("data");
        bytes += data.len();
        last.extend_from_slice(&data);
        let whole = last.len().saturating_sub(4 << 10);
        last.drain(..whole);
    }
    assert!(bytes > OBJECTS * OBJECT_BYTES, "{bytes}");
    // The watch goes on without one.
    narrow.until_free().await;
    let made = narrow
        .running
        .admin(Method::POST, CONFIGMAPS, configmap("late"));
    assert_eq!(made.await.code, 201);
    let frame = tokio::time::timeout(DEADLINE, watch.frame()).await;
    assert!(frame.expect("in time").expect("no end").is_ok());
    narrow.running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_keeps_no_seat_for_ever() {
    let narrow = Narrow::new().await;
    assert!(narrow.is_free().await);
    let began = Instant::now();
    let watch = narrow.watch(FROM_THE_START).await;
    assert!(!narrow.is_free().await);
    narrow.until_free().await;
    assert!(began.elapsed() >= LONGEST_START, "{:?}", began.elapsed());
    // Nor who begins with nothing, or went before it had read.
    let list = narrow
        .running
        .admin(Method::GET, CONFIGMAPS, Value::Null)
        .await;
    let revision = list.body["metadata"]["resourceVersion"]
        .as_str()
        .expect("a revision");
    let now = narrow
        .watch(&format!("watch=true&resourceVersion={revision}"))
        .await;
    assert!(narrow.is_free().await, "it begins with nothing");
    drop((watch, now));
    let gone = narrow.watch(FROM_THE_START).await;
    drop(gone);
    assert!(narrow.until_free().await < LONGEST_START);
    narrow.running.stop().await;
}
