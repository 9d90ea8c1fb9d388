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
    for (path, wanted) in [
        ("/a b/\u{e9}?x=1&y=%20#part", "/a%20b/%C3%A9?x=1&y=%20"),
        ("/{id}", "/%7Bid%7D"),
    ] {
        let made = target(json!({ "port": 80, "path": path })).unwrap();
        assert_eq!(made.path, wanted);
    }
    let made = target(json!({
        "port": 1, "host": "h", "scheme": "HTTPS", "httpHeaders": [{ "name": "X-A", "value": "b" }],
    }));
    let made = made.unwrap();
    assert_eq!((made.port, made.host.as_str(), made.https), (1, "h", true));
    assert_eq!(made.headers, [("X-A".to_owned(), "b".to_owned())]);
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
            vec!["HTTP/1.1 302 F\r\nlocation: http://else.where/\r\ncontent-length: 4\r\n\r\ngone"],
            Outcome::Warning("Probe terminated redirects, Response body: gone".into()),
        ),
    ] {
        let target = server(answers).await;
        assert_eq!(super::http::probe(&http, &target, second).await, expected);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_told_from_one_that_is_broken() {
    let http = Http::new().unwrap();
    for (answer, not_tls) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], true),
        (b"SSH-2.0-x\r\n", false),
        (b"HT", false),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(answer).await.unwrap();
        });
        let target = Target {
            https: true,
            host: "127.0.0.1".into(),
            port,
            path: "/x".into(),
            headers: Vec::new(),
        };
        let error = http.get(&target, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(is_not_tls(&error), not_tls, "{error}");
        let words = format!(
            "Get \"https://127.0.0.1:{port}/x\": http: server gave HTTP response to HTTPS client"
        );
        assert!(!not_tls || error == words, "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_reads_as_in_go() {
    let http = Http::new().unwrap();
    for (https, reset) in [(false, false), (false, true), (true, false), (true, true)] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            if !reset {
                stream
                    .read_buf(&mut Vec::with_capacity(4_096))
                    .await
                    .unwrap();
            }
            // What is closed with something left to be read is reset.
        });
        let target = Target {
            https,
            host: "127.0.0.1".into(),
            port,
            path: "/x".into(),
            headers: Vec::new(),
        };
        let error = http.get(&target, Duration::from_secs(5)).await.unwrap_err();
        let scheme = if https { "https" } else { "http" };
        let begins = format!("Get \"{scheme}://127.0.0.1:{port}/x\": ");
        let why = error.strip_prefix(&begins).unwrap();
        // Whether it is reset is for the kernel to say.
        let is_reset = why.starts_with("read tcp 127.0.0.1:")
            && why.ends_with(&format!(
                "->127.0.0.1:{port}: read: connection reset by peer"
            ));
        assert!(why == "EOF" || (reset && is_reset), "{https} {why}");
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

/// Serves one gRPC call: what it answers by the service that is asked for.
async fn grpc_server(answer: &'static [u8], status: &'static str) -> u16 {
    use http_body_util::{BodyExt, StreamBody};
    use hyper::{body::Frame, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(
            move |request: ::http::Request<hyper::body::Incoming>| async move {
                assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                assert_eq!(request.headers()["content-type"], "application/grpc");
                assert_eq!(request.headers()["te"], "trailers");
                let body = request.into_body().collect().await.unwrap().to_bytes();
                // Not compressed, four bytes of length, then field 1: the service's name.
                assert_eq!(body[..], *b"\0\0\0\0\x05\x0a\x03web");
                let mut trailers = ::http::HeaderMap::new();
                trailers.insert("grpc-status", status.parse().unwrap());
                trailers.insert("grpc-message", "unknown%20service".parse().unwrap());
                let frames = [
                    Frame::data(bytes::Bytes::from_static(answer)),
                    Frame::trailers(trailers),
                ];
                let frames = frames.map(Ok::<_, std::convert::Infallible>);
                let body = StreamBody::new(futures::stream::iter(frames));
                let response =
                    ::http::Response::builder().header("content-type", "application/grpc");
                response.body(body)
            },
        );
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        // The probe hangs up when it has its answer.
        let _ended = server.serve_connection(TokioIo::new(stream), service).await;
    });
    port
}

#[tokio::test]
async fn grpc_answers_count_by_their_message_and_status() {
    const SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";
    const NOT_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x02";
    let failure = |text: &str| Outcome::Failure(text.to_owned());
    for (answer, status, expected) in [
        (SERVING, "0", Outcome::Success),
        (
            NOT_SERVING,
            "0",
            failure("service unhealthy (responded with \"NOT_SERVING\")"),
        ),
        // An empty message: every field has its default.
        (
            b"\0\0\0\0\0",
            "0",
            failure("service unhealthy (responded with \"UNKNOWN\")"),
        ),
        (
            b"",
            "5",
            failure(
                "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
            ),
        ),
        (
            b"",
            "1",
            failure(
                "error: health rpc probe failed: rpc error: code = Canceled desc = unknown service",
            ),
        ),
        (
            b"",
            "4",
            failure("timeout: health rpc did not complete within 5s"),
        ),
        (
            b"",
            "12",
            failure(
                "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown service",
            ),
        ),
    ] {
        let port = grpc_server(answer, status).await;
        let outcome = grpc::probe("127.0.0.1", port, "web", Duration::from_secs(5)).await;
        assert_eq!(outcome, expected);
    }
}

/// As upstream's client, which connects anew until the deadline, and does not say what became of that.
#[tokio::test]
async fn a_grpc_server_that_is_silent_or_away_or_of_another_kind_fails() {
    let words = |port: u16| {
        Outcome::Failure(format!(
            "timeout: failed to connect service \"127.0.0.1:{port}\" within 0s: context deadline exceeded"
        ))
    };
    let soon = Duration::from_millis(100);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let outcome = grpc::probe("127.0.0.1", port, "", soon).await;
    assert_eq!(outcome, words(port));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
            answer.await.unwrap();
        }
    });
    let outcome = grpc::probe("127.0.0.1", port, "", soon).await;
    assert_eq!(outcome, words(port));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let outcome = grpc::probe("127.0.0.1", port, "", soon).await;
    assert_eq!(outcome, words(port));
}

/// One that has greeted is one that answers too late.
#[tokio::test]
async fn a_grpc_server_that_does_not_answer_is_late() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"\0\0\0\x04\0\0\0\0\0").await.unwrap();
        std::future::pending::<()>().await;
    });
    let outcome = grpc::probe("127.0.0.1", port, "", Duration::from_millis(200)).await;
    let words = "timeout: health rpc did not complete within 0s";
    assert_eq!(outcome, Outcome::Failure(words.to_owned()));
}

#[tokio::test]
async fn a_grpc_answer_of_any_length_costs_little() {
    let endless = Vec::leak(vec![0; 1 << 20]);
    let port = grpc_server(endless, "0").await;
    let outcome = grpc::probe("127.0.0.1", port, "web", Duration::from_secs(5)).await;
    assert!(
        matches!(&outcome, Outcome::Failure(text) if text.contains("length limit exceeded")),
        "{outcome:?}"
    );
}
