//! One state of one object: plaintext bytes as stored, the place where a resourceVersion is written in, and what selectors look at.
//!
//! Stored JSON has a fixed head, `{"kind":K,"apiVersion":V,"metadata":{`, so that the places are found without parsing and a
//! list item (which carries no type, as upstream's) is a slice of the same bytes.

use std::{ops::Range, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use knarr_api::Kind;
use knarr_encryption::Seal;
use knarr_states::Memo;
use serde_json::Value;

pub use super::message::put_decimal;
use super::{
    cells::Cells,
    kept::Place,
    layout::{Layout, METADATA},
    message::{Message, decimal_digits},
};

/// The most bytes `"resourceVersion":"…",` can take: fixed text and 20 digits.
pub(super) const VERSION_FIELD_BYTES: usize = 42;

/// The most bytes of a PartialObjectMetadata without its metadata: fixed text and `meta.k8s.io/v1beta1`.
const PARTIAL_HEAD_BYTES: usize = 78;

/// Keys and values in the order of the keys.
pub type Labels = Box<[(Box<str>, Box<str>)]>;

/// An object's state. Shared by the cache, the ring and every response that serves it.
#[derive(Debug)]
pub struct Entry {
    /// `namespace/name`, or `name` where cluster-scoped.
    pub key: Arc<str>,
    /// Modification revision: the object's resourceVersion. 0: it was never stored (a dry run), and has none.
    pub revision: u64,
    /// JSON of the stored version without resourceVersion.
    pub json: Bytes,
    /// The store has it in another form: in a version that was stored before, or without today's defaults. A write that changes nothing
    /// stores it anew.
    pub stale: bool,
    /// What the store has it encrypted with: a write that changes nothing also stores anew what would be encrypted otherwise now.
    pub seal: Seal,
    /// Where its metadata is.
    layout: Layout,
    pub labels: Labels,
    /// Values of the kind's selectable fields, in its order.
    pub fields: Box<[Box<str>]>,
    /// The object in protobuf, once somebody has asked for it.
    pub message: Place<Message>,
    /// The cells of its row in a Table, once somebody has asked for it.
    pub cells: Place<Cells>,
    /// What informers of this process have decoded it into.
    pub(super) memo: Memo,
}

/// Why stored bytes are not an object.
#[derive(Debug, thiserror::Error)]
#[error("stored value of {key} is not an object of its kind: {why}")]
pub struct Malformed {
    pub key: String,
    pub why: String,
}

/// Encodes an object for the store: kind, apiVersion and metadata first, resourceVersion left out.
pub fn encode(object: &Value) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    let empty = serde_json::Map::new();
    let map = object.as_object().unwrap_or(&empty);
    let field = |out: &mut Vec<u8>, name: &str, value: &Value| {
        // Writing JSON trees into memory cannot fail.
        let _ = serde_json::to_writer(&mut *out, name);
        out.push(b':');
        let _ = serde_json::to_writer(&mut *out, value);
    };
    out.push(b'{');
    for name in ["kind", "apiVersion"] {
        field(&mut out, name, map.get(name).unwrap_or(&Value::Null));
        out.push(b',');
    }
    out.extend_from_slice(METADATA);
    let mut first = true;
    for (name, value) in map
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&empty)
    {
        if name == "resourceVersion" {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        field(&mut out, name, value);
    }
    out.push(b'}');
    for (name, value) in map {
        if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
            out.push(b',');
            field(&mut out, name, value);
        }
    }
    out.push(b'}');
    // Kept for long, in several places: not with the room that the vector grew by.
    Bytes::from(out.into_boxed_slice())
}

