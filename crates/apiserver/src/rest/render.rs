//! A page of objects in the shape and encoding that was asked for, made piece by piece as the connection takes it.
//!
//! A list may hold everything there is: what it costs besides the cached bytes is one piece.

use std::{collections::VecDeque, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use http::{Response, StatusCode};
use knarr_api::Served;
use knarr_registry::cache::{
    cells::Cells,
    entry::{Entry, put_decimal},
    kept::Kept,
    resource::Slice,
};
use knarr_states::{Offer, Page, State};
use serde_json::{Value, json};

use super::{
    ask::Ask,
    continuation::{continue_token, list_meta},
    messages,
    rows::{self, RowWriter},
    shape::{self, IncludeObject},
    version,
};
use crate::{
    body::{Body, CHUNK_BYTES, Chunks, ListBody},
    metadata,
    negotiate::{Accepted, Encoding, MetaVersion, Shape},
    respond::{self, Answer},
    yaml,
};

/// Answers with a page.
pub async fn render(ask: &Ask<'_>, mut slice: Slice, accepted: Accepted) -> Answer {
    if ask.is_shared(accepted) {
        return Ok(shared(ask, slice));
    }
    slice.entries = version::entries(ask, slice.entries).await?;
    if accepted.encoding == Encoding::Protobuf {
        return messages::page(ask, slice, accepted.shape).await;
    }
    let plain = accepted.encoding == Encoding::Json && !accepted.pretty;
    if accepted.shape == Shape::Object && plain && ask.served.is_stored() {
        let kind = ask.kind();
        let list = ListBody::new(
            head(
                &kind.list_kind(),
                &kind.api_version(),
                &slice,
                !kind.is_built_in(),
            ),
            slice.entries,
            !kind.is_built_in(),
        );
        return Ok(respond::json(StatusCode::OK, Body::List(Box::new(list))));
    }
    let items = match accepted.shape {
        Shape::Object => Items::Objects(ask.served.clone()),
        Shape::Partial(version) => Items::Partial(ask.served.clone(), version),
        Shape::Table(version) => Items::Rows(
            ask.served.clone(),
            version,
            IncludeObject::parse(ask.request.query.get("includeObject"))?,
        ),
    };
    let list = ShapedList::new(
        items,
        Format::of(accepted),
        slice,
        &ask.core.registry.cache.cells,
    );
    Ok(respond::with_type(
        StatusCode::OK,
        accepted.encoding.content_type(),
        Body::list(list),
    ))
}

/// A page for an informer of this process.
fn shared(ask: &Ask<'_>, slice: Slice) -> Response<Body> {
    let continue_token = continue_token(&slice);
    let states = slice.entries.into_iter();
    let page = Page {
        states: states.map(|entry| entry as Arc<dyn State>).collect(),
        revision: slice.revision,
        continue_token,
        recent: ask.core.registry.cache.recent.clone(),
    };
    let mut response = respond::json(StatusCode::OK, Body::empty());
    response.extensions_mut().insert(Offer::new(page));
    response
}

/// A list of stored bytes up to its first item. One of custom resources says that it does not go on, as upstream's.
fn head(kind: &str, api_version: &str, slice: &Slice, custom: bool) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    out.put_slice(b"{\"kind\":\"");
    out.put_slice(kind.as_bytes());
    out.put_slice(b"\",\"apiVersion\":\"");
    out.put_slice(api_version.as_bytes());
    out.put_slice(b"\",\"metadata\":{");
    // What is not stored has no revision, and comes as a whole.
    if slice.revision > 0 {
        out.put_slice(b"\"resourceVersion\":\"");
        put_decimal(&mut out, slice.revision);
        out.put_u8(b'"');
    }
    let token = continue_token(slice);
    if let Some(token) = token.or_else(|| custom.then(String::new)) {
        out.put_slice(b",\"continue\":\"");
        out.put_slice(token.as_bytes());
        out.put_u8(b'"');
    }
    if let Some(remaining) = slice.remaining {
        out.put_slice(b",\"remainingItemCount\":");
        put_decimal(&mut out, remaining);
    }
    out.put_slice(b"},\"items\":[");
    out.freeze()
}

