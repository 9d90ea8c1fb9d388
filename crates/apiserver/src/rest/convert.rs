//! Objects whose versions a webhook converts, on their way to a client: one, a page, the events of a watch.
//!
//! They are stored in whatever version they were written in. What this module hands on is in the version of the request, so that
//! nothing behind it need know.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{StreamExt, stream, stream::BoxStream};
use knarr_meta::{object, status::Status};
use knarr_registry::{
    Registry,
    cache::{
        entry::Entry,
        filter::Filter,
        output::{Frames, View},
        resource::Slice,
        ring,
        watcher::Watcher,
    },
};
use serde_json::{Value, json};

use super::{ask::Ask, shape::ShapeView, version::entries};

/// Those of a page whose fields, in the version of the request, are selected. `limit` 0: all.
pub async fn narrow(
    ask: &Ask<'_>,
    slice: Slice,
    fields: &Filter,
    limit: usize,
) -> Result<Slice, Status> {
    let strategy = &ask.kind().strategy;
    let mut selected = entries(ask, slice.entries).await?;
    selected.retain(|entry| fields.matches_values(&strategy.field_values(&entry.tree())));
    let more = limit > 0 && selected.len() > limit;
    if more {
        selected.truncate(limit);
    }
    Ok(Slice {
        revision: slice.revision,
        entries: selected,
        more,
        remaining: None,
    })
}

/// The view of a watch whose events are converted behind it: stored objects, with what they were before.
pub struct Raw(pub Arc<ShapeView>);

fn at_revision(entry: &Entry, revision: u64) -> Value {
    let mut tree = entry.tree();
    tree["metadata"]["resourceVersion"] = json!(revision.to_string());
    tree
}

impl View for Raw {
    fn object(&self, entry: &Entry, revision: u64) -> Bytes {
        at_revision(entry, revision).to_string().into()
    }

    fn frame(&self, kind: ring::Kind, state: &Entry, old: Option<&Entry>, revision: u64) -> Bytes {
        let mut line = json!({"type": kind.as_str(), "object": at_revision(state, revision)});
        if let Some(old) = old {
            line["old"] = at_revision(old, revision);
        }
        format!("{line}\n").into()
    }

    fn bookmark(&self, revision: u64, annotated: bool) -> Bytes {
        self.0.json_bookmark(revision, annotated)
    }
}

/// A line of a watch under [`Raw`].
struct WatchEvent {
    kind: String,
    object: Value,
    old: Option<Value>,
}

impl WatchEvent {
    fn parse(line: &[u8]) -> Option<WatchEvent> {
        let mut line: Value = serde_json::from_slice(line).ok()?;
        Some(WatchEvent {
            kind: object::str_at(&line, &["type"]).to_owned(),
            object: line["object"].take(),
            old: line.get_mut("old").map(Value::take),
        })
    }

    /// Bookmarks and errors are as they are to be.
    fn is_of_an_object(&self) -> bool {
        matches!(&*self.kind, "ADDED" | "MODIFIED" | "DELETED")
    }
}

/// The frames of a watch, converted and selected by fields of the request's version. A failure is the last of them.
pub fn watch(
    registry: Arc<Registry>,
    watcher: Watcher<Frames>,
    view: Arc<ShapeView>,
    fields: Option<Filter>,
) -> BoxStream<'static, Bytes> {
    let converting = Converting {
        registry,
        view,
        fields,
    };
    let frames = stream::unfold(Some((watcher, converting)), async |state| {
        let (mut watcher, converting) = state?;
        let frames = watcher.next().await?;
        match converting.frames(&frames).await {
            Ok(frames) => Some((frames, Some((watcher, converting)))),
            Err(status) => Some((converting.view.error(&status), None)),
        }
    });
    frames
        .filter(|frames| std::future::ready(!frames.is_empty()))
        .boxed()
}

struct Converting {
    registry: Arc<Registry>,
    view: Arc<ShapeView>,
    fields: Option<Filter>,
}

impl Converting {
    async fn frames(&self, frames: &Bytes) -> Result<Bytes, Status> {
        let lines = frames.split(|byte| *byte == b'\n');
        let mut lines: Vec<WatchEvent> = lines.filter_map(WatchEvent::parse).collect();
        self.convert(&mut lines).await?;
        let mut out = BytesMut::new();
        for line in lines {
            if let Some(frame) = self.frame(line) {
                out.extend_from_slice(&frame);
            }
        }
        Ok(out.freeze())
    }

    /// All that the lines hold, together.
    async fn convert(&self, lines: &mut [WatchEvent]) -> Result<(), Status> {
        let wanted = |line: &&mut WatchEvent| line.is_of_an_object();
        let mut places: Vec<&mut Value> = Vec::new();
        for line in lines.iter_mut().filter(wanted) {
            places.push(&mut line.object);
            // What it was before matters only to who selects by it.
            places.extend(line.old.as_mut().filter(|_| self.fields.is_some()));
        }
        let trees = places.iter_mut().map(|place| place.take()).collect();
        let kind = &self.view.served().kind;
        let trees = self.registry.all_in_version(kind, trees).await?;
        for (place, tree) in places.into_iter().zip(trees) {
            *place = tree;
        }
        Ok(())
    }

    /// A line as the client gets it: an object that stops being selected is deleted for it, one that starts is added.
    fn frame(&self, line: WatchEvent) -> Option<Bytes> {
        if !line.is_of_an_object() {
            return Some(self.view.event(&line.kind, &self.view.encode(&line.object)));
        }
        let selected = |tree: &Value| {
            let strategy = &self.view.served().kind.strategy;
            let matches = |fields: &Filter| fields.matches_values(&strategy.field_values(tree));
            self.fields.as_ref().is_none_or(matches)
        };
        let (now, before) = (selected(&line.object), line.old.as_ref().map(&selected));
        let (kind, object) = match (&*line.kind, before, now) {
            ("MODIFIED", Some(true), true) | ("MODIFIED", None, true) => ("MODIFIED", line.object),
            ("MODIFIED", Some(true), false) => ("DELETED", line.old?),
            ("MODIFIED", _, true) => ("ADDED", line.object),
            (kind, _, true) => (kind, line.object),
            (_, _, false) => return None,
        };
        Some(self.view.event(kind, &self.view.tree(object)))
    }
}
