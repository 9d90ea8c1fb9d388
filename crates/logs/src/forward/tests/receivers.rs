//! Receivers as small as they can be: each reads its protocol's bytes and keeps the lines that it has accepted.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use prost::Message;
use serde_json::{Value as Json, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};

use crate::forward::otlp::{ExportLogsServiceRequest, Value};

/// A line that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub pod: String,
    pub text: String,
}

impl Seen {
    pub fn number(&self) -> i64 {
        self.text.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// An address at which there is nobody yet.
pub struct Receivers {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

pub struct Running {
    receivers: Receivers,
    task: JoinHandle<()>,
}

impl Receivers {
    pub async fn reserve() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
        }
    }

    /// Starts one that takes none of the first `failures` batches.
    pub async fn start(self, kind: &'static str, failures: usize) -> Running {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(self.address).unwrap();
        let listener = socket.listen(8).unwrap();
        let (seen, failures) = (self.seen.clone(), Arc::new(Mutex::new(failures)));
        let task = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, failures) = (seen.clone(), failures.clone());
                serving.spawn(async move {
                    match kind {
                        "fluentForward" => fluent(stream, &seen, &failures).await,
                        kind => http(stream, kind, &seen, &failures).await,
                    }
                });
            }
        });
        Running {
            receivers: self,
            task,
        }
    }
}

