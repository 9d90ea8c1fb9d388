//! Fluent's Forward protocol, version 1: batches in PackedForward mode over TCP, each of which the receiver acknowledges.
//!
//! Records have the names that fluentd's filter for Kubernetes' metadata gives them.

mod msgpack;

use std::time::Duration;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use self::msgpack::Writer;
use super::{Batch, Receiver, Refusal};
use crate::record::Owned;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For sending a batch and for its acknowledgement, each.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest acknowledgement, bytes.
const MAX_ACK_BYTES: usize = 1_024;

#[derive(Debug)]
pub struct Fluent {
    address: String,
    tag: String,
    connection: Option<TcpStream>,
}

impl Fluent {
    /// # Errors
    /// An address that is none.
    pub fn new(address: &str, tag: &str) -> Result<Self, String> {
        let port = address
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !matches!(port, Some(Ok(1..))) {
            return Err(format!("fluentForward.address {address} is not HOST:PORT"));
        }
        Ok(Self {
            address: address.to_owned(),
            tag: tag.to_owned(),
            connection: None,
        })
    }

    async fn exchange(&mut self, message: &[u8], chunk: &str) -> Result<(), String> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => within(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await?,
        };
        within(TIMEOUT, stream.write_all(message)).await?;
        within(TIMEOUT, acknowledged(&mut stream, chunk)).await?;
        // Only of a connection on which all is well.
        self.connection = Some(stream);
        Ok(())
    }
}

#[async_trait]
impl Receiver for Fluent {
    async fn send(&mut self, batch: Batch<'_>) -> Result<u64, Refusal> {
        let mut id = [0; 16];
        fastrand::fill(&mut id);
        let chunk = STANDARD.encode(id);
        let message = encode(&self.tag, &chunk, &batch);
        match self.exchange(&message, &chunk).await {
            Ok(()) => Ok(0),
            Err(error) => Err(Refusal::Now(format!("{}: {error}", self.address))),
        }
    }
}

async fn within<T>(
    limit: Duration,
    work: impl Future<Output = std::io::Result<T>>,
) -> Result<T, String> {
    let done = timeout(limit, work).await;
    let done = done.map_err(|_| format!("no answer within {} s", limit.as_secs()))?;
    done.map_err(|error| error.to_string())
}

/// Waits for `{"ack": chunk}`.
async fn acknowledged(stream: &mut TcpStream, chunk: &str) -> std::io::Result<()> {
    let mut wanted = Writer::default();
    wanted.map(1);
    wanted.string("ack");
    wanted.string(chunk);
    let wanted = wanted.finish();
    let mut answer = Vec::new();
    let mut buffer = [0; 256];
    loop {
        // What a receiver may write of it differs in how lengths are told, not in the text.
        let has_chunk = memchr::memmem::find(&answer, chunk.as_bytes()).is_some();
        if answer == wanted || (has_chunk && memchr::memmem::find(&answer, b"ack").is_some()) {
            return Ok(());
        }
        if answer.len() > MAX_ACK_BYTES {
            return Err(std::io::Error::other("the answer is no acknowledgement"));
        }
        match stream.read(&mut buffer).await? {
            0 => {
                return Err(std::io::Error::other(
                    "the connection was closed without an acknowledgement",
                ));
            }
            read => answer.extend_from_slice(&buffer[..read]),
        }
    }
}

/// `[tag, entries, {"chunk": ..., "size": ...}]`.
fn encode(tag: &str, chunk: &str, batch: &Batch<'_>) -> Vec<u8> {
    let mut entries = Writer::default();
    for record in batch.records {
        entries.array(2);
        entries.event_time(record.time);
        event(&mut entries, batch.node, record);
    }
    let mut message = Writer::default();
    message.array(3);
    message.string(tag);
    message.binary(&entries.finish());
    message.map(2);
    message.string("size");
    message.unsigned(batch.records.len() as u64);
    message.string("chunk");
    message.string(chunk);
    message.finish()
}

fn event(to: &mut Writer, node: &str, record: &Owned) {
    let source = &record.source;
    to.map(3);
    to.string("log");
    to.text(&record.text);
    to.string("stream");
    to.string(record.stream.name());
    to.string("kubernetes");
    let names = [
        ("host", node),
        ("namespace_name", source.namespace.as_str()),
        ("pod_name", source.pod.as_str()),
        ("pod_id", source.uid.as_str()),
        ("container_name", source.container.as_str()),
    ];
    let names: Vec<_> = names.iter().filter(|(_, name)| !name.is_empty()).collect();
    let has_labels = !source.labels.is_empty();
    to.map(names.len() + usize::from(has_labels));
    for (key, name) in names {
        to.string(key);
        to.string(name);
    }
    if has_labels {
        to.string("labels");
        to.map(source.labels.len());
        for (key, value) in &source.labels {
            to.string(key);
            to.string(value);
        }
    }
}
