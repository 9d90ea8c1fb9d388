//! What an object looks like to a client that asked for something else than its stored bytes: another version, a Table, metadata only.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use knarr_api::{
    Served,
    kind::{Column, Strategy},
    now::Now,
    table::{AGE, NAME, age, column},
};
use knarr_meta::{object, status::Status};
use knarr_registry::cache::{
    Cache,
    entry::Entry,
    output::{View, bookmark_object, frame},
    ring,
};
use serde_json::{Map, Value, json};

use super::{
    ask::Ask,
    messages::{self, Encoder},
    version,
};
pub use crate::metadata::IncludeObject;
use crate::metadata::{self, partial, partial_of};
use crate::{
    body::Body,
    negotiate::{Accepted, Encoding, MetaVersion, Shape},
    protobuf,
    respond::{self, Answer},
};

/// Answers with one object.
pub async fn object(
    ask: &Ask<'_>,
    code: StatusCode,
    entry: &Arc<Entry>,
    accepted: Accepted,
) -> Answer {
    let entry = &*version::entry(ask, entry).await?;
    if accepted.encoding == Encoding::Protobuf {
        return messages::object(ask, code, entry, accepted.shape);
    }
    let plain = accepted.encoding == Encoding::Json && !accepted.pretty;
    let tree = match accepted.shape {
        Shape::Object if plain && ask.served.is_stored() => {
            return Ok(respond::json(code, line(entry)));
        }
        Shape::Object => version::served_tree(ask.served, entry),
        Shape::Partial(version) if plain && metadata::is_stored(&*ask.kind().strategy) => {
            let mut out = BytesMut::with_capacity(entry.partial_size().saturating_add(1));
            entry.write_partial(&mut out, entry.revision, version.api_version());
            out.extend_from_slice(b"\n");
            return Ok(respond::json(code, Body::from(out.freeze())));
        }
        Shape::Partial(version) => partial_of(&*ask.kind().strategy, &entry.tree(), version),
        Shape::Table(version) => {
            let include = IncludeObject::parse(ask.request.query.get("includeObject"))?;
            let meta = json!({"resourceVersion": entry.revision.to_string()});
            let row = row(ask.served, entry.tree(), version, include, false);
            table(&*ask.kind().strategy, version, meta, vec![row], true)
        }
    };
    Ok(respond::tree(code, &tree, accepted))
}

/// The object's bytes with a newline, as upstream ends every JSON answer.
fn line(entry: &Entry) -> Body {
    let mut out = BytesMut::with_capacity(entry.size().saturating_add(1));
    entry.write_object(&mut out, entry.revision);
    out.extend_from_slice(b"\n");
    Body::from(out.freeze())
}

/// The column definitions of a Table.
pub fn columns(strategy: &dyn Strategy) -> Value {
    definitions(strategy.columns())
}

fn definitions(columns: &[Column]) -> Value {
    let columns = columns.iter().map(|c| {
        json!({"name": c.name, "type": c.kind, "format": c.format, "description": c.description, "priority": c.priority})
    });
    columns.collect()
}

/// A Table of rows; `headers` false leaves the column definitions out, as upstream after the first event of a watch.
pub fn table(
    strategy: &dyn Strategy,
    version: MetaVersion,
    meta: Value,
    rows: Vec<Value>,
    headers: bool,
) -> Value {
    json!({
        "kind": "Table",
        "apiVersion": version.api_version(),
        "metadata": meta,
        "columnDefinitions": if headers { columns(strategy) } else { Value::Null },
        "rows": rows,
    })
}

/// Columns of every Scale but their last.
const SCALE_COLUMNS: [Column; 3] = [
    NAME,
    column("Desired", "integer", "Number of desired replicas."),
    column("Available", "integer", "Number of actual replicas."),
];
/// The age of a Scale of a custom resource, which upstream prints in another place.
const CUSTOM_AGE: Column = column("Age", "date", "Time since the object was created.");

/// A Table of a Scale.
pub fn scale_table(
    scale: &Value,
    is_custom: bool,
    version: MetaVersion,
    include: IncludeObject,
) -> Value {
    let mut columns = SCALE_COLUMNS.to_vec();
    columns.push(if is_custom { CUSTOM_AGE } else { AGE });
    let replicas = |part: &str| object::i64_at(scale, &[part, "replicas"]).unwrap_or_default();
    let now = Now::new(jiff::Timestamp::now().as_second());
    let cells = json!([
        object::name(scale),
        replicas("spec"),
        replicas("status"),
        age(scale, &now),
    ]);
    let mut row = json!({"cells": cells});
    match include {
        IncludeObject::None => row["object"] = Value::Null,
        IncludeObject::Metadata => row["object"] = partial(scale, version),
        IncludeObject::Object => row["object"] = scale.clone(),
    }
    json!({
        "kind": "Table",
        "apiVersion": version.api_version(),
        "metadata": {"resourceVersion": object::resource_version(scale)},
        "columnDefinitions": definitions(&columns),
        "rows": [row],
    })
}

/// What a list says behind the name of the object that is its default.
const DEFAULT: &str = " (default)";

