use std::{
    io::{Read, Write},
    net::TcpListener,
    sync::mpsc,
};

use super::*;

/// Answers each request with the next of these.
fn serve(answers: Vec<String>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!(
        "http://user:secret@{}/pods?token=x",
        listener.local_addr().unwrap()
    );
    let (sender, asked) = mpsc::channel();
    std::thread::spawn(move || {
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4_096];
            let read = stream.read(&mut request).unwrap();
            let _ = sender.send(String::from_utf8_lossy(&request[..read]).into_owned());
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    (url, asked)
}

fn answer(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

#[tokio::test]
async fn what_is_there_is_taken_when_it_changes() {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{name: m, image: i}]}}";
    let (url, asked) = serve(vec![
        answer("200 OK", pod),
        answer("200 OK", pod),
        answer("404 Not Found", pod),
        answer("200 OK", "a: ["),
        answer("200 OK", ""),
    ]);
    let source: ManifestUrl = url.parse().unwrap();
    let source = source.with_header("X-Key: value").unwrap();
    let client = client(&source).unwrap();
    let mut last = None;
    let mut ask = async || ask(&client, &source, "n", &mut last).await;
    let first = ask().await.unwrap().unwrap();
    assert_eq!(first[0].metadata.name.as_deref(), Some("a-n"));
    assert!(
        asked
            .recv()
            .unwrap()
            .to_lowercase()
            .contains("x-key: value\r\n")
    );
    assert_eq!(ask().await.unwrap(), None, "it has not changed");
    assert_eq!(
        ask().await.unwrap_err(),
        "the server answered 404 Not Found"
    );
    assert!(ask().await.is_err());
    assert_eq!(ask().await.unwrap(), Some(Vec::new()));
}

#[tokio::test]
async fn secrets_are_in_no_message() {
    let (url, _asked) = serve(Vec::new());
    let source: ManifestUrl = url.parse().unwrap();
    assert!(!place(&source.url).contains("secret") && !place(&source.url).contains("token"));
    let error = ask(&client(&source).unwrap(), &source, "n", &mut None)
        .await
        .unwrap_err();
    assert!(
        !error.contains("secret") && !error.contains("token"),
        "{error}"
    );
}

#[test]
fn what_is_no_url_and_no_header_is_refused() {
    for text in ["", "web", "file:///etc/passwd", "ftp://x/"] {
        assert!(text.parse::<ManifestUrl>().is_err(), "{text:?}");
    }
    for line in ["", "Name", "Na me: x", "Name: a\nb"] {
        let url: ManifestUrl = "http://x/".parse().unwrap();
        assert!(url.with_header(line).is_err(), "{line:?}");
    }
}
