//! Hooks that are HTTP requests.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

#[tokio::test]
async fn a_hook_without_tls_is_asked_without_and_that_is_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = tokio::spawn(async move {
        let mut asked = String::new();
        for status in ["400 Bad Request", "200 OK"] {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1_024];
            let read = stream.read(&mut request).await.unwrap();
            asked = String::from_utf8_lossy(&request[..read]).into_owned();
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    let mut spec = one("Always");
    spec["containers"][0]["lifecycle"] = json!({ "postStart": { "httpGet": {
        "scheme": "HTTPS", "host": "127.0.0.1", "port": port, "path": "/hook",
        "httpHeaders": [{ "name": "Authorization", "value": "secret" }, { "name": "X-A", "value": "b" }],
    } } });
    let mut bench = Bench::new(spec).await;
    bench.until_ready().await;
    let told = bench.api.until_told("LifecycleHTTPFallback").await;
    let note = format!(
        "request to HTTPS lifecycle hook 127.0.0.1:{port} got HTTP response, retry with HTTP succeeded"
    );
    assert!(told.iter().any(|event| event[2] == note), "{told:?}");
    let asked = server.await.unwrap().to_lowercase();
    assert!(asked.starts_with("get /hook"), "{asked}");
    assert!(
        asked.contains("x-a: b") && !asked.contains("secret"),
        "{asked}"
    );
    bench.delete(0).await;
}

/// Validation lets it pass, and upstream's kubelet fails it when it is to run it.
#[tokio::test]
async fn a_hook_that_no_kubelet_runs_fails() {
    let mut spec = one("Never");
    spec["containers"][0]["lifecycle"] =
        json!({ "postStart": { "tcpSocket": { "host": "h", "port": 9 } } });
    let mut bench = Bench::new(spec).await;
    let told = bench.api.until_told("FailedPostStartHook").await;
    assert!(
        told.iter().any(|event| event[2] == "PostStartHook failed"),
        "{told:?}"
    );
    bench.fake.until_asked("stop a-0 30").await;
    bench.delete(0).await;
    let hook = |socket| serde_json::from_value(json!({ "tcpSocket": socket })).unwrap();
    for (socket, expected) in [
        (json!({ "host": "h", "port": 9 }), "{Port:{0 9 },Host:h,}"),
        (json!({ "port": "web" }), "{Port:{1 0 web},Host:,}"),
    ] {
        let expected = format!(
            "invalid handler: &LifecycleHandler{{Exec:nil,HTTPGet:nil,TCPSocket:&TCPSocketAction{expected},Sleep:nil,}}"
        );
        assert_eq!(crate::worker::hooks::invalid(&hook(socket)), expected);
    }
}
