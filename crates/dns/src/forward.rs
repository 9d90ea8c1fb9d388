//! Asks resolvers what others know.
//!
//! The same question is asked once at a time, whoever else wants the answer. That spares resolvers work, and it is what ends a
//! loop: a resolver of the node may well ask the cluster's DNS (systemd-resolved does, when told to), and a question that
//! comes back then waits for itself, once, until its time is over.

mod upstream;

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};

use upstream::Upstream;

use crate::wire::{Question, TRUNCATED};

/// How long all resolvers together may take.
const DEADLINE: Duration = Duration::from_secs(5);
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
    /// Too many are being asked.
    Refused,
}

/// Who of several resolvers is asked first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Sequential,
    Random,
    RoundRobin,
}

/// How resolvers are asked.
#[derive(Clone, Debug)]
pub struct Policy {
    pub order: Order,
    /// Failures of a resolver in a row that have others asked instead; zero where none do.
    pub max_fails: u32,
    /// How often one that has failed is asked whether it is back.
    pub probe_interval: Duration,
    /// Questions at once; what is more is refused.
    pub max_concurrent: Option<usize>,
    pub force_tcp: bool,
    /// By UDP also for who asks by TCP, while the answer fits.
    pub prefer_udp: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            order: Order::Sequential,
            max_fails: 2,
            probe_interval: Duration::from_millis(500),
            max_concurrent: None,
            force_tcp: false,
            prefer_udp: false,
        }
    }
}

/// Resolvers that are asked the same.
pub struct Forwarder {
    upstreams: Vec<Arc<Upstream>>,
    policy: Policy,
    /// How many questions may still be asked beside those that are.
    places: Option<Semaphore>,
    /// Whose turn it is.
    turn: AtomicUsize,
    /// What is being asked. As many as the server lets wait.
    pending: Mutex<HashMap<Tag, Pending>>,
}

impl Forwarder {
    pub fn new(resolvers: Vec<SocketAddr>, policy: Policy) -> Self {
        let upstreams = resolvers.into_iter();
        Self {
            upstreams: upstreams
                .map(|address| Upstream::new(address, policy.max_fails, policy.probe_interval))
                .collect(),
            places: policy
                .max_concurrent
                .map(|most| Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            turn: AtomicUsize::new(0),
            policy,
            pending: Mutex::default(),
        }
    }

    /// Puts a whole message to the resolvers.
    pub async fn ask(&self, query: &[u8], tcp: bool) -> Asked {
        let place = self.places.as_ref().map(Semaphore::try_acquire);
        let Some(_place) = place.map_or(Some(None), |place| place.ok().map(Some)) else {
            return Asked::Refused;
        };
        if tcp && self.policy.prefer_udp && !self.policy.force_tcp {
            match self.ask_by(query, false).await {
                Asked::Answer(answer) if is_truncated(&answer) => {}
                asked => return asked,
            }
        }
        self.ask_by(query, tcp || self.policy.force_tcp).await
    }

    async fn ask_by(&self, query: &[u8], tcp: bool) -> Asked {
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
        match self.policy.order {
            Order::Sequential => {}
            Order::Random => fastrand::shuffle(&mut upstreams),
            Order::RoundRobin => {
                let turn = self.turn.fetch_add(1, Ordering::Relaxed);
                let first = turn.checked_rem(upstreams.len()).unwrap_or_default();
                upstreams.rotate_left(first);
            }
        }
        upstreams.sort_by_key(|upstream| upstream.is_down());
        upstreams
    }
}

fn is_truncated(answer: &[u8]) -> bool {
    answer.get(2).is_some_and(|flags| flags & TRUNCATED != 0)
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
