//! OTLP over HTTP with protobuf: `ExportLogsServiceRequest`, version 1 of the protocol. Attributes have OpenTelemetry's names.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use prost::Message;

use super::{Batch, Receiver, Refusal, http::Client};
use crate::record::{Owned, Source};

const KIND: &str = "application/x-protobuf";

/// A collector.
#[derive(Debug)]
pub struct Otlp(pub Client);

#[async_trait]
impl Receiver for Otlp {
    async fn send(&mut self, batch: Batch<'_>) -> Result<u64, Refusal> {
        let answer = self.0.post(KIND, encode(&batch).encode_to_vec()).await?;
        // An empty answer says that all was taken, and so does one that is something else.
        let answer = ExportLogsServiceResponse::decode(&*answer).unwrap_or_default();
        let rejected = answer
            .partial_success
            .map_or(0, |part| part.rejected_log_records);
        Ok(u64::try_from(rejected).unwrap_or(0))
    }
}

/// Records by their source, each source's in their order.
fn encode(batch: &Batch<'_>) -> ExportLogsServiceRequest {
    let mut resources: Vec<ResourceLogs> = Vec::new();
    let mut places: HashMap<*const Source, usize> = HashMap::new();
    for record in batch.records {
        let place = *places
            .entry(Arc::as_ptr(&record.source))
            .or_insert_with(|| {
                resources.push(resource(&record.source, batch.node));
                resources.len() - 1
            });
        if let Some(scope) = resources
            .get_mut(place)
            .and_then(|r| r.scope_logs.first_mut())
        {
            scope.log_records.push(log_record(record));
        }
    }
    ExportLogsServiceRequest {
        resource_logs: resources,
    }
}

fn resource(source: &Source, node: &str) -> ResourceLogs {
    let mut attributes = vec![text("k8s.node.name", node)];
    for (key, value) in [
        ("k8s.namespace.name", &source.namespace),
        ("k8s.pod.name", &source.pod),
        ("k8s.pod.uid", &source.uid),
        ("k8s.container.name", &source.container),
    ] {
        if !value.is_empty() {
            attributes.push(text(key, value));
        }
    }
    for (kind, values) in [
        ("label", &source.labels),
        ("annotation", &source.annotations),
    ] {
        for (key, value) in values {
            attributes.push(text(&format!("k8s.pod.{kind}.{key}"), value));
        }
    }
    ResourceLogs {
        resource: Some(Resource { attributes }),
        scope_logs: vec![ScopeLogs::default()],
    }
}

fn log_record(record: &Owned) -> LogRecord {
    let body = match std::str::from_utf8(&record.text) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => Value::Bytes(record.text.clone()),
    };
    let time = u64::try_from(record.time).unwrap_or(0);
    LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: time,
        body: Some(AnyValue { value: Some(body) }),
        attributes: vec![text("log.iostream", record.stream.name())],
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::String(value.to_owned())),
        }),
    }
}

// The messages, as far as they are needed.

#[derive(Clone, PartialEq, Message)]
pub struct ExportLogsServiceRequest {
    #[prost(message, repeated, tag = "1")]
    pub resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExportLogsServiceResponse {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<ExportLogsPartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ExportLogsPartialSuccess {
    #[prost(int64, tag = "1")]
    pub rejected_log_records: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub scope_logs: Vec<ScopeLogs>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ScopeLogs {
    #[prost(message, repeated, tag = "2")]
    pub log_records: Vec<LogRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    #[prost(fixed64, tag = "11")]
    pub observed_time_unix_nano: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 7")]
    pub value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Value {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}
