//! With a chance a connection ends after what is under way on it, so that clients spread over servers again.

use std::time::Instant;

use super::{
    flow_control::asks,
    refusals::{Running, Sender, running_with},
    *,
};

async fn with_chance(chance: f64) -> Running {
    let dir = tempfile::tempdir().expect("a directory");
    let server = open_with(dir.path(), |config| config.goaway_chance = chance).await;
    running_with(Cluster { server, dir })
}

fn second(sender: Sender) -> hyper::client::conn::http2::SendRequest<super::refusals::Out> {
    match sender {
        Sender::Two(sender) => sender,
        Sender::One(_) => panic!("HTTP/2 is expected"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_goes_away_finishes_what_it_does() {
    let running = with_chance(1.0).await;
    let mut sender = second(running.connect(b"h2").await);
    let watch = asks("", &format!("{CONFIGMAPS}?watch=true"));
    let response = tokio::time::timeout(DEADLINE, sender.send_request(watch)).await;
    let response = response.expect("in time").expect("an answer");
    assert_eq!(response.status(), 200);
    // Nothing more is taken on it, as soon as its client has been told.
    let began = Instant::now();
    while sender.send_request(asks("", "/version")).await.is_ok() {
        assert!(began.elapsed() < DEADLINE, "the connection takes more");
    }
    // What was under way goes on.
    let made = running
        .admin(Method::POST, CONFIGMAPS, configmap("late"))
        .await;
    assert_eq!(made.code, 201, "{}", made.body);
    let mut body = response.into_body();
    let mut seen = String::new();
    while !seen.contains("\"late\"") {
        let frame = tokio::time::timeout(DEADLINE, body.frame()).await;
        let frame = frame.expect("an event in time").expect("no end");
        let data = frame.expect("a frame").into_data().expect("data");
        seen.push_str(&String::from_utf8_lossy(&data));
    }
    drop(body);
    // A new connection is as good as the first.
    let mut again = running.connect(b"h2").await;
    assert_eq!(again.send(asks("", "/version")).await.0, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_connections_of_many_requests_go_away_and_only_by_chance() {
    for (chance, protocol) in [(1.0, &b"http/1.1"[..]), (0.0, b"http/1.1"), (0.0, b"h2")] {
        let running = with_chance(chance).await;
        let mut sender = running.connect(protocol).await;
        for _ in 0..50 {
            if let Sender::One(sender) = &mut sender {
                sender.ready().await.expect("it takes another");
            }
            assert_eq!(sender.send(asks("", "/version")).await.0, 200);
        }
        running.stop().await;
    }
}
