//! The OpenAPI documents: v2 as JSON and as protobuf, v3 as one JSON document a group-version.
//!
//! ```text
//! crate::Kinds ------> served.rs, pages.rs: operations --------+
//!                                                              +--> one JSON piece at a time --> gzip + SHA-256 --> kept
//! crate::schema  ----> definitions.rs: the types they reach ---+         (or proto.rs)
//!                                                              |
//! other servers' v2 -> part.rs, check.rs --> merge.rs ---------+ v2.rs
//! ```
//!
//! A document is made when it is first asked for, and only its compressed bytes are kept. Making all of them at build time was
//! tried on paper and rejected: build scripts cannot see the kinds, so the list of kinds would exist twice, and the
//! binary would carry half a megabyte that is a function of what it carries anyway; and kinds come and go at run time. No document is ever held as a tree: pieces are serialized, compressed and dropped one by one.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    sync::{Arc, OnceLock},
};

use bytes::Bytes;
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{Kind, Kinds};

mod check;
mod custom;
mod definitions;
mod dialect;
mod group_versions;
mod item;
mod merge;
mod messages;
mod names;
mod operations;
mod pages;
mod parameters;
mod part;
mod paths;
mod proto;
mod served;
mod shared;
#[cfg(test)]
mod tests;
mod v2;

use definitions::Definitions;
use group_versions::GroupVersion;
use item::PathItem;
pub use part::{Part, PartError};

/// What clients put into `Accept` to get the v2 document as protobuf; kubectl up to 1.26 takes nothing else. It is no valid
/// media type (`@`), so newer clients also send [`V2_PROTOBUF_CONTENT_TYPE`].
pub const V2_PROTOBUF_ACCEPT: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// The `Content-Type` of the v2 document as protobuf. Go clients refuse an answer whose type they cannot parse, the one that
/// they asked for included.
pub const V2_PROTOBUF_CONTENT_TYPE: &str =
    "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The version whose API the documents describe: upstream's has the one that it emulates, without a patch.
pub const RELEASE: &str = "1.37";

/// A document ready to be sent.
#[derive(Clone, Debug)]
pub struct Document {
    /// The document, compressed with gzip.
    pub gz: Bytes,
    /// SHA-256 of the document in upper-case hex: the ETag (in quotes), and the hash in v3's URLs.
    pub hash: String,
}

