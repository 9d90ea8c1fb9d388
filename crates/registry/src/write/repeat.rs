//! Configurations that are applied again and change nothing, as controllers send them all day.
//!
//! What an apply makes of an object follows from the object, the configuration, its manager and the kind's schema. Where all of
//! these are as they were when it changed nothing, merging and validating again would find that again; only admission, which looks
//! at the rest of the cluster, is asked each time.

use std::sync::{
    Arc, Weak,
    atomic::{AtomicU64, Ordering},
};

use knarr_admission::request::Operation;
use knarr_api::Kind;
use knarr_meta::status::Status;
use parking_lot::Mutex;

use super::{Asked, Phase, Write};
use crate::{Registry, cache::entry::Entry};

/// Applies that are remembered, at most; each takes 56 bytes.
const SEEN_MAX: usize = 4096;

/// All that the outcome of an apply follows from, but for the live object: a cryptographic digest of the request, and the kind
/// as it is known now.
pub struct Repeat {
    pub digest: [u8; 32],
    pub kind: Weak<Kind>,
}

impl Repeat {
    /// Where it is remembered.
    fn slot(&self) -> usize {
        let [a, b, ..] = self.digest;
        usize::from(u16::from_le_bytes([a, b])) % SEEN_MAX
    }
}

struct Seen {
    digest: [u8; 32],
    /// While this is held no other kind has its address.
    kind: Weak<Kind>,
    /// Of the object that was not changed.
    revision: u64,
}

/// Applies that changed nothing. One takes another's place where their digests begin alike.
#[derive(Default)]
pub struct Repeats {
    seen: Mutex<Vec<Option<Seen>>>,
    answered: AtomicU64,
}

impl Repeats {
    /// How many applies were answered without computing them.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// The state of the object that this apply did not change.
    fn revision(&self, repeat: &Repeat) -> Option<u64> {
        let seen = self.seen.lock();
        let seen = seen.get(repeat.slot())?.as_ref()?;
        let same = seen.digest == repeat.digest && Weak::ptr_eq(&seen.kind, &repeat.kind);
        same.then_some(seen.revision)
    }

    fn remember(&self, repeat: Repeat, revision: u64) {
        let mut seen = self.seen.lock();
        if seen.is_empty() {
            seen.resize_with(SEEN_MAX, || None);
        }
        if let Some(slot) = seen.get_mut(repeat.slot()) {
            *slot = Some(Seen {
                digest: repeat.digest,
                kind: repeat.kind,
                revision,
            });
        }
    }
}

impl Registry {
    /// Notes an apply that was not a dry run, had nothing to warn of, and left the object as this entry has it.
    pub fn remember(&self, repeat: Repeat, entry: &Entry) {
        self.repeats.remember(repeat, entry.revision);
    }

    /// The live object, where this apply is known to change nothing of it; `None`: it has to be computed.
    ///
    /// # Errors
    /// What admission refuses.
    pub async fn repeated(
        &self,
        write: &Write<'_>,
        name: &str,
        repeat: &Repeat,
    ) -> Result<Option<Arc<Entry>>, Status> {
        let Some(revision) = self.repeats.revision(repeat) else {
            return Ok(None);
        };
        let current = match self.current(write, name).await {
            Ok(current) => current,
            Err(status) if status.is_not_found() => return Ok(None),
            Err(status) => return Err(status),
        };
        let entry = &current.entry;
        let sealed = self.transformer.is_current(write.kind, entry.seal);
        if entry.revision != revision || entry.stale || !sealed {
            return Ok(None);
        }
        let old = Some(&current.tree);
        let asked = Asked {
            write,
            operation: Operation::Update,
            name,
            old,
        };
        let mut tree = current.tree.clone();
        // They are asked once, in the whole way of a write.
        if self.others_change(asked, &mut tree) {
            return Ok(None);
        }
        for phase in [Phase::Mutate, Phase::Validate] {
            let object = Some(&mut tree);
            self.admit(write, Operation::Update, name, phase, object, old)
                .await?;
            if tree != current.tree {
                return Ok(None);
            }
        }
        self.repeats.answered.fetch_add(1, Ordering::Relaxed);
        Ok(Some(current.entry))
    }
}
