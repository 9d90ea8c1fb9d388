use std::{convert::Infallible, net::SocketAddr};

use futures::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::*;
use crate::server::limits::Limits;

/// A pod that answers with what it was asked; `/away` redirects, `/page` is a page, `/slow` does not end.
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
        let full = |text: String| Full::new(Bytes::from(text)).boxed();
        let mut response = Response::new(full(text));
        let mut set = |name, value| {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        };
        match request.uri().path() {
            "/away" => {
                set(header::LOCATION, "/there?x=1");
                *response.status_mut() = StatusCode::FOUND;
            }
            "/page" => {
                set(header::CONTENT_TYPE, "text/html; charset=utf-8");
                *response.body_mut() = full("<a href=\"/rewriteme\">test</a>".to_owned());
            }
            "/slow" => {
                let first = futures::stream::iter([Ok(Frame::data(Bytes::from("first")))]);
                let frames = first.chain(futures::stream::pending());
                *response.body_mut() = BodyExt::boxed(StreamBody::new(frames));
            }
            _ => {}
        }
        Ok::<_, Infallible>(response)
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
    let place = Limits::default().stream("ann").expect("a place");
    ask_with(place, address, method, rest, query).await
}

async fn ask_with(
    place: Place,
    address: SocketAddr,
    method: Method,
    rest: &str,
    query: &str,
) -> Answer {
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
    let destination = Destination::Address(Target {
        address,
        tls: false,
    });
    let backends = Backends::new(CancellationToken::new());
    backends
        .pass(&destination, &location, &mut client, Bytes::new(), place)
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
        format!("{PATH}/there?x=1")
    );
}

#[tokio::test]
async fn links_come_back_through_the_proxy() {
    let pod = pod().await;
    let page = ask(pod, Method::GET, "/page", "").await.unwrap();
    assert!(!page.headers().contains_key(header::CONTENT_LENGTH));
    let text = page.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(text, format!("<a href=\"{PATH}/rewriteme\">test</a>"));
    // The head of a page tells its size at the pod, as upstream's does.
    let head = ask(pod, Method::HEAD, "/page", "").await.unwrap();
    assert!(head.headers().contains_key(header::CONTENT_LENGTH));
}

#[tokio::test]
async fn an_answer_has_a_place_until_it_has_ended() {
    let (pod, limits) = (pod().await, Limits::default());
    let place = limits.stream("ann").unwrap();
    let slow = ask_with(place, pod, Method::GET, "/slow", "")
        .await
        .unwrap();
    let _others: Vec<_> = std::iter::from_fn(|| limits.stream("ann").ok()).collect();
    assert_eq!(limits.stream("ann").unwrap_err().code, 429);
    let mut body = slow.into_body();
    let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first");
    assert_eq!(limits.stream("ann").unwrap_err().code, 429, "it goes on");
    drop(body);
    let place = limits.stream("ann").expect("the place that was given back");
    let whole = ask_with(place, pod, Method::GET, "/", "").await.unwrap();
    whole.into_body().collect().await.unwrap();
    assert!(limits.stream("ann").is_ok(), "it has ended");
}

#[test]
fn only_the_pods_own_locations_are_rewritten() {
    let location = Location {
        path: "/p/proxy/a/",
        rest: "a/",
        query: "",
    };
    let mut client = http::HeaderMap::new();
    client.insert(header::HOST, HeaderValue::from_static("api"));
    let rewriter = Rewriter::new(&location, "10.42.0.5:80".to_owned(), &client);
    let cases = [
        ("http://10.42.0.5:80/b", "/p/proxy/b"),
        ("http://api/b/", "http://api/p/proxy/b/"),
        ("/p/proxy/b", "/p/proxy/b"),
        ("/b", "/p/proxy/b"),
        ("http://elsewhere/b", "http://elsewhere/b"),
        ("b/c", "b/c"),
        ("/b%00<script>/", "/p/proxy/b%00%3Cscript%3E/"),
    ];
    for (given, wanted) in cases {
        let mut response = Response::new(());
        response
            .headers_mut()
            .insert(header::LOCATION, HeaderValue::from_static(given));
        rewriter.location(&mut response).unwrap();
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
