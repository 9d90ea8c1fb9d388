//! An API server that knows one pod, and passes exec, attach and port-forward on byte for byte.

use std::net::SocketAddr;
use std::sync::Arc;

use knarr_runtime::exec::{AttachRequest, ExecRequest, PortForwardRequest, Streaming};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

pub async fn start(urls: Arc<dyn Streaming>, token: CancellationToken) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(token.clone().run_until_cancelled_owned(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connection = serve(stream, urls.clone());
            tokio::spawn(token.clone().run_until_cancelled_owned(connection));
        }
    }));
    address
}

async fn serve(stream: TcpStream, urls: Arc<dyn Streaming>) {
    let mut stream = BufReader::new(stream);
    while let Some((method, target, headers)) = head(&mut stream).await {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let query: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), decoded(value)))
            .collect();
        if let Some(url) = upgraded(path, &query, urls.as_ref()) {
            splice(stream, &method, &url, &headers).await;
            return;
        }
        let (status, body) = match object(path) {
            Some(body) => ("200 OK", body),
            None => (
                "404 Not Found",
                json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}),
            ),
        };
        let body = body.to_string();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Method, target and header lines.
async fn head(stream: &mut BufReader<TcpStream>) -> Option<(String, String, Vec<String>)> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let mut words = lines.first()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    Some((method, target, lines.split_off(1)))
}

fn object(path: &str) -> Option<Value> {
    Some(match path {
        "/api" => json!({"kind": "APIVersions", "versions": ["v1"]}),
        "/apis" => json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []}),
        "/api/v1" => json!({
            "kind": "APIResourceList", "groupVersion": "v1",
            "resources": [{"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "verbs": ["get"]}],
        }),
        "/api/v1/namespaces/default/pods/p" => json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {"name": "p", "namespace": "default", "uid": "u"},
            "spec": {"containers": [
                {"name": "c", "image": "i", "stdin": true}, {"name": "stays", "image": "i", "stdin": true},
            ]},
            "status": {"phase": "Running"},
        }),
        _ => return None,
    })
}

/// The streaming server's URL for a subresource of the pod.
fn upgraded(path: &str, query: &[(String, String)], urls: &dyn Streaming) -> Option<String> {
    let subresource = path.strip_prefix("/api/v1/namespaces/default/pods/p/")?;
    let is = |name: &str| {
        query
            .iter()
            .any(|(key, value)| key == name && value == "true")
    };
    let url = match subresource {
        "exec" => urls.exec_url(ExecRequest {
            container_id: "container".to_owned(),
            command: query
                .iter()
                .filter(|(name, _)| name == "command")
                .map(|(_, value)| value.clone())
                .collect(),
            tty: is("tty"),
            stdin: is("stdin"),
            stdout: is("stdout"),
            stderr: is("stderr") && !is("tty"),
        }),
        "attach" => urls.attach_url(AttachRequest {
            container_id: query
                .iter()
                .find(|(name, _)| name == "container")
                .map_or_else(|| "c".to_owned(), |(_, value)| value.clone()),
            tty: is("tty"),
            stdin: is("stdin"),
            stdout: is("stdout"),
            stderr: is("stderr") && !is("tty"),
        }),
        "portforward" => urls.port_forward_url(PortForwardRequest {
            sandbox_id: "sandbox".to_owned(),
            ports: Vec::new(),
        }),
        _ => return None,
    };
    Some(url.unwrap())
}

async fn splice(mut client: BufReader<TcpStream>, method: &str, url: &str, headers: &[String]) {
    let (authority, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .unwrap();
    let mut server = TcpStream::connect(authority).await.unwrap();
    let head = format!(
        "{method} /{path} HTTP/1.1\r\n{}\r\n\r\n",
        headers.join("\r\n")
    );
    server.write_all(head.as_bytes()).await.unwrap();
    // The answer is passed on before the client may send anything, as by the kubelet.
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        match server.read_u8().await {
            Ok(byte) => answer.push(byte),
            Err(_) => break,
        }
    }
    if client.write_all(&answer).await.is_ok() {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    }
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