/// What the elements of a list are made of.
enum Items {
    /// Whole objects in the version served.
    Objects(Served),
    Partial(Served, MetaVersion),
    Rows(Served, MetaVersion, IncludeObject),
}

impl Items {
    fn kind(&self) -> (String, String) {
        match self {
            Items::Objects(served) => (served.kind.list_kind().into_owned(), served.api_version()),
            Items::Partial(_, version) => (
                "PartialObjectMetadataList".to_owned(),
                version.api_version().to_owned(),
            ),
            Items::Rows(_, version, _) => ("Table".to_owned(), version.api_version().to_owned()),
        }
    }

    /// The fields before the list itself, in upstream's order, and the list's name.
    fn fields(&self, mut meta: Value) -> (Vec<(&'static str, Value)>, &'static str) {
        let (kind, api_version) = self.kind();
        if let (Items::Objects(served), Some(meta)) = (self, meta.as_object_mut())
            && !served.kind.is_built_in()
        {
            meta.entry("continue").or_insert_with(|| json!(""));
        }
        let mut fields = vec![
            ("kind", json!(kind)),
            ("apiVersion", json!(api_version)),
            ("metadata", meta),
        ];
        match self {
            Items::Rows(served, ..) => {
                let columns = shape::columns(&*served.kind.strategy);
                fields.push(("columnDefinitions", columns));
                (fields, "rows")
            }
            _ => (fields, "items"),
        }
    }

    fn element(&self, entry: &Entry, is_default: bool) -> Value {
        match self {
            Items::Objects(served) if served.kind.is_built_in() => {
                untyped(version::served_tree(served, entry))
            }
            Items::Objects(served) => version::served_tree(served, entry),
            Items::Partial(served, version) => {
                metadata::partial_of(&*served.kind.strategy, &entry.tree(), *version)
            }
            Items::Rows(served, version, include) => {
                shape::row(served, entry.tree(), *version, *include, is_default)
            }
        }
    }

    /// Puts the entries of a Table into the order of its rows. Returns the one that is called the default.
    fn arrange(&self, entries: &mut Vec<Arc<Entry>>) -> Option<Arc<Entry>> {
        let Items::Rows(served, ..) = self else {
            return None;
        };
        let listing = served.kind.strategy.listing()?;
        let trees: Vec<Value> = entries.iter().map(|e| rows::tree(served, e)).collect();
        let listing = listing(&trees);
        let at = |index: &usize| entries.get(*index).cloned();
        let default = listing.default.as_ref().and_then(at);
        let rows = listing.order.iter().filter_map(at).collect();
        *entries = rows;
        default
    }
}

/// Items of lists of built-in kinds carry no type, as upstream's.
fn untyped(mut tree: Value) -> Value {
    if let Some(map) = tree.as_object_mut() {
        map.remove("kind");
        map.remove("apiVersion");
    }
    tree
}

/// How values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Pretty,
    Yaml,
}

impl Format {
    fn of(accepted: Accepted) -> Format {
        match accepted.encoding {
            Encoding::Yaml => Format::Yaml,
            _ if accepted.pretty => Format::Pretty,
            _ => Format::Json,
        }
    }

    /// Everything up to the first element.
    fn head(self, fields: &[(&str, Value)], list: &str, empty: bool) -> String {
        let mut out = match self {
            Format::Json => "{".to_owned(),
            Format::Pretty => "{\n".to_owned(),
            Format::Yaml => String::new(),
        };
        for (name, value) in fields {
            match self {
                Format::Json => out.push_str(&format!("\"{name}\":{value},")),
                Format::Pretty => {
                    out.push_str(&format!("  \"{name}\": {},\n", indented(value, "\n  ")));
                }
                Format::Yaml => out.push_str(&yaml::write(&json!({*name: value}))),
            }
        }
        match self {
            Format::Json => out.push_str(&format!("\"{list}\":[")),
            Format::Pretty => out.push_str(&format!("  \"{list}\": [")),
            Format::Yaml if empty => out.push_str(&format!("{list}: []\n")),
            Format::Yaml => out.push_str(&format!("{list}:\n")),
        }
        out
    }