/// The cells of an object's row.
fn cells(strategy: &dyn Strategy, stored: &Value, is_default: bool) -> Value {
    let now = Now::new(jiff::Timestamp::now().as_second());
    let mut cells = strategy.cells(stored, &now);
    if let Some(Value::String(name)) = cells.first_mut()
        && is_default
    {
        name.push_str(DEFAULT);
    }
    Value::Array(cells)
}

/// A row of a stored object: cells from the stored version, the object in the served one.
pub fn row(
    served: &Served,
    stored: Value,
    version: MetaVersion,
    include: IncludeObject,
    is_default: bool,
) -> Value {
    let mut stored = stored;
    served.kind.from_stored(&mut stored);
    let cells = cells(&*served.kind.strategy, &stored, is_default);
    let conditions = served.kind.strategy.row_conditions(&stored);
    let object = match include {
        IncludeObject::None => Value::Null,
        IncludeObject::Metadata => partial_of(&*served.kind.strategy, &stored, version),
        IncludeObject::Object => version::in_version(served, stored),
    };
    let mut row = Map::new();
    row.insert("cells".into(), cells);
    if let Some(conditions) = conditions {
        row.insert("conditions".into(), conditions);
    }
    row.insert("object".into(), object);
    Value::Object(row)
}

/// The view of a watch whose events are not the stored bytes.
pub struct ShapeView {
    served: Served,
    shape: Shape,
    include: IncludeObject,
    headers_sent: AtomicBool,
    /// Where events are in protobuf.
    messages: Option<Encoder>,
}

impl ShapeView {
    pub fn new(
        cache: &Arc<Cache>,
        served: Served,
        accepted: Accepted,
        include: IncludeObject,
    ) -> ShapeView {
        let protobuf = accepted.encoding == Encoding::Protobuf;
        ShapeView {
            messages: protobuf.then(|| Encoder::new(cache.clone(), served.clone(), accepted.shape)),
            served,
            shape: accepted.shape,
            include,
            headers_sent: AtomicBool::new(false),
        }
    }

    /// `None` where the stored bytes serve.
    pub fn if_needed(self: Arc<Self>) -> Option<Arc<dyn View>> {
        match self.shape == Shape::Object && self.served.is_stored() && self.messages.is_none() {
            true => None,
            false => Some(self),
        }
    }

    pub fn served(&self) -> &Served {
        &self.served
    }

    fn headers(&self) -> bool {
        !self.headers_sent.swap(true, Ordering::Relaxed)
    }

    /// A stored object at the revision that it says, as this watch shows it.
    pub fn tree(&self, stored: Value) -> Bytes {
        let value = match self.shape {
            Shape::Object => version::in_version(&self.served, stored),
            Shape::Partial(version) => partial_of(&*self.served.kind.strategy, &stored, version),
            Shape::Table(version) => {
                let meta = json!({"resourceVersion": object::resource_version(&stored)});
                let row = row(&self.served, stored, version, self.include, false);
                let strategy = &*self.served.kind.strategy;
                table(strategy, version, meta, vec![row], self.headers())
            }
        };
        self.encode(&value)
    }

    /// A tree as it stands in an event.
    pub fn encode(&self, value: &Value) -> Bytes {
        match self.messages {
            Some(_) => messages::tree(value),
            None => Bytes::from(serde_json::to_vec(value).unwrap_or_default()),
        }
    }
}

impl View for ShapeView {
    fn frame(&self, kind: ring::Kind, state: &Entry, _: Option<&Entry>, revision: u64) -> Bytes {
        match self
            .messages
            .as_ref()
            .map(|messages| messages.body(state, revision))
        {
            None => self.event(kind.as_str(), &self.object(state, revision)),
            Some(Ok(body)) => self.event(kind.as_str(), &body),
            Some(Err(status)) => self.error(&status),
        }
    }

    fn event(&self, kind: &str, object: &[u8]) -> Bytes {
        match self.messages {
            Some(_) => protobuf::watch_event(kind, object),
            None => frame(kind, object),
        }
    }

    fn error(&self, status: &Status) -> Bytes {
        self.event("ERROR", &self.encode(&status.to_value()))
    }

    fn object(&self, entry: &Entry, revision: u64) -> Bytes {
        if let Shape::Partial(version) = self.shape
            && metadata::is_stored(&*self.served.kind.strategy)
        {
            let mut out = BytesMut::with_capacity(entry.partial_size());
            entry.write_partial(&mut out, revision, version.api_version());
            return out.freeze();
        }
        let mut stored = entry.tree();
        stored["metadata"]["resourceVersion"] = json!(revision.to_string());
        self.tree(stored)
    }

    fn bookmark(&self, revision: u64, annotated: bool) -> Bytes {
        let json = self.json_bookmark(revision, annotated);
        match self.messages {
            Some(_) => messages::tree(&serde_json::from_slice(&json).unwrap_or_default()),
            None => json,
        }
    }
}

impl ShapeView {
    /// The object of a bookmark before it is encoded otherwise.
    pub fn json_bookmark(&self, revision: u64, annotated: bool) -> Bytes {
        match self.shape {
            Shape::Object => bookmark_object(
                &self.served.kind.kind,
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
                    &*self.served.kind.strategy,
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
