//! Elasticsearch's bulk API, which OpenSearch has, too: a document a line, made and never changed, as data streams want it.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Batch, Receiver, Refusal, http::Client};
use crate::{record::Owned, search::time};

const KIND: &str = "application/x-ndjson";

#[derive(Debug)]
pub struct Elasticsearch {
    client: Client,
    index: String,
}

/// What has become of the documents.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: bool,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    create: Created,
}

#[derive(Deserialize)]
struct Created {
    status: u16,
    #[serde(default)]
    error: Value,
}

impl Elasticsearch {
    pub fn new(client: Client, index: String) -> Self {
        Self { client, index }
    }
}

#[async_trait]
impl Receiver for Elasticsearch {
    /// Those that were not taken for now are sent again, without the others.
    async fn send(&mut self, batch: Batch<'_>) -> Result<u64, Refusal> {
        let mut left: Vec<&Owned> = batch.records.iter().collect();
        let mut refused = 0;
        // A few times here; then all of the batch again, later.
        for _ in 0..3 {
            let body = encode(&self.index, batch.node, &left);
            let answer = self.client.post(KIND, body).await?;
            let answer: Answer = serde_json::from_slice(&answer)
                .map_err(|error| Refusal::Now(format!("no answer of a bulk request: {error}")))?;
            if !answer.errors {
                return Ok(refused);
            }
            if answer.items.len() != left.len() {
                let error = "the answer of a bulk request is not of all documents";
                return Err(Refusal::Now(error.to_owned()));
            }
            let mut again = Vec::new();
            for (record, item) in left.iter().zip(&answer.items) {
                match item.create.status {
                    200..=299 => {}
                    429 | 500..=599 => again.push(*record),
                    _ => {
                        tracing::debug!(error = %item.create.error, "a document was refused");
                        refused += 1;
                    }
                }
            }
            if again.is_empty() {
                return Ok(refused);
            }
            left = again;
        }
        Err(Refusal::Now("it has no room for some documents".to_owned()))
    }
}

fn encode(index: &str, node: &str, records: &[&Owned]) -> Vec<u8> {
    let mut body = Vec::new();
    let action = json!({ "create": { "_index": index } }).to_string();
    for record in records {
        body.extend_from_slice(action.as_bytes());
        body.push(b'\n');
        body.extend_from_slice(document(node, record).to_string().as_bytes());
        body.push(b'\n');
    }
    body
}

/// A line as the fields that dashboards of Kubernetes' logs read.
pub fn document(node: &str, record: &Owned) -> Value {
    let source = &record.source;
    let mut kubernetes =
        json!({ "node": { "name": node }, "container": { "name": source.container } });
    if !source.pod.is_empty() {
        kubernetes["namespace"] = json!(source.namespace);
        kubernetes["pod"] = json!({ "name": source.pod, "uid": source.uid });
        kubernetes["labels"] = json!(source.labels);
    }
    json!({
        "@timestamp": time(record.time),
        "message": String::from_utf8_lossy(&record.text),
        "stream": record.stream.name(),
        "kubernetes": kubernetes,
    })
}