    /// Appends one element.
    fn element(self, out: &mut BytesMut, element: &Value, first: bool) {
        match self {
            Format::Json => {
                if !first {
                    out.put_u8(b',');
                }
                let json = serde_json::to_vec(element).unwrap_or_default();
                out.put_slice(&json);
            }
            Format::Pretty => {
                out.put_slice(if first { b"\n    " } else { b",\n    " });
                out.put_slice(indented(element, "\n    ").as_bytes());
            }
            Format::Yaml => out.put_slice(yaml::write(&json!([element])).as_bytes()),
        }
    }

    fn tail(self, empty: bool) -> &'static [u8] {
        match (self, empty) {
            (Format::Json, _) => b"]}\n",
            (Format::Pretty, true) => b"]\n}\n",
            (Format::Pretty, false) => b"\n  ]\n}\n",
            (Format::Yaml, _) => b"",
        }
    }
}

/// Indented JSON whose lines begin with `newline`. Strings have no line breaks of their own.
fn indented(value: &Value, newline: &str) -> String {
    serde_json::to_string_pretty(value)
        .unwrap_or_default()
        .replace('\n', newline)
}

/// A list whose elements are made one by one.
struct ShapedList {
    items: Items,
    /// Where rows need no tree of their objects.
    rows: Option<RowWriter>,
    format: Format,
    head: String,
    entries: VecDeque<Arc<Entry>>,
    default: Option<Arc<Entry>>,
    empty: bool,
    first: bool,
    over: bool,
    estimate: u64,
}

impl ShapedList {
    fn new(items: Items, format: Format, mut slice: Slice, kept: &Arc<Kept<Cells>>) -> ShapedList {
        let default = items.arrange(&mut slice.entries);
        let empty = slice.entries.is_empty();
        let (fields, list) = items.fields(list_meta(&slice));
        let bytes: usize = slice.entries.iter().map(|e| e.size()).sum();
        let rows = match (&items, format) {
            (Items::Rows(served, version, IncludeObject::Metadata), Format::Json)
                // What a row says of a list is not kept with the object.
                if metadata::is_stored(&*served.kind.strategy)
                    && served.kind.strategy.listing().is_none() =>
            {
                Some(RowWriter::new(kept.clone(), served.clone(), *version))
            }
            _ => None,
        };
        ShapedList {
            rows,
            head: format.head(&fields, list, empty),
            items,
            format,
            entries: slice.entries.into(),
            default,
            empty,
            first: true,
            over: false,
            estimate: bytes as u64,
        }
    }

    fn write(&self, out: &mut BytesMut, entry: &Arc<Entry>) {
        if let Some(rows) = &self.rows {
            if !self.first {
                out.put_u8(b',');
            }
            rows.write(out, entry);
            return;
        }
        let default = self.default.as_ref();
        let is_default = default.is_some_and(|default| Arc::ptr_eq(default, entry));
        match (&self.items, self.format) {
            // Metadata is in the stored bytes: nothing need be parsed.
            (Items::Partial(served, version), Format::Json)
                if metadata::is_stored(&*served.kind.strategy) =>
            {
                if !self.first {
                    out.put_u8(b',');
                }
                entry.write_partial(out, entry.revision, version.api_version());
            }
            (items, format) => {
                format.element(out, &items.element(entry, is_default), self.first);
            }
        }
    }
}

