//! Lists and watch events as they come off the wire, decoded object by object.
//!
//! An object that cannot be decoded (a newer server's, a broken one) is skipped with a warning: it must not hide the
//! others.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::informer::{Held, Object};

/// Longest line of a watch that is accepted; larger than any object the API server stores.
const MAX_LINE_BYTES: usize = 32 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    continue_: String,
}

#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// One page of a list.
pub(crate) struct Page<T> {
    pub revision: String,
    pub continue_token: Option<String>,
    pub items: Vec<Held<T>>,
}

pub(crate) fn list<T: Object>(body: &[u8]) -> Result<Page<T>, serde_json::Error> {
    let raw: RawList<'_> = serde_json::from_slice(body)?;
    let items = raw.items.unwrap_or_default();
    let mut decoded = Vec::with_capacity(items.len());
    for item in items {
        match T::decode(item.get()) {
            Ok(object) => decoded.push(Held::own(object)),
            Err(error) => {
                tracing::warn!(%error, kind = T::kind_name(), "skipping an object that cannot be decoded")
            }
        }
    }
    Ok(Page {
        revision: raw.metadata.resource_version,
        continue_token: Some(raw.metadata.continue_).filter(|c| !c.is_empty()),
        items: decoded,
    })
}

/// One line of a watch.
pub(crate) enum WatchEvent<T> {
    Applied(T),
    Deleted(T),
    /// Progress without a change.
    Bookmark(String),
    Error(Box<kube::core::Status>),
    /// An object that could not be decoded, or a type this client does not know: there is nothing to do with it.
    Skipped,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct BookmarkObject {
    metadata: ListMeta,
}

pub(crate) fn event<T: Object>(line: &[u8]) -> Result<WatchEvent<T>, serde_json::Error> {
    let raw: RawEvent<'_> = serde_json::from_slice(line)?;
    let object = raw.object.get();
    let decode = |wrap: fn(T) -> WatchEvent<T>| match T::decode(object) {
        Ok(object) => wrap(object),
        Err(error) => {
            tracing::warn!(%error, kind = T::kind_name(), "skipping an event that cannot be decoded");
            WatchEvent::Skipped
        }
    };
    Ok(match raw.kind.as_ref() {
        "ADDED" | "MODIFIED" => decode(WatchEvent::Applied),
        "DELETED" => decode(WatchEvent::Deleted),
        "BOOKMARK" => WatchEvent::Bookmark(
            serde_json::from_str::<BookmarkObject>(object)?
                .metadata
                .resource_version,
        ),
        "ERROR" => WatchEvent::Error(serde_json::from_str(object)?),
        _ => WatchEvent::Skipped,
    })
}

/// Cuts a stream of body chunks into lines. A chunk that holds whole lines is passed through without a copy.
#[derive(Default)]
pub(crate) struct Lines {
    partial: BytesMut,
    chunk: Bytes,
}

/// A line longer than the limit: the connection is of no more use.
#[derive(Debug)]
pub(crate) struct LineTooLong;

impl Lines {
    pub(crate) fn push(&mut self, chunk: Bytes) -> Result<(), LineTooLong> {
        debug_assert!(
            self.chunk.is_empty(),
            "lines are drained before the next chunk"
        );
        if self.partial.len() + chunk.len() > MAX_LINE_BYTES {
            return Err(LineTooLong);
        }
        self.chunk = chunk;
        Ok(())
    }

    /// The next whole line, without its newline; `None` when more bytes are needed.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(end) = self.chunk.iter().position(|b| *b == b'\n') else {
                self.partial.extend_from_slice(&self.chunk);
                self.chunk = Bytes::new();
                return None;
            };
            let head = self.chunk.split_to(end + 1).slice(..end);
            let line = if self.partial.is_empty() {
                head
            } else {
                self.partial.extend_from_slice(&head);
                self.partial.split().freeze()
            };
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
    }
}

#[cfg(test)]
mod tests;
