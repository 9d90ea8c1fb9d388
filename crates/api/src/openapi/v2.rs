//! The v2 document: this server's own kinds, and what other servers add.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    sync::Arc,
};

use serde_json::Value;

use super::{
    custom::Custom,
    definitions::{self, Definitions},
    dialect::Dialect,
    info,
    item::PathItem,
    members,
    merge::{Added, Base},
    operations,
    part::{Part, Pieces},
    paths, proto, security,
    shared::Shared,
};
use crate::Kind;

/// What of the document is of this server.
struct Own<'a> {
    definitions: &'a Definitions,
    /// Sorted by path.
    items: Vec<PathItem<'a>>,
    /// Of definitions.
    names: BTreeSet<Arc<str>>,
}

/// The same, with the parameters that its operations share.
struct Whole<'a> {
    own: &'a Own<'a>,
    shared: Shared,
}

/// A piece of a document.
enum Piece<'a, T> {
    Own(T),
    Added(&'a str),
}

impl<'a> Own<'a> {
    fn new<'k: 'a>(
        kinds: impl Iterator<Item = &'k Kind> + Clone,
        definitions: &'a Definitions,
    ) -> Own<'a> {
        let items = paths::all(kinds, &definitions.custom);
        let roots = items.iter().flat_map(PathItem::definitions);
        let names = definitions::closure(roots, &definitions.custom);
        Own {
            definitions,
            items,
            names,
        }
    }

    /// What others add to it.
    fn added(&self, parts: &[Arc<Part>]) -> io::Result<Added> {
        let mut added = Added::default();
        if parts.is_empty() {
            return Ok(added);
        }
        let mut shared = Shared::default();
        for item in &self.items {
            operations::v2(item, &mut shared);
        }
        let whole = Whole { own: self, shared };
        for part in parts {
            added.add(&whole, part).map_err(io::Error::other)?;
        }
        Ok(added)
    }

    fn definition(&self, name: &str) -> Value {
        self.definitions.render(name, Dialect::V2)
    }
}

impl Base for Whole<'_> {
    fn has_path(&self, path: &str) -> bool {
        let items = &self.own.items;
        let found = items.binary_search_by(|item| item.path.as_str().cmp(path));
        found.is_ok()
    }

    fn definition(&self, name: &str) -> Option<Value> {
        let own = self.own;
        own.names.contains(name).then(|| own.definition(name))
    }

    fn parameter(&self, name: &str) -> Option<Value> {
        let mut all = self.shared.iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    }
}

/// Own pieces and those of others, sorted by name; of two with one name, that of the others.
fn sorted<'a, T>(
    own: impl Iterator<Item = (&'a str, T)>,
    added: &'a Pieces,
) -> BTreeMap<&'a str, Piece<'a, T>> {
    let mut all: BTreeMap<&str, Piece<'a, T>> =
        own.map(|(name, own)| (name, Piece::Own(own))).collect();
    let added = added.iter();
    all.extend(added.map(|(name, text)| (name.as_str(), Piece::Added(text.as_str()))));
    all
}

impl<T> Piece<'_, T> {
    fn render(self, own: impl FnOnce(T) -> Value) -> Value {
        match self {
            Piece::Own(piece) => own(piece),
            // It was written from a tree.
            Piece::Added(text) => serde_json::from_str(text).unwrap_or_default(),
        }
    }
}

/// What writes a document, one piece after the other.
struct Writing<'a> {
    own: &'a Own<'a>,
    added: Added,
    shared: Shared,
}

impl<'a> Writing<'a> {
    fn new(own: &'a Own<'a>, parts: &[Arc<Part>]) -> io::Result<Writing<'a>> {
        Ok(Writing {
            own,
            added: own.added(parts)?,
            shared: Shared::default(),
        })
    }

    /// To be read before the parameters, which they come to share.
    fn paths(&mut self) -> impl Iterator<Item = (&str, Value)> {
        let items = self.own.items.iter();
        let items = items.map(|item| (item.path.as_str(), item));
        let shared = &mut self.shared;
        sorted(items, &self.added.paths)
            .into_iter()
            .map(move |(path, piece)| (path, piece.render(|item| operations::v2(item, shared))))
    }

    fn definitions(&self) -> impl Iterator<Item = (&str, Value)> {
        let own = self.own;
        let names = own.names.iter().map(|name| (&**name, name));
        sorted(names, &self.added.definitions)
            .into_iter()
            .map(move |(name, piece)| (name, piece.render(|name| own.definition(name))))
    }

    fn parameters(&self) -> impl Iterator<Item = (&str, Value)> {
        sorted(self.shared.iter(), &self.added.parameters)
            .into_iter()
            .map(|(name, piece)| (name, piece.render(Value::clone)))
    }
}

/// Writes the document as JSON.
///
/// # Errors
/// Where a part cannot be merged.
pub(super) fn json<'k>(
    out: &mut impl Write,
    kinds: impl Iterator<Item = &'k Kind> + Clone,
    parts: &[Arc<Part>],
) -> io::Result<()> {
    let definitions = Definitions::new(Custom::new(kinds.clone()));
    let own = Own::new(kinds, &definitions);
    let mut writing = Writing::new(&own, parts)?;
    write!(out, r#"{{"swagger":"2.0","info":{},"paths":"#, info())?;
    members(out, writing.paths())?;
    write!(out, r#","definitions":"#)?;
    members(out, writing.definitions())?;
    write!(out, r#","parameters":"#)?;
    members(out, writing.parameters())?;
    write!(
        out,
        r#","security":[{{"BearerToken":[]}}],"securityDefinitions":{}}}"#,
        security()
    )
}

/// Writes the document as protobuf.
///
/// # Errors
/// Where a part cannot be merged.
pub(super) fn protobuf<'k>(
    out: &mut impl Write,
    kinds: impl Iterator<Item = &'k Kind> + Clone,
    parts: &[Arc<Part>],
) -> io::Result<()> {
    let definitions = Definitions::new(Custom::new(kinds.clone()));
    let own = Own::new(kinds, &definitions);
    let mut writing = Writing::new(&own, parts)?;
    let mut document = proto::Document::new(&info());
    for (path, item) in writing.paths() {
        document.path(path, &item);
    }
    for (name, definition) in writing.definitions() {
        document.definition(name, &definition);
    }
    for (name, parameter) in writing.parameters() {
        document.parameter(name, &parameter);
    }
    document.write(out)
}
