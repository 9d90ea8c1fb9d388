//! What an object looks like to a client that asked for something else than its stored bytes: another version, a Table, metadata only.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use http::StatusCode;
use knarr_api::kind::Strategy;
use serde_json::{Map, Value, json};

use super::ask::Ask;
use crate::{
    body::Body,
    cache::{
        entry::Entry,
        watcher::{View, bookmark_object},
    },
    negotiate::{Accepted, Encoding, MetaVersion, Shape},
    respond::{self, Answer},
    route::Served,
};

/// What a Table's rows carry of their objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

impl IncludeObject {
    pub fn parse(text: &str) -> Result<IncludeObject, knarr_meta::status::Status> {
        match text {
            "" | "Metadata" => Ok(IncludeObject::Metadata),
            "None" => Ok(IncludeObject::None),
            "Object" => Ok(IncludeObject::Object),
            other => Err(knarr_meta::status::Status::bad_request(format!(
                "unrecognized includeObject value: {other}"
            ))),
        }
    }
}

/// An object in the version the client uses.
pub fn served_tree(served: &Served, entry: &Entry) -> Value {
    match served.alias {
        Some(alias) => (alias.decode)(entry.tree()),
        None => entry.tree(),
    }
}

/// Answers with one object.
pub fn object(ask: &Ask<'_>, code: StatusCode, entry: &Entry, accepted: Accepted) -> Answer {
    if accepted.shape == Shape::Object
        && accepted.encoding == Encoding::Json
        && !accepted.pretty
        && ask.served.alias.is_none()
    {
        return Ok(respond::json(code, line(entry)));
    }
    let tree = match accepted.shape {
        Shape::Object => served_tree(ask.served, entry),
        Shape::Partial(version) => partial(&served_tree(ask.served, entry), version),
        Shape::Table(version) => {
            let include = IncludeObject::parse(ask.query.get("includeObject"))?;
            let tree = served_tree(ask.served, entry);
            let meta = json!({"resourceVersion": entry.revision.to_string()});
            let row = row(ask.kind().strategy, &tree, entry.tree(), version, include);
            table(ask.kind().strategy, version, meta, vec![row], true)
        }
    };
    Ok(respond::tree(code, &tree, accepted))
}

/// The object's bytes with a newline, as upstream ends every JSON answer.
fn line(entry: &Entry) -> Body {
    let mut out = bytes::BytesMut::with_capacity(entry.size() + 1);
    entry.write_object(&mut out, entry.revision);
    out.extend_from_slice(b"\n");
    Body::from(out.freeze())
}

/// PartialObjectMetadata of an object.
pub fn partial(tree: &Value, version: MetaVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": version.api_version(),
        "metadata": tree.get("metadata").cloned().unwrap_or_default(),
    })
}

/// A Table of rows; `headers` false leaves the column definitions out, as upstream after the first event of a watch.
pub fn table(
    strategy: &dyn Strategy,
    version: MetaVersion,
    meta: Value,
    rows: Vec<Value>,
    headers: bool,
) -> Value {
    let columns: Vec<Value> = match headers {
        false => Vec::new(),
        true => strategy
            .columns()
            .iter()
            .map(|c| {
                json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority})
            })
            .collect(),
    };
    json!({
        "kind": "Table",
        "apiVersion": version.api_version(),
        "metadata": meta,
        "columnDefinitions": if headers { Value::Array(columns) } else { Value::Null },
        "rows": rows,
    })
}

/// A row: cells from the stored version, the object in the served one.
pub fn row(
    strategy: &dyn Strategy,
    tree: &Value,
    stored: Value,
    version: MetaVersion,
    include: IncludeObject,
) -> Value {
    let now = jiff::Timestamp::now().as_second();
    let mut row = Map::new();
    row.insert("cells".into(), Value::Array(strategy.cells(&stored, now)));
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            row.insert("object".into(), partial(tree, version));
        }
        IncludeObject::Object => {
            row.insert("object".into(), tree.clone());
        }
    }
    Value::Object(row)
}

/// The view of a watch whose events are not the stored bytes.
pub struct ShapeView {
    served: Served,
    shape: Shape,
    include: IncludeObject,
    headers_sent: AtomicBool,
}

impl ShapeView {
    /// `None` where the stored bytes serve.
    pub fn for_watch(
        served: Served,
        shape: Shape,
        include: IncludeObject,
    ) -> Option<Arc<dyn View>> {
        if shape == Shape::Object && served.alias.is_none() {
            return None;
        }
        Some(Arc::new(ShapeView {
            served,
            shape,
            include,
            headers_sent: AtomicBool::new(false),
        }))
    }

    fn headers(&self) -> bool {
        !self.headers_sent.swap(true, Ordering::Relaxed)
    }
}

impl View for ShapeView {
    fn object(&self, entry: &Entry, revision: u64) -> Bytes {
        let strategy = self.served.kind.strategy;
        let mut stored = entry.tree();
        stored["metadata"]["resourceVersion"] = json!(revision.to_string());
        let tree = match self.served.alias {
            Some(alias) => (alias.decode)(stored.clone()),
            None => stored.clone(),
        };
        let value = match self.shape {
            Shape::Object => tree,
            Shape::Partial(version) => partial(&tree, version),
            Shape::Table(version) => {
                let row = row(strategy, &tree, stored, version, self.include);
                let meta = json!({"resourceVersion": revision.to_string()});
                table(strategy, version, meta, vec![row], self.headers())
            }
        };
        Bytes::from(serde_json::to_vec(&value).unwrap_or_default())
    }

    fn bookmark(&self, revision: u64, annotated: bool) -> Bytes {
        match self.shape {
            Shape::Object => bookmark_object(
                self.served.kind.kind,
                &self.served.api_version(),
                revision,
                annotated,
            ),
            Shape::Partial(version) => bookmark_object(
                "PartialObjectMetadata",
                version.api_version(),
                revision,
                annotated,
            ),
            Shape::Table(version) => {
                let object = bookmark_object(
                    "PartialObjectMetadata",
                    version.api_version(),
                    revision,
                    annotated,
                );
                let object: Value = serde_json::from_slice(&object).unwrap_or_default();
                let cells = vec![Value::Null; self.served.kind.strategy.columns().len()];
                let row = json!({"cells": cells, "object": object});
                let meta = json!({"resourceVersion": revision.to_string()});
                let table = table(
                    self.served.kind.strategy,
                    version,
                    meta,
                    vec![row],
                    self.headers(),
                );
                Bytes::from(serde_json::to_vec(&table).unwrap_or_default())
            }
        }
    }
}
