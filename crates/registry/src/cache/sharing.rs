//! States that informers of this process get as they are: no frame is encoded for them, and what they read is decoded once for all
//! of them.

use std::sync::Arc;

use bytes::Bytes;
use knarr_meta::status::Status;
use knarr_states::{Change, Form, Memo, State};

use super::{
    entry::{Entry, VERSION_FIELD_BYTES},
    output::Output,
    ring::{Kind, RingEvent},
};

/// Changes handed over at a time.
const CHANGES: usize = 256;

const PARTIAL_HEAD: &[u8] =
    b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{";

impl State for Entry {
    fn namespaced_name(&self) -> (&str, &str) {
        Entry::namespaced_name(self)
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn write(&self, form: Form, out: &mut Vec<u8>) {
        let (head, members, tail) = self.around_metadata();
        match form {
            Form::Whole => out.extend_from_slice(head),
            Form::Metadata => out.extend_from_slice(PARTIAL_HEAD),
        }
        let managed = self.managed_fields();
        let (before, after) = (&members[..managed.start], &members[managed.end..]);
        if self.revision > 0 {
            out.extend_from_slice(b"\"resourceVersion\":\"");
            out.extend_from_slice(self.revision.to_string().as_bytes());
            out.push(b'"');
            if !(before.is_empty() && after.is_empty()) {
                out.push(b',');
            }
        }
        out.extend_from_slice(before);
        out.extend_from_slice(after);
        match form {
            Form::Whole => out.extend_from_slice(tail),
            Form::Metadata => out.extend_from_slice(b"}}"),
        }
    }

    fn size(&self, form: Form) -> usize {
        let (head, members, tail) = self.around_metadata();
        let around = match form {
            Form::Whole => head.len() + tail.len(),
            Form::Metadata => PARTIAL_HEAD.len() + 2,
        };
        around + VERSION_FIELD_BYTES + members.len() - self.managed_fields().len()
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

/// Collects changes.
#[derive(Default)]
pub struct Shared {
    changes: Vec<Change>,
}

impl Output for Shared {
    type Item = Vec<Change>;

    fn initial(&mut self, entry: &Arc<Entry>) {
        self.changes.push(Change::Applied(entry.clone()));
    }

    fn event(&mut self, event: &RingEvent, kind: Kind, state: &Arc<Entry>) {
        self.changes.push(match kind {
            Kind::Deleted => Change::Deleted(state.clone(), event.revision),
            Kind::Added | Kind::Modified => Change::Applied(state.clone()),
        });
    }

    fn bookmark(&mut self, revision: u64, _: bool) {
        self.changes.push(Change::Bookmark(revision));
    }

    fn error(&mut self, status: &Status) {
        let status = serde_json::to_vec(status).unwrap_or_default();
        self.changes.push(Change::Error(Bytes::from(status)));
    }

    fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= CHANGES
    }

    fn finish(&mut self) -> Option<Vec<Change>> {
        (!self.changes.is_empty()).then(|| std::mem::take(&mut self.changes))
    }
}

#[cfg(test)]
mod tests;