impl Entry {
    /// From a stored value. Values in another layout than [`encode`]'s (written by other software) are encoded anew.
    pub fn new(kind: &Kind, key: Arc<str>, revision: u64, json: Bytes) -> Result<Entry, Malformed> {
        let name = key.clone();
        let malformed = |why: String| Malformed {
            key: name.to_string(),
            why,
        };
        let (json, mut stale) = match kind.strategy.reads() {
            true => read(kind, json).map_err(malformed)?,
            false => (json, false),
        };
        let (json, layout) = match Layout::of(&json, head(kind)) {
            Some(layout) => (json, layout),
            None => {
                let tree: Value =
                    serde_json::from_slice(&json).map_err(|e| malformed(e.to_string()))?;
                let json = encode(&tree);
                stale = true;
                let layout = Layout::of(&json, json.len().saturating_sub(METADATA.len()))
                    .ok_or_else(|| malformed("no metadata".into()))?;
                (json, layout)
            }
        };
        let mut entry = Entry {
            key,
            revision,
            stale,
            seal: Seal::PLAIN,
            layout,
            labels: Box::default(),
            fields: Box::default(),
            message: Place::default(),
            cells: Place::default(),
            memo: Memo::default(),
            json,
        };
        entry.labels = labels(entry.metadata()).map_err(|e| malformed(e.to_string()))?;
        if !kind.strategy.selectable_fields().is_empty() {
            let tree: Value =
                serde_json::from_slice(&entry.json).map_err(|e| malformed(e.to_string()))?;
            entry.fields = fields(kind, &tree);
        } else {
            serde_json::from_slice::<serde::de::IgnoredAny>(&entry.json)
                .map_err(|e| malformed(e.to_string()))?;
        }
        Ok(entry)
    }

    /// A state that is about to be stored: `json` was just encoded from `tree`, of a kind that is stored as it is. `None` where it says
    /// another type than the kind's: such a one has to be read.
    pub fn of_tree(kind: &Kind, key: String, json: Bytes, tree: &Value) -> Option<Entry> {
        let layout = Layout::of(&json, head(kind))?;
        let mut entry = Entry::laid_out(key, 0, json, layout);
        let strings = tree
            .get("metadata")
            .and_then(|metadata| metadata.get("labels"))
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())));
        let labels: std::collections::BTreeMap<Box<str>, Box<str>> = strings.collect();
        entry.labels = labels.into_iter().collect();
        entry.fields = fields(kind, tree);
        Some(entry)
    }

    /// A state just encoded by [`encode`], for an answer: without what selectors look at.
    pub fn bare(kind: &Kind, key: String, revision: u64, json: Bytes) -> Entry {
        let layout = Layout::of(&json, head(kind)).unwrap_or_default();
        Entry::laid_out(key, revision, json, layout)
    }

    fn laid_out(key: String, revision: u64, json: Bytes, layout: Layout) -> Entry {
        Entry {
            key: key.into(),
            revision,
            json,
            stale: false,
            seal: Seal::PLAIN,
            layout,
            labels: Box::default(),
            fields: Box::default(),
            message: Place::default(),
            cells: Place::default(),
            memo: Memo::default(),
        }
    }

    /// Namespace and name.
    pub fn namespaced_name(&self) -> (&str, &str) {
        match self.key.split_once('/') {
            Some((namespace, name)) => (namespace, name),
            None => ("", &self.key),
        }
    }

    pub fn label(&self, key: &str) -> Option<&str> {
        let at = self.labels.binary_search_by(|(k, _)| (**k).cmp(key)).ok()?;
        Some(&self.labels[at].1)
    }

    /// The metadata object's JSON, without resourceVersion.
    pub fn metadata(&self) -> &[u8] {
        let from = self.layout.members().wrapping_sub(1);
        self.json.get(from..=self.layout.end()).unwrap_or(b"{}")
    }

    /// What comes before the members of the metadata object, they, and what comes after.
    pub(super) fn around_metadata(&self) -> (&[u8], &[u8], &[u8]) {
        let (at, end) = (self.layout.members(), self.layout.end());
        (&self.json[..at], &self.json[at..end], &self.json[end..])
    }

    /// `managedFields` among those members, with a comma that belongs to them; empty if nowhere.
    pub(super) fn managed_fields(&self) -> Range<usize> {
        let (at, managed) = (self.layout.members(), self.layout.managed());
        managed.start - at..managed.end - at
    }

    /// Parses the state; resourceVersion is set where there is one.
    pub fn tree(&self) -> Value {
        let mut tree: Value = serde_json::from_slice(&self.json).unwrap_or_default();
        if self.revision > 0
            && let Some(meta) = tree.get_mut("metadata").and_then(Value::as_object_mut)
        {
            meta.insert(
                "resourceVersion".into(),
                Value::String(self.revision.to_string()),
            );
        }
        tree
    }

    /// The whole object at its own revision.
    pub fn object(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.json.len() + VERSION_FIELD_BYTES);
        self.write_object(&mut out, self.revision);
        out.freeze()
    }

    /// Upper bound of what the write methods append.
    pub fn size(&self) -> usize {
        self.json.len() + VERSION_FIELD_BYTES
    }

    /// Appends the object with the resourceVersion `revision`.
    pub fn write_object(&self, out: &mut BytesMut, revision: u64) {
        out.put_slice(&self.json[..self.layout.members()]);
        self.write_version(out, revision);
        out.put_slice(&self.json[self.layout.members()..]);
    }

    /// Appends the object as a list item. Those of built-in kinds have no kind and apiVersion, as upstream's, and custom resources have:
    /// clients without a schema go by them.
    pub fn write_item(&self, out: &mut BytesMut, typed: bool) {
        if typed {
            return self.write_object(out, self.revision);
        }
        out.put_u8(b'{');
        out.put_slice(METADATA);
        self.write_version(out, self.revision);
        out.put_slice(&self.json[self.layout.members()..]);
    }

    /// Exactly how many bytes [`Entry::write_item`] appends.
    pub fn item_size(&self, typed: bool) -> usize {
        let head = match typed {
            true => self.layout.members(),
            false => 1 + METADATA.len(),
        };
        head + self.version_size() + self.json.len() - self.layout.members()
    }

    /// Appends the metadata object with the resourceVersion `revision`.
    pub fn write_metadata(&self, out: &mut BytesMut, revision: u64) {
        out.put_u8(b'{');
        self.write_version(out, revision);
        out.put_slice(&self.json[self.layout.members()..=self.layout.end()]);
    }

    /// Appends the object's PartialObjectMetadata of the version `api_version`.
    pub fn write_partial(&self, out: &mut BytesMut, revision: u64, api_version: &str) {
        out.put_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"");
        out.put_slice(api_version.as_bytes());
        out.put_slice(b"\",\"metadata\":");
        self.write_metadata(out, revision);
        out.put_u8(b'}');
    }

    /// Upper bound of what [`Entry::write_partial`] appends.
    pub fn partial_size(&self) -> usize {
        PARTIAL_HEAD_BYTES + VERSION_FIELD_BYTES + self.metadata().len()
    }

    fn write_version(&self, out: &mut BytesMut, revision: u64) {
        if revision == 0 {
            return;
        }
        out.put_slice(b"\"resourceVersion\":\"");
        put_decimal(out, revision);
        out.put_u8(b'"');
        if self.layout.end() != self.layout.members() {
            out.put_u8(b',');
        }
    }

    /// Exactly how many bytes [`Entry::write_version`] appends for the entry's own revision.
    fn version_size(&self) -> usize {
        if self.revision == 0 {
            return 0;
        }
        let comma = usize::from(self.metadata() != b"{}");
        r#""resourceVersion":"""#.len() + decimal_digits(self.revision) + comma
    }
}

