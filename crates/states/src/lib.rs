//! States of objects that an API server's watch cache shares with the informers of its process.
//!
//! ```text
//! request with Share -> the chain that every request passes -> answer with an Offer: of a Page (list), of Changes (watch)
//! informer: holds the cache's own states -> decodes what is read, once for all informers -> forgets what nobody reads
//! ```
//!
//! An informer in the server's process lists and watches as any client does, so that rights, limits, expired revisions and the
//! ends of watches mean the same to it. Only what is in the answer differs: not bytes but the [`State`]s themselves. What an
//! informer holds of an object is one pointer; the object is decoded when somebody reads it, and kept ([`Recent`]) for as long as
//! somebody goes on to.
//!
//! Whoever serves does not have to share: then there is no offer in its answer, and its body is what counts.
//!
//! Rejected: informers that register with the cache beside the API (rights and limits would be checked a second way), and decoded
//! objects for good (a typed pod takes three times its JSON, and most are read when they change only).

mod recent;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::BoxStream;
use parking_lot::Mutex;

pub use recent::{Memo, Recent, decoded};

/// How much of an object is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    /// As PartialObjectMetadata.
    Metadata,
}

/// One state of one object.
pub trait State: Send + Sync {
    /// Namespace, empty where there is none, and name.
    fn namespaced_name(&self) -> (&str, &str);
    /// Its resourceVersion.
    fn revision(&self) -> u64;
    /// Appends its JSON, with resourceVersion and without managed fields, which nobody who shares it reads.
    fn write(&self, form: Form, out: &mut Vec<u8>);
    /// About how many bytes [`State::write`] appends.
    fn size(&self, form: Form) -> usize;
    /// Where it is kept decoded.
    fn memo(&self) -> &Memo;
}

/// A page of a list.
pub struct Page {
    pub states: Vec<Arc<dyn State>>,
    /// The list's resourceVersion.
    pub revision: u64,
    /// Of the next page.
    pub continue_token: Option<String>,
    pub recent: Arc<Recent>,
}

/// What a watch tells.
#[derive(Clone)]
pub enum Change {
    /// Added or modified.
    Applied(Arc<dyn State>),
    /// The last state, and the revision of the deletion.
    Deleted(Arc<dyn State>, u64),
    /// Progress up to a revision.
    Bookmark(u64),
    /// A `Status` in JSON; nothing follows.
    Error(Bytes),
}

/// The events of a watch.
pub struct Changes {
    /// Ends with the watch.
    pub events: BoxStream<'static, Vec<Change>>,
    pub recent: Arc<Recent>,
}

/// In the extensions of a request: its sender can take an [`Offer`].
#[derive(Clone, Copy, Debug)]
pub struct Share;

/// In the extensions of an answer: what it holds in place of its body. Can be taken once.
pub struct Offer<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Offer<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Offer<T> {
    pub fn new(what: T) -> Self {
        Self(Arc::new(Mutex::new(Some(what))))
    }

    pub fn take(&self) -> Option<T> {
        self.0.lock().take()
    }
}
