use std::net::SocketAddr;

use http_body_util::BodyExt;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;

/// A pod that answers with what it was asked; `/away` redirects.
async fn pod() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = |request: Request<hyper::body::Incoming>| async move {
        let text = format!(
            "{} {} host={:?} forwarded={:?} credentials={}",
            request.method(),
            request.uri(),
            request.headers()[header::HOST],
            request.headers()[FORWARDED_URI],
            request.headers().contains_key(header::AUTHORIZATION),
        );
        let mut response = Response::new(Full::new(Bytes::from(text)));
        if request.uri().path() == "/away" {
            *response.status_mut() = StatusCode::FOUND;
            response
                .headers_mut()
                .insert(header::LOCATION, HeaderValue::from_static("/there?x=1"));
        }
        Ok::<_, std::convert::Infallible>(response)
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(
                http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(answer)),
            );
        }
    });
    address
}

const PATH: &str = "/api/v1/namespaces/shop/pods/web/proxy";

/// `rest` is what follows `proxy`.
async fn ask(address: SocketAddr, method: Method, rest: &str, query: &str) -> Answer {
    let path = format!("{PATH}{rest}");
    let rest = rest.trim_start_matches('/');
    let location = Location {
        path: &path,
        rest,
        query,
    };
    let mut client = Request::new(());
    *client.method_mut() = method;
    client
        .headers_mut()
        .insert(header::HOST, HeaderValue::from_static("api:6443"));
    client
        .headers_mut()
        .insert(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"));
    let target = Target {
        address,
        tls: false,
    };
    let backends = Backends::new(CancellationToken::new());
    backends
        .pass(&target, &location, &mut client, Bytes::new())
        .await
}

#[tokio::test]
async fn a_request_is_passed_on_without_credentials() {
    let answer = ask(pod().await, Method::PUT, "/a b/c", "x=1")
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(
        text,
        "PUT /a%20b/c?x=1 host=\"api:6443\" forwarded=\"/api/v1/namespaces/shop/pods/web/proxy/a%20b/c\" credentials=false"
    );
}

#[tokio::test]
async fn redirects_come_back_through_the_proxy() {
    let pod = pod().await;
    let root = ask(pod, Method::GET, "", "x=1").await.unwrap();
    assert_eq!(root.status(), 301);
    assert_eq!(root.headers()[header::LOCATION], format!("{PATH}/?x=1"));
    let page = ask(pod, Method::GET, "/", "").await.unwrap();
    assert_eq!(page.status(), 200);
    // A POST would lose its body.
    assert_eq!(ask(pod, Method::POST, "", "").await.unwrap().status(), 200);
    let away = ask(pod, Method::GET, "/away", "").await.unwrap();
    assert_eq!(away.status(), 302);
    assert_eq!(
        away.headers()[header::LOCATION],
        format!("https://api:6443{PATH}/there?x=1")
    );
}

#[test]
fn only_the_pods_own_locations_are_rewritten() {
    let target = Target {
        address: "10.42.0.5:80".parse().unwrap(),
        tls: false,
    };
    let location = Location {
        path: "/p/proxy/a/",
        rest: "a/",
        query: "",
    };
    let cases = [
        ("http://10.42.0.5:80/b", "https://api/p/proxy/b"),
        ("http://api/b/", "https://api/p/proxy/b/"),
        ("/p/proxy/b", "https://api/p/proxy/b"),
        ("http://elsewhere/b", "http://elsewhere/b"),
        ("b/c", "b/c"),
    ];
    for (given, wanted) in cases {
        let mut response = Response::new(());
        response
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::from_static(given));
        let host = HeaderValue::from_static("api");
        rewrite::location(&mut response, &target, &location, Some(&host)).unwrap();
        assert_eq!(response.headers()[header::LOCATION], wanted, "{given}");
    }
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_unavailable() {
    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let error = ask(nobody, Method::GET, "/x", "").await.err().unwrap();
    assert_eq!(error.code, 503);
    let start = format!("error trying to reach service: dial tcp {nobody}: ");
    assert!(error.message.starts_with(&start), "{}", error.message);
}

fn body(text: &'static str) -> Incoming {
    Incoming::Local(
        Full::new(Bytes::from(text))
            .map_err(|never| match never {})
            .boxed_unsync(),
    )
}

#[tokio::test]
async fn bodies_are_held_in_a_bounded_number() {
    let backends = Backends::new(CancellationToken::new());
    let mut held = Vec::new();
    for _ in 0..BODIES {
        held.push(backends.hold(&mut body("x")).await.unwrap());
    }
    let refused = backends.hold(&mut body("x")).await.err().unwrap();
    assert_eq!(refused.code, 429);
    let empty = backends.hold(&mut body("")).await.unwrap();
    assert!(empty.bytes.is_empty(), "what has no body needs no place");
    held.pop();
    let again = backends.hold(&mut body("x")).await.unwrap();
    assert_eq!(again.bytes, "x");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_gives_its_place_back() {
    let backends = Backends::new(CancellationToken::new());
    let silent = futures::stream::pending::<Result<http_body::Frame<Bytes>, std::io::Error>>();
    let mut body = Incoming::Local(http_body_util::StreamBody::new(silent).boxed_unsync());
    let refused = backends.hold(&mut body).await.err().unwrap();
    assert_eq!(refused.reason, knarr_meta::status::Reason::Timeout);
    assert_eq!(backends.bodies.available_permits(), BODIES);
}
