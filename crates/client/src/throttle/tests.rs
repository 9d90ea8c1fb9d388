use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that refuses what exceeds `limit` requests at once; each takes a tenth of a second.
#[derive(Clone, Default)]
struct Server {
    under_way: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Server {
    async fn answer(self, limit: usize) -> Result<Response<()>, std::convert::Infallible> {
        let before = self.under_way.fetch_add(1, Ordering::SeqCst);
        let refused = before >= limit;
        if !refused {
            sleep(Duration::from_millis(100)).await;
            self.served.fetch_add(1, Ordering::SeqCst);
        }
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        let builder = match refused {
            true => {
                self.refused.fetch_add(1, Ordering::SeqCst);
                Response::builder().status(429).header(RETRY_AFTER, "1")
            }
            false => Response::builder().status(201),
        };
        Ok(builder.body(()).expect("a response"))
    }
}

fn request() -> Request<Body> {
    Request::post("/api/v1/pods")
        .body(Body::from(b"{}".to_vec()))
        .expect("a request")
}

#[tokio::test(start_paused = true)]
async fn a_burst_shrinks_until_the_server_takes_it() {
    fastrand::seed(7);
    let server = Server::default();
    let client = Throttle::new(service_fn({
        let server = server.clone();
        move |_| server.clone().answer(50)
    }));
    let calls = (0..3000).map(|_| client.clone().oneshot(request()));
    let answers = join_all(calls).await;
    let made = answers
        .iter()
        .filter(|answer| answer.as_ref().is_ok_and(|a| a.status() == 201));
    assert_eq!(made.count(), 3000, "no caller sees a refusal");
    let refused = server.refused.load(Ordering::SeqCst);
    let counts = client.requests().counts();
    let refusals = u64::try_from(refused).unwrap();
    assert!(
        counts.contains(&("201".to_owned(), "POST", 3_000)),
        "{counts:?}"
    );
    assert!(
        counts.contains(&("429".to_owned(), "POST", refusals)),
        "{counts:?}"
    );
    assert!(refused < 1500, "{refused} refusals for 3 000 requests");
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_wait_waits_and_gives_up_in_the_end() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let client = Throttle::new(service_fn(move |_: Request<Body>| {
        counter.fetch_add(1, Ordering::SeqCst);
        async {
            let response = Response::builder().status(429).header(RETRY_AFTER, "2");
            Ok::<_, std::convert::Infallible>(response.body(()).expect("a response"))
        }
    }));
    let begin = Instant::now();
    let answer = client.oneshot(request()).await.expect("an answer");
    assert_eq!(answer.status(), 429);
    assert_eq!(calls.load(Ordering::SeqCst), 1 + RETRIES);
    let waited = begin.elapsed();
    let (least, most) = (Duration::from_secs(20), Duration::from_secs(30));
    assert!(waited >= least && waited <= most, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_about_waiting_is_passed_on() {
    for (status, header) in [
        (409, None),
        (500, None),
        (404, Some("1")),
        (429, Some("soon")),
    ] {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let client = Throttle::new(service_fn(move |_: Request<Body>| {
            counter.fetch_add(1, Ordering::SeqCst);
            let mut response = Response::builder().status(status);
            if let Some(text) = header {
                response = response.header(RETRY_AFTER, text);
            }
            async move { Ok::<_, std::convert::Infallible>(response.body(()).expect("a response")) }
        }));
        let answer = client.oneshot(request()).await.expect("an answer");
        assert_eq!(answer.status().as_u16(), status);
        assert_eq!(calls.load(Ordering::SeqCst), 1, "{status}");
    }
}

/// A caller that gives up while it waits leaves its place to others.
#[tokio::test(start_paused = true)]
async fn a_dropped_call_gives_its_place_back() {
    let client = Throttle::new(service_fn(|_: Request<Body>| {
        std::future::pending::<Result<Response<()>, std::convert::Infallible>>()
    }));
    client.window.lock().size = WINDOW_MIN;
    for _ in 0..3 {
        let call = client.clone().oneshot(request());
        let ended = tokio::time::timeout(Duration::from_secs(5), call).await;
        assert!(ended.is_err());
    }
    assert_eq!(client.window.lock().under_way, 0);
}

/// Not every caller has a deadline of its own; whether the change was made it has to find out.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_answered_ends() {
    let client = Throttle::new(service_fn(|_: Request<Body>| {
        std::future::pending::<Result<Response<()>, std::convert::Infallible>>()
    }));
    let error = client
        .clone()
        .oneshot(request())
        .await
        .expect_err("no answer");
    assert_eq!(
        error.to_string(),
        "no answer to POST /api/v1/pods within 70s"
    );
    assert_eq!(client.window.lock().under_way, 0);
}

/// Over HTTP, as the commands and the scheduler's extenders are reached.
#[tokio::test]
async fn clients_by_a_configuration_wait_too() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let server = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in [
            "429 x\r\nretry-after: 1\r\n",
            "503 x\r\nretry-after: 1\r\n",
            "200 x\r\n",
        ] {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            asked.push(Instant::now());
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.expect("a request") > 0);
            let text =
                format!("HTTP/1.1 {answer}connection: close\r\ncontent-length: 2\r\n\r\n{{}}");
            stream.write_all(text.as_bytes()).await.expect("an answer");
        }
        asked
    });
    let config = kube::Config::new(url.parse().expect("a URL"));
    let client = client(config).expect("a client");
    let request = Request::get("/version")
        .body(Vec::new())
        .expect("a request");
    let answer = client.request_text(request).await.expect("an answer");
    assert_eq!(answer, "{}");
    let asked = server.await.expect("three requests");
    for pair in asked.windows(2) {
        let waited = pair[1] - pair[0];
        assert!(waited >= Duration::from_secs(1), "{waited:?}");
    }
}