/// A stored object as its kind is now: its schema, and the version that is stored, may have changed since it was written. With it,
/// whether anything has.
fn read(kind: &Kind, json: Bytes) -> Result<(Bytes, bool), String> {
    let mut tree: Value = serde_json::from_slice(&json).map_err(|e| e.to_string())?;
    kind.strategy.read(&mut tree)?;
    // What a webhook converts says in which version it was written.
    let converted = kind.strategy.conversion().is_some();
    if let Some(map) = tree.as_object_mut()
        && !converted
    {
        map.insert("kind".into(), Value::from(&*kind.kind));
        map.insert("apiVersion".into(), Value::from(kind.api_version()));
    }
    let read = encode(&tree);
    // Bytes that stay the same stay shared with the store.
    Ok(match read == json {
        true => (json, false),
        false => (read, true),
    })
}

/// Most bytes before the metadata of an object of this kind.
fn head(kind: &Kind) -> usize {
    let stored = kind.stored.as_ref().map_or(0, |version| version.len());
    r#"{"kind":"","apiVersion":"/","#.len()
        + kind.kind.len()
        + kind.group.len()
        + kind.version.len().max(stored)
}

/// Values of the kind's selectable fields.
fn fields(kind: &Kind, tree: &Value) -> Box<[Box<str>]> {
    let values = kind.strategy.field_values(tree).into_iter();
    values.map(String::into_boxed_str).collect()
}

fn labels(metadata: &[u8]) -> Result<Labels, serde_json::Error> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        #[serde(default)]
        labels: Option<std::collections::BTreeMap<Box<str>, Box<str>>>,
    }
    let metadata: Metadata = serde_json::from_slice(metadata)?;
    Ok(metadata.labels.unwrap_or_default().into_iter().collect())
}

#[cfg(test)]
mod tests;
