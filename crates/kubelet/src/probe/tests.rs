use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::testing::{object, pod};

#[test]
fn thresholds_decide() {
    let probe: Probe = object(json!({ "successThreshold": 2, "failureThreshold": 3 }));
    let mut counter = Counter::new(&probe, None);
    let bad = Outcome::Failure(String::new());
    let mut add = |outcome: &Outcome, early| counter.add(outcome, early);
    assert_eq!(add(&bad, true), Verdict::Unchanged);
    for expected in [
        Verdict::Unchanged,
        Verdict::Unchanged,
        Verdict::Bad,
        Verdict::Unchanged,
    ] {
        assert_eq!(add(&bad, false), expected);
    }
    assert_eq!(
        add(&Outcome::Error(String::new()), false),
        Verdict::Unchanged
    );
    assert_eq!(add(&Outcome::Success, false), Verdict::Unchanged);
    assert_eq!(add(&Outcome::Success, false), Verdict::Good);
    assert_eq!(add(&Outcome::Success, false), Verdict::Unchanged);
}

#[test]
fn targets_come_from_the_container() {
    let pod = pod(
        json!({ "containers": [{ "name": "a", "ports": [{ "name": "web", "containerPort": 8080 }] }] }),
    );
    let container = &pod.spec.as_ref().unwrap().containers[0];
    let target = |get| http_target(container, &object(get), "10.0.0.1");
    let made = target(json!({ "port": "web", "path": "ok" })).unwrap();
    assert_eq!(
        (made.port, made.path.as_str(), made.host.as_str()),
        (8080, "/ok", "10.0.0.1")
    );
    assert!(target(json!({ "port": "nope" })).is_err());
    assert!(target(json!({ "port": 0 })).is_err());
}

/// Answers each connection with the next of `answers`.
async fn server(answers: Vec<&'static str>) -> Target {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let read = stream.read(&mut request).await.unwrap();
            assert!(request[..read].starts_with(b"GET /"));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    Target {
        https: false,
        host: "127.0.0.1".into(),
        port,
        path: "/".into(),
        headers: Vec::new(),
    }
}

#[tokio::test]
async fn http_answers_count_by_their_status() {
    let http = Http::new().unwrap();
    let second = Duration::from_secs(1);
    for (answers, expected) in [
        (
            vec!["HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"],
            Outcome::Success,
        ),
        (
            vec!["HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"],
            Outcome::Failure("HTTP probe failed with statuscode: 500".into()),
        ),
        (
            vec![
                "HTTP/1.1 302 F\r\nlocation: /b\r\ncontent-length: 0\r\n\r\n",
                "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
            ],
            Outcome::Failure("HTTP probe failed with statuscode: 404".into()),
        ),
        (
            vec!["HTTP/1.1 302 F\r\nlocation: http://else.where/\r\ncontent-length: 0\r\n\r\n"],
            Outcome::Success,
        ),
    ] {
        let target = server(answers).await;
        assert_eq!(super::http::probe(&http, &target, second).await, expected);
    }
}

#[tokio::test]
async fn a_closed_port_reads_as_in_go() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let outcome = tcp::probe("127.0.0.1", port, Duration::from_secs(1)).await;
    let text = format!("dial tcp 127.0.0.1:{port}: connect: connection refused");
    assert_eq!(outcome, Outcome::Failure(text));
}