impl Document {
    /// The document itself, for clients that do not take gzip.
    pub fn inflate(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        GzDecoder::new(&*self.gz).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// The documents of a set of kinds, each made when it is first asked for.
#[derive(Debug)]
pub struct Documents {
    kinds: Vec<Arc<Kind>>,
    v2_json: OnceLock<Document>,
    v2_proto: OnceLock<Document>,
    /// By path (`api/v1`, `apis/apps/v1`).
    v3: BTreeMap<String, Arc<GroupVersion>>,
}

impl Documents {
    /// `before` are the documents of the set that is replaced: those of group-versions in which nothing changes are kept.
    pub fn new(kinds: &Kinds, before: Option<&Documents>) -> Documents {
        let v3 = group_versions::of(kinds.iter()).into_iter();
        Documents {
            kinds: kinds.iter().cloned().collect(),
            v2_json: OnceLock::new(),
            v2_proto: OnceLock::new(),
            v3: v3
                .map(|(path, fresh)| {
                    let known = before.and_then(|before| before.v3.get(&path));
                    let same = known.filter(|known| known.is_as(&fresh)).cloned();
                    (path, same.unwrap_or_else(|| Arc::new(fresh)))
                })
                .collect(),
        }
    }

    /// `/openapi/v2` as JSON.
    pub fn v2_json(&self) -> &Document {
        let make = || seal(|out| v2::json(out, self.kinds(), &[]));
        self.v2_json.get_or_init(make)
    }

    /// `/openapi/v2` as protobuf: see [`V2_PROTOBUF_ACCEPT`].
    pub fn v2_proto(&self) -> &Document {
        let make = || seal(|out| v2::protobuf(out, self.kinds(), &[]));
        self.v2_proto.get_or_init(make)
    }

    /// `/openapi/v2` as JSON, with what other servers say. Not kept.
    ///
    /// # Errors
    /// Where a part cannot be merged.
    pub fn merged_json(&self, parts: &[Arc<Part>]) -> io::Result<Document> {
        try_seal(|out| v2::json(out, self.kinds(), parts))
    }

    /// The same as protobuf.
    ///
    /// # Errors
    /// Where a part cannot be merged.
    pub fn merged_proto(&self, parts: &[Arc<Part>]) -> io::Result<Document> {
        try_seal(|out| v2::protobuf(out, self.kinds(), parts))
    }

    /// The body of `/openapi/v3`: the URL of each document. Makes them all.
    pub fn v3_index(&self) -> Value {
        group_versions::make(self.v3.values());
        let paths: serde_json::Map<String, Value> = self
            .v3
            .iter()
            .filter_map(|(path, served)| {
                let url = format!("/openapi/v3/{path}?hash={}", served.document()?.hash);
                Some((path.clone(), json!({"serverRelativeURL": url})))
            })
            .collect();
        json!({"paths": paths})
    }

    /// `/openapi/v3/{path}` as JSON; `None` for a group-version that is not served.
    pub fn v3_document(&self, path: &str) -> Option<&Document> {
        let served = self.v3.get(path)?;
        group_versions::make([served].into_iter());
        served.document()
    }

    fn kinds(&self) -> impl Iterator<Item = &Kind> + Clone {
        self.kinds.iter().map(|kind| &**kind)
    }
}

/// Compresses what `write` writes.
fn seal(write: impl FnOnce(&mut Sealer) -> io::Result<()>) -> Document {
    // Writing to memory does not fail, and the pieces are JSON trees.
    try_seal(write).expect("writing to memory")
}

/// The same, where what is written can be wrong.
fn try_seal(write: impl FnOnce(&mut Sealer) -> io::Result<()>) -> io::Result<Document> {
    let mut out = Sealer {
        gz: GzEncoder::new(Vec::new(), Compression::default()),
        hash: Sha256::new(),
    };
    write(&mut out)?;
    let gz = out.gz.finish()?.into();
    let hash = out
        .hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    Ok(Document { gz, hash })
}

struct Sealer {
    gz: GzEncoder<Vec<u8>>,
    hash: Sha256,
}

impl Write for Sealer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hash.update(bytes);
        self.gz.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.gz.flush()
    }
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": RELEASE})
}

/// A document of some of the paths; those of a group-version name the types that options of all groups are in it.
fn write_v3(
    out: &mut impl Write,
    items: &[PathItem<'_>],
    definitions: &Definitions,
    place: (&str, &str),
) -> io::Result<()> {
    write!(out, r#"{{"openapi":"3.0.0","info":{},"paths":"#, info())?;
    members(
        out,
        items
            .iter()
            .map(|item| (item.path.as_str(), operations::v3(item))),
    )?;
    write!(out, r#","components":{{"#)?;
    let roots = items.iter().flat_map(PathItem::definitions);
    let names = definitions::closure(roots, &definitions.custom);
    if !names.is_empty() {
        write!(out, r#""schemas":"#)?;
        members(
            out,
            names
                .iter()
                .map(|name| (&**name, definitions.render_in(name, place))),
        )?;
        write!(out, ",")?;
    }
    write!(out, r#""securitySchemes":{}}}}}"#, security())
}

fn security() -> Value {
    json!({"BearerToken": {
        "description": "Bearer Token authentication", "type": "apiKey", "name": "authorization", "in": "header"
    }})
}

/// Writes an object, one member at a time.
fn members<'a>(
    out: &mut impl Write,
    members: impl Iterator<Item = (&'a str, Value)>,
) -> io::Result<()> {
    out.write_all(b"{")?;
    for (place, (name, value)) in members.enumerate() {
        let comma = if place == 0 { "" } else { "," };
        write!(out, "{comma}{}:", Value::from(name))?;
        serde_json::to_writer(&mut *out, &value)?;
    }
    out.write_all(b"}")
}
