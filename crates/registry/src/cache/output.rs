//! What a watch makes of what it sees: frames of bytes for a connection, or something else for whoever needs none.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use knarr_api::Kind as ApiKind;
use knarr_meta::status::Status;

use super::{
    entry::Entry,
    ring::{self, Kind, RingEvent},
};

/// Bytes after which a frame is handed to the connection even if more events wait.
const FRAME_BYTES: usize = 64 << 10;

/// Encodes the objects of a watch other than as they are stored (Table, partial metadata, another version).
pub trait View: Send + Sync {
    /// The event's object at `revision`.
    fn object(&self, entry: &Entry, revision: u64) -> Bytes;
    /// The whole frame of an event. `old`: the object as it was before, where this watch has seen it.
    fn frame(&self, kind: Kind, state: &Entry, _old: Option<&Entry>, revision: u64) -> Bytes {
        self.event(kind.as_str(), &self.object(state, revision))
    }
    /// The frame of an event with this object in it.
    fn event(&self, kind: &str, object: &[u8]) -> Bytes {
        frame(kind, object)
    }
    /// The frame of an error.
    fn error(&self, status: &Status) -> Bytes {
        error_frame(status)
    }
    /// Object of a bookmark; `annotated` marks the end of the initial events.
    fn bookmark(&self, revision: u64, annotated: bool) -> Bytes;
}

/// Collects what a watch tells, piece by piece.
pub trait Output: Send {
    type Item;

    /// An object that is there when the watch begins.
    fn initial(&mut self, entry: &Arc<Entry>);
    /// An event, of this kind to this watch; `state` is what it carries.
    fn event(&mut self, event: &RingEvent, kind: Kind, state: &Arc<Entry>);
    /// `annotated` marks the end of the initial objects.
    fn bookmark(&mut self, revision: u64, annotated: bool);
    fn error(&mut self, status: &Status);
    fn is_empty(&self) -> bool;
    /// A piece is handed over even if more is to come.
    fn is_full(&self) -> bool;
    /// The piece so far, if there is one.
    fn finish(&mut self) -> Option<Self::Item>;
}

/// Collects frames: one or more lines `{"type":…,"object":…}` where no view writes them otherwise. A single one is passed on
/// without copying.
pub struct Frames {
    kind: Arc<ApiKind>,
    view: Option<Arc<dyn View>>,
    first: Option<Bytes>,
    all: BytesMut,
}

impl Frames {
    /// Without a view: of objects as stored.
    pub fn new(kind: Arc<ApiKind>, view: Option<Arc<dyn View>>) -> Self {
        Self {
            kind,
            view,
            first: None,
            all: BytesMut::new(),
        }
    }

    fn push(&mut self, bytes: Bytes) {
        match self.first.take() {
            None if self.all.is_empty() => self.first = Some(bytes),
            None => self.all.extend_from_slice(&bytes),
            Some(first) => {
                self.all.reserve(first.len() + bytes.len());
                self.all.extend_from_slice(&first);
                self.all.extend_from_slice(&bytes);
            }
        }
    }
}

impl Output for Frames {
    type Item = Bytes;

    fn initial(&mut self, entry: &Arc<Entry>) {
        let frame = match &self.view {
            None => ring::encode_frame(Kind::Added, entry, entry.revision),
            Some(view) => view.frame(Kind::Added, entry, None, entry.revision),
        };
        self.push(frame);
    }

    fn event(&mut self, event: &RingEvent, kind: Kind, state: &Arc<Entry>) {
        let frame = match &self.view {
            None => event.frame(kind),
            Some(view) => {
                let old = event.old.as_deref().filter(|_| kind == Kind::Modified);
                Some(view.frame(kind, state, old, event.revision))
            }
        };
        if let Some(frame) = frame {
            self.push(frame);
        }
    }

    fn bookmark(&mut self, revision: u64, annotated: bool) {
        const BOOKMARK: &str = "BOOKMARK";
        let bytes = match &self.view {
            Some(view) => view.event(BOOKMARK, &view.bookmark(revision, annotated)),
            None => {
                let api_version = self.kind.api_version();
                let object = bookmark_object(&self.kind.kind, &api_version, revision, annotated);
                frame(BOOKMARK, &object)
            }
        };
        self.push(bytes);
    }

    fn error(&mut self, status: &Status) {
        let bytes = match &self.view {
            Some(view) => view.error(status),
            None => error_frame(status),
        };
        self.push(bytes);
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.all.is_empty()
    }

    fn is_full(&self) -> bool {
        self.all.len() + self.first.as_ref().map_or(0, Bytes::len) >= FRAME_BYTES
    }

    fn finish(&mut self) -> Option<Bytes> {
        match self.first.take() {
            Some(first) => Some(first),
            None if self.all.is_empty() => None,
            None => Some(std::mem::take(&mut self.all).freeze()),
        }
    }
}

/// One line of a watch response.
pub fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + kind.len() + 24);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.freeze()
}

/// An ERROR line.
pub fn error_frame(status: &Status) -> Bytes {
    frame("ERROR", &serde_json::to_vec(status).unwrap_or_default())
}

/// The object of a bookmark: type and resourceVersion only.
pub fn bookmark_object(kind: &str, api_version: &str, revision: u64, annotated: bool) -> Bytes {
    let annotations = match annotated {
        true => r#","annotations":{"k8s.io/initial-events-end":"true"}"#,
        false => "",
    };
    Bytes::from(format!(
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{revision}"{annotations}}}}}"#
    ))
}
