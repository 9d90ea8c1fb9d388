//! Asks resolvers what others know.
//!
//! The same question is asked once at a time, whoever else wants the answer. That spares resolvers work, and it is what ends a
//! loop: a resolver of the node may well ask the cluster's DNS (systemd-resolved does, when told to), and a question that
//! comes back then waits for itself, once, until its time is over.

mod upstream;

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::OnceCell, time::timeout};

use upstream::Upstream;

use crate::wire::Question;

/// How long all resolvers together may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// Failures of a resolver in a row that have others asked instead.
const MAX_FAILS: u32 = 2;
/// Begins what is told apart by its bytes; no key of a question does.
const WHOLE_MESSAGE: u8 = 0xff;

/// What a question is told apart by, and whether it goes over TCP.
type Tag = (Vec<u8>, bool);
/// What the one who asks will have learnt.
type Pending = Arc<OnceCell<Option<Vec<u8>>>>;

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// A message, under an id of the resolver's.
    Answer(Vec<u8>),
    /// No resolver has answered.
    Nothing,
}

/// Resolvers that are asked the same.
pub struct Forwarder {
    upstreams: Vec<Arc<Upstream>>,
    /// What is being asked. As many as the server lets wait.
    pending: Mutex<HashMap<Tag, Pending>>,
}

impl Forwarder {
    pub fn new(resolvers: Vec<SocketAddr>) -> Self {
        let upstreams = resolvers.into_iter();
        Self {
            upstreams: upstreams
                .map(|address| Upstream::new(address, MAX_FAILS))
                .collect(),
            pending: Mutex::default(),
        }
    }

    /// Puts a whole message to the resolvers.
    pub async fn ask(&self, query: &[u8], tcp: bool) -> Asked {
        let tag = (tag(query), tcp);
        let pending = self.pending.lock().entry(tag.clone()).or_default().clone();
        let waiting = Waiting {
            forwarder: self,
            tag: Some(tag),
            pending,
        };
        let answer = waiting.pending.get_or_init(|| self.exchange(query, tcp));
        match answer.await {
            Some(answer) => Asked::Answer(answer.clone()),
            None => Asked::Nothing,
        }
    }

    async fn exchange(&self, query: &[u8], tcp: bool) -> Option<Vec<u8>> {
        let asking = async {
            for upstream in self.in_order() {
                if let Some(answer) = upstream.ask(query, tcp).await {
                    return Some(answer);
                }
            }
            None
        };
        timeout(DEADLINE, asking).await.ok().flatten()
    }

    /// Those that are there come first; if none is, the one that comes back may be any.
    fn in_order(&self) -> Vec<Arc<Upstream>> {
        let mut upstreams = self.upstreams.clone();
        upstreams.sort_by_key(|upstream| upstream.is_down());
        upstreams
    }
}

/// The bytes by which a message is the same as another: an ordinary question's key, which spelling does not change; anything else but
/// the id otherwise.
fn tag(query: &[u8]) -> Vec<u8> {
    if let Some(question) = Question::read(query) {
        let extended = u8::from(question.extension.is_some());
        return [question.key().bytes(), &[extended]].concat();
    }
    [&[WHOLE_MESSAGE], query.get(2..).unwrap_or_default()].concat()
}

/// One who waits for an answer.
struct Waiting<'a> {
    forwarder: &'a Forwarder,
    tag: Option<Tag>,
    pending: Pending,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(tag) = self.tag.take() else { return };
        // The first to be here; a later one may have begun anew.
        if let Entry::Occupied(entry) = self.forwarder.pending.lock().entry(tag)
            && Arc::ptr_eq(entry.get(), &self.pending)
        {
            entry.remove();
        }
    }
}