impl Running {
    /// All that was accepted, when there are so many different lines.
    pub async fn wait(&mut self, count: usize) -> Vec<Seen> {
        let all = async {
            loop {
                let seen = self.receivers.seen.lock().clone();
                let mut numbers: Vec<i64> = seen.iter().map(Seen::number).collect();
                numbers.sort_unstable();
                numbers.dedup();
                if numbers.len() >= count {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), all)
            .await
            .expect("all lines")
    }

    pub async fn stop(self) -> Receivers {
        self.task.abort();
        let _ = self.task.await;
        self.receivers
    }
}

/// Whether this batch is to fail.
fn fails(failures: &Mutex<usize>) -> bool {
    let mut failures = failures.lock();
    let fails = *failures > 0;
    *failures = failures.saturating_sub(1);
    fails
}

async fn http(mut stream: TcpStream, kind: &str, seen: &Mutex<Vec<Seen>>, failures: &Mutex<usize>) {
    let mut buffer = Vec::new();
    loop {
        let Some(end) = memchr::memmem::find(&buffer, b"\r\n\r\n") else {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        let head = String::from_utf8(buffer[..end].to_vec())
            .unwrap()
            .to_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap().parse().unwrap();
        while buffer.len() < end + 4 + length {
            assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
        }
        let body: Vec<u8> = buffer.drain(..end + 4 + length).skip(end + 4).collect();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        let (status, answer) = match fails(failures) {
            true => ("503 Service Unavailable", "later".to_owned()),
            false => {
                let lines = decode(kind, &path, &body);
                let items = vec![json!({ "create": { "status": 201 } }); lines.len()];
                seen.lock().extend(lines);
                match kind {
                    "elasticsearch" => (
                        "200 OK",
                        json!({ "errors": false, "items": items }).to_string(),
                    ),
                    _ => ("200 OK", String::new()),
                }
            }
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

fn decode(kind: &str, path: &str, body: &[u8]) -> Vec<Seen> {
    match kind {
        "otlp" => {
            assert_eq!(path, "/v1/logs");
            otlp(body)
        }
        "loki" => {
            assert_eq!(path, "/loki/api/v1/push");
            let body: Json = serde_json::from_slice(body).unwrap();
            let streams = body["streams"].as_array().unwrap();
            let lines = streams.iter().flat_map(|stream| {
                let values = stream["values"].as_array().unwrap();
                values.iter().map(move |value| (stream, value))
            });
            let seen = |(stream, value): (&Json, &Json)| {
                assert!(
                    value[0].as_str().unwrap().parse::<u64>().unwrap() > 1_893_000_000_000_000_000
                );
                Seen {
                    pod: stream["stream"]["pod"].as_str().unwrap().to_owned(),
                    text: value[1].as_str().unwrap().to_owned(),
                }
            };
            lines.map(seen).collect()
        }
        _ => {
            assert_eq!(path, "/_bulk");
            let lines: Vec<Json> = body
                .split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty())
                .map(|line| serde_json::from_slice(line).unwrap())
                .collect();
            let seen = |pair: &[Json]| {
                assert_eq!(pair[0]["create"]["_index"], "knarr");
                Seen {
                    pod: pair[1]["kubernetes"]["pod"]["name"]
                        .as_str()
                        .unwrap()
                        .to_owned(),
                    text: pair[1]["message"].as_str().unwrap().to_owned(),
                }
            };
            lines.chunks(2).map(seen).collect()
        }
    }
}

fn otlp(body: &[u8]) -> Vec<Seen> {
    let request = ExportLogsServiceRequest::decode(body).unwrap();
    let mut seen = Vec::new();
    for logs in request.resource_logs {
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => text,
            other => panic!("{other:?}"),
        };
        let mut attributes = logs.resource.unwrap().attributes.into_iter();
        let pod = attributes.find(|pair| pair.key == "k8s.pod.name").unwrap();
        let pod = text(pod.value.unwrap().value);
        for record in logs
            .scope_logs
            .into_iter()
            .flat_map(|scope| scope.log_records)
        {
            seen.push(Seen {
                pod: pod.clone(),
                text: text(record.body.unwrap().value),
            });
        }
    }
    seen
}

async fn fluent(mut stream: TcpStream, seen: &Mutex<Vec<Seen>>, failures: &Mutex<usize>) {
    let mut buffer = Vec::new();
    loop {
        let mut rest = &buffer[..];
        let Some(message) = unpack(&mut rest) else {
            if stream.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
            continue;
        };
        buffer = rest.to_vec();
        if fails(failures) {
            // Closed without an acknowledgement.
            return;
        }
        assert_eq!(message[0], "kubernetes");
        let entries = message[1]["binary"].as_array().unwrap();
        let entries: Vec<u8> = entries
            .iter()
            .map(|byte| byte.as_u64().unwrap() as u8)
            .collect();
        let mut rest = &entries[..];
        let mut lines = Vec::new();
        while let Some(entry) = unpack(&mut rest) {
            assert_eq!(entry[0]["seconds"], 1_893_456_000);
            lines.push(Seen {
                pod: entry[1]["kubernetes"]["pod_name"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
                text: entry[1]["log"].as_str().unwrap().to_owned(),
            });
        }
        assert_eq!(message[2]["size"], lines.len());
        seen.lock().extend(lines);
        let chunk = message[2]["chunk"].as_str().unwrap();
        let mut answer = vec![0x81, 0xa3, b'a', b'c', b'k', 0xd9, chunk.len() as u8];
        answer.extend_from_slice(chunk.as_bytes());
        stream.write_all(&answer).await.unwrap();
    }
}

/// A value of MessagePack as JSON, `None` when there is not all of it.
fn unpack(bytes: &mut &[u8]) -> Option<Json> {
    let mut rest = *bytes;
    let value = value(&mut rest)?;
    *bytes = rest;
    Some(value)
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &mut &[u8], length: usize) -> Option<usize> {
    let bytes = take(bytes, length)?;
    Some(
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)),
    )
}

fn value(bytes: &mut &[u8]) -> Option<Json> {
    let mark = take(bytes, 1)?[0];
    let text = |bytes: &mut &[u8], length| {
        let text = take(bytes, length)?;
        Some(json!(std::str::from_utf8(text).unwrap()))
    };
    match mark {
        0..=0x7f => Some(json!(mark)),
        0x80..=0x8f => map(bytes, usize::from(mark & 15)),
        0x90..=0x9f => (0..mark & 15)
            .map(|_| value(bytes))
            .collect::<Option<Vec<_>>>()
            .map(Json::from),
        0xa0..=0xbf => text(bytes, usize::from(mark & 31)),
        0xc4..=0xc6 => {
            let length = number(bytes, 1 << (mark - 0xc4))?;
            Some(json!({ "binary": take(bytes, length)? }))
        }
        0xcf => number(bytes, 8).map(|number| json!(number)),
        0xd7 => {
            assert_eq!(take(bytes, 1)?[0], 0);
            Some(json!({ "seconds": number(bytes, 4)?, "nanos": number(bytes, 4)? }))
        }
        0xd9..=0xdb => {
            let length = number(bytes, 1 << (mark - 0xd9))?;
            text(bytes, length)
        }
        0xde => {
            let length = number(bytes, 2)?;
            map(bytes, length)
        }
        other => panic!("{other:#x} is not expected"),
    }
}

fn map(bytes: &mut &[u8], length: usize) -> Option<Json> {
    let mut map = serde_json::Map::new();
    for _ in 0..length {
        let key = value(bytes)?;
        map.insert(key.as_str()?.to_owned(), value(bytes)?);
    }
    Some(map.into())
}
