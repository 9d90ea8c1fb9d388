//! States that informers of this process get as they are: no frame is encoded for them, and what they read is decoded once for all
//! of them.

use std::{ops::Range, sync::Arc};

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
        let managed = managed_fields(members);
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
        around + VERSION_FIELD_BYTES + members.len() - managed_fields(members).len()
    }

    fn memo(&self) -> &Memo {
        &self.memo
    }
}

/// Where `managedFields` stand among the members of a metadata object, with a comma that belongs to them; empty if nowhere.
fn managed_fields(members: &[u8]) -> Range<usize> {
    const NAME: &[u8] = b"\"managedFields\":[";
    let Some(start) = find(members, NAME) else {
        return 0..0;
    };
    let Some(end) = array_end(members, start + NAME.len() - 1) else {
        return 0..0;
    };
    match (members.get(end), start) {
        (Some(b','), _) => start..end + 1,
        (_, 0) => start..end,
        _ => start - 1..end,
    }
}

/// Where the member `name` of the outermost object begins. Names of other objects' members, and texts, may read alike.
fn find(members: &[u8], name: &[u8]) -> Option<usize> {
    let (mut depth, mut quoted, mut at) = (0usize, false, 0);
    while let Some(&byte) = members.get(at) {
        match byte {
            b'"' if !quoted && depth == 0 && members[at..].starts_with(name) => return Some(at),
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += 1;
    }
    None
}

/// One past the bracket that closes the one at `open`.
fn array_end(json: &[u8], open: usize) -> Option<usize> {
    let (mut depth, mut quoted, mut at) = (0usize, false, open);
    while let Some(&byte) = json.get(at) {
        at += 1;
        match byte {
            b'\\' if quoted => at += 1,
            b'"' => quoted = !quoted,
            b'[' if !quoted => depth += 1,
            b']' if !quoted => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
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
