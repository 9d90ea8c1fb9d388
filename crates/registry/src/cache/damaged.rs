//! Stored objects that cannot be read: written with another encryption key, or broken.
//!
//! None of them may take the server down, or block its name for ever. Lists and watches go on without it, reading it is an
//! error, it can be deleted, and health tells how many there are.
//!
//! It is otherwise with those whose key somebody has who does not answer now: they are there, and who lists or watches is told so and
//! comes again. What they were before stays where the server itself looks: an admission webhook that cannot be read goes on to be asked.

use std::{
    collections::BTreeMap,
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use knarr_meta::status::Status;
use parking_lot::RwLock;

use super::Error;

/// The objects of one resource that cannot be read.
#[derive(Debug, Default)]
pub struct Damaged {
    objects: RwLock<BTreeMap<Box<str>, Found>>,
    /// How many of them may be readable soon.
    waiting: AtomicUsize,
    /// Why what is cached is not what is stored: nothing of it is served until all is read anew.
    closed: OnceLock<String>,
}

#[derive(Debug)]
struct Found {
    /// Modification revision.
    revision: u64,
    why: String,
    waits: bool,
}

impl Damaged {
    /// Notes that the value `key` got at `revision` cannot be read.
    pub fn note(&self, key: &str, revision: u64, error: &Error) {
        let found = Found {
            revision,
            why: error.to_string(),
            waits: error.is_unavailable(),
        };
        let mut objects = self.objects.write();
        objects.insert(key.into(), found);
        self.count(&objects);
    }

    fn count(&self, objects: &BTreeMap<Box<str>, Found>) {
        let waiting = objects.values().filter(|found| found.waits).count();
        self.waiting.store(waiting, Ordering::Release);
    }

    /// Notes that a value came that cannot be read now: what is cached of its key is from before.
    pub fn close(&self, error: &Error) {
        // The first one tells as well as any.
        let _ = self.closed.set(error.to_string());
    }

    /// Whether a value came that cannot be read now.
    pub fn is_closed(&self) -> bool {
        self.closed.get().is_some()
    }

    /// Whether all has to be read anew, if it can be.
    pub fn is_to_be_read(&self) -> bool {
        self.is_closed() || !self.is_empty()
    }

    /// Why some cannot be read that may be readable soon; `None` where there are none.
    pub fn waits(&self) -> Option<String> {
        if let Some(why) = self.closed.get() {
            return Some(why.clone());
        }
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let objects = self.objects.read();
        let found = objects.values().find(|found| found.waits)?;
        Some(found.why.clone())
    }

    /// The key was deleted, or has a value that can be read.
    pub fn forget(&self, key: &str) {
        if !self.is_empty() {
            let mut objects = self.objects.write();
            objects.remove(key);
            self.count(&objects);
        }
    }

    /// The modification revision of a key whose value cannot be read.
    pub fn revision(&self, key: &str) -> Option<u64> {
        self.objects.read().get(key).map(|found| found.revision)
    }

    /// What reading the key is answered with, if its value cannot be read.
    pub fn status(&self, key: &str) -> Option<Status> {
        let objects = self.objects.read();
        let found = objects.get(key)?;
        Some(Status::internal(format!(
            "unable to transform key {key:?}: {}",
            found.why
        )))
    }

    /// Keys that start with `prefix`.
    pub fn under(&self, prefix: &str) -> Vec<Box<str>> {
        let objects = self.objects.read();
        let keys = objects.keys().filter(|key| key.starts_with(prefix));
        keys.cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.objects.read().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