impl Chunks for ShapedList {
    fn chunk(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        // Rows may take more than their objects: then it grows.
        let size = (self.estimate as usize).min(CHUNK_BYTES + CHUNK_BYTES / 4);
        let mut out = BytesMut::with_capacity(size);
        out.put_slice(std::mem::take(&mut self.head).as_bytes());
        while let Some(entry) = self.entries.pop_front() {
            self.write(&mut out, &entry);
            self.first = false;
            if out.len() >= CHUNK_BYTES {
                return Some(out.freeze());
            }
        }
        self.over = true;
        out.put_slice(self.format.tail(self.empty));
        Some(out.freeze())
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn size(&self) -> Option<u64> {
        None
    }

    fn estimate(&self) -> u64 {
        self.estimate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(names: &[&str]) -> Slice {
        let kind = knarr_api::built_in("", "v1", "configmaps").expect("a core kind");
        let entry = |name: &&str| {
            let tree = json!({
                "kind": "ConfigMap", "apiVersion": "v1",
                "metadata": {"name": name, "namespace": "n", "managedFields": [{"manager": "m"}]},
                "data": {"text": "two\nlines", "yes": "no"},
            });
            let json = knarr_registry::cache::entry::encode(&tree);
            Arc::new(Entry::new(kind, format!("n/{name}").into(), 7, json).expect("an object"))
        };
        Slice {
            revision: 9,
            entries: names.iter().map(entry).collect(),
            more: true,
            remaining: Some(3),
        }
    }

    fn written(items: Items, format: Format, names: &[&str]) -> (usize, String) {
        let mut list = ShapedList::new(items, format, slice(names), &Arc::default());
        let (mut pieces, mut all) = (0, Vec::new());
        while let Some(piece) = list.chunk() {
            pieces += 1;
            all.extend_from_slice(&piece);
        }
        (pieces, String::from_utf8(all).expect("text"))
    }

    fn items(which: usize) -> Items {
        let served =
            knarr_api::built_in("", "v1", "configmaps").map(|kind| Served::stored(kind.clone()));
        let served = served.expect("a core kind");
        match which {
            0 => Items::Objects(served),
            1 => Items::Partial(served, MetaVersion::V1),
            _ => Items::Rows(served, MetaVersion::V1, IncludeObject::Metadata),
        }
    }

    #[test]
    fn every_format_says_the_same() {
        for names in [&["a", "b"][..], &["a"], &[]] {
            for which in 0..3 {
                let (_, json) = written(items(which), Format::Json, names);
                let mut json: Value = serde_json::from_str(&json).expect("JSON");
                let (_, pretty) = written(items(which), Format::Pretty, names);
                assert_eq!(
                    serde_json::from_str::<Value>(&pretty).expect("JSON"),
                    json,
                    "{pretty}"
                );
                let (_, yaml) = written(items(which), Format::Yaml, names);
                let mut yaml: Value = yaml::parse(yaml.as_bytes()).expect("YAML");
                // Ages pass.
                for list in [&mut json, &mut yaml] {
                    for row in list["rows"].as_array_mut().into_iter().flatten() {
                        row["cells"] = Value::Null;
                    }
                }
                assert_eq!(yaml, json);
                let list = json["items"].as_array().or(json["rows"].as_array());
                assert_eq!(list.map(Vec::len), Some(names.len()));
                assert_eq!(json["metadata"]["remainingItemCount"], 3);
            }
        }
    }

    #[test]
    fn is_indented_as_a_whole_would_be() {
        let (_, pretty) = written(items(0), Format::Pretty, &["a", "b"]);
        assert!(
            pretty.starts_with("{\n  \"kind\": \"ConfigMapList\",\n"),
            "{pretty}"
        );
        assert!(
            pretty.contains("  \"items\": [\n    {\n      \"data\": {\n"),
            "{pretty}"
        );
        assert!(pretty.ends_with("    }\n  ]\n}\n"), "{pretty}");
        let (_, pretty) = written(items(0), Format::Pretty, &[]);
        assert!(pretty.ends_with("  \"items\": []\n}\n"), "{pretty}");
    }

    #[test]
    fn comes_in_pieces() {
        let names: Vec<String> = (0..5000).map(|n| format!("c{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        for which in 0..3 {
            for format in [Format::Json, Format::Pretty, Format::Yaml] {
                let (pieces, all) = written(items(which), format, &names);
                assert!(pieces >= all.len() / (CHUNK_BYTES + (4 << 10)), "{pieces}");
                assert!(pieces > 1, "{which} {format:?}");
            }
        }
    }
}
