//! Loki's push API, in JSON. What is few and stays is a label; the rest can be asked for by what is in a line.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::json;

use super::{Batch, Receiver, Refusal, http::Client};

const KIND: &str = "application/json";
/// A label of pods that is one of Loki's, too.
const APP: [&str; 2] = ["app.kubernetes.io/name", "app"];

#[derive(Debug)]
pub struct Loki(pub Client);

#[async_trait]
impl Receiver for Loki {
    async fn send(&mut self, batch: Batch<'_>) -> Result<u64, Refusal> {
        self.0.post(KIND, encode(&batch)).await?;
        Ok(0)
    }
}

fn encode(batch: &Batch<'_>) -> Vec<u8> {
    let mut streams: BTreeMap<BTreeMap<&str, &str>, Vec<[String; 2]>> = BTreeMap::new();
    for record in batch.records {
        let source = &record.source;
        let app = APP.iter().find_map(|key| source.labels.get(*key));
        let labels = [
            ("node", batch.node),
            ("namespace", source.namespace.as_str()),
            ("pod", source.pod.as_str()),
            ("container", source.container.as_str()),
            ("stream", record.stream.name()),
            ("app", app.map_or("", String::as_str)),
        ];
        let labels = labels.into_iter().filter(|(_, value)| !value.is_empty());
        let text = String::from_utf8_lossy(&record.text).into_owned();
        let lines = streams.entry(labels.collect()).or_default();
        lines.push([record.time.to_string(), text]);
    }
    let streams: Vec<_> = streams
        .iter()
        .map(|(labels, lines)| json!({ "stream": labels, "values": lines }))
        .collect();
    json!({ "streams": streams }).to_string().into_bytes()
}
