//! The watch cache of one resource: current objects in key order, and the ring that can take them back to any recent revision.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::poll_fn,
    ops::Bound,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use knarr_api::Kind;
use knarr_meta::status::Status;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{
    damaged::Damaged,
    entry::Entry,
    filter::{Filter, Route, indexed_field},
    ring::{Ring, RingEvent},
    routes::Routes,
};

/// Objects and recent events of a resource.
pub struct ResourceCache {
    pub kind: Arc<Kind>,
    /// Key prefix in the store, with trailing slash.
    pub prefix: String,
    state: RwLock<State>,
    pub damaged: Damaged,
    pub(super) routes: Routes,
    /// The server-wide published revision.
    published: Arc<AtomicU64>,
    indexed_field: Option<usize>,
    /// Cancelled when the resource is served no more: watches end.
    pub(super) ended: CancellationToken,
}

pub(super) struct State {
    objects: BTreeMap<Arc<str>, Arc<Entry>>,
    /// Objects by namespace, so that a page knows what remains without walking.
    counts: HashMap<Box<str>, usize>,
    /// Sizes of all objects.
    bytes: u64,
    /// Keys by value of the indexed field.
    by_field: HashMap<Box<str>, BTreeSet<Arc<str>>>,
    pub(super) ring: Ring,
    /// Revision of the last event applied.
    applied: u64,
}

/// What a list wants.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Exclusive start key, or inclusive where it ends in a NUL as upstream's continue tokens do.
    pub start: Option<&'a str>,
    /// 0: no limit.
    pub limit: usize,
}

/// A consistent piece of a resource.
#[derive(Debug, Default)]
pub struct Slice {
    pub revision: u64,
    pub entries: Vec<Arc<Entry>>,
    /// The page is full and objects follow its last entry, as upstream tells it: whether they match is found out with the next page.
    pub more: bool,
    /// How many follow, where that is known (no selectors).
    pub remaining: Option<u64>,
}

impl ResourceCache {
    /// A cache with the objects of the revision that the empty ring begins after.
    pub fn new(
        kind: Arc<Kind>,
        prefix: String,
        published: Arc<AtomicU64>,
        ring: Ring,
        entries: Vec<Arc<Entry>>,
        ended: CancellationToken,
    ) -> ResourceCache {
        let mut state = State {
            objects: BTreeMap::new(),
            counts: HashMap::new(),
            bytes: 0,
            by_field: HashMap::new(),
            applied: ring.floor(),
            ring,
        };
        let indexed_field = indexed_field(&kind);
        for entry in entries {
            state.put(entry, indexed_field);
        }
        ResourceCache {
            kind,
            prefix,
            state: RwLock::new(state),
            damaged: Damaged::default(),
            routes: Routes::default(),
            published,
            indexed_field,
            ended,
        }
    }

    /// Applies one event of the store, in order, and wakes the watchers it may concern. `new` absent: deleted.
    pub fn apply(&self, key: &str, revision: u64, new: Option<Arc<Entry>>) {
        self.damaged.forget(key);
        let (event, sequence) = {
            let mut state = self.state.write();
            let old = match &new {
                Some(entry) => state.put(entry.clone(), self.indexed_field),
                None => state.remove(key, self.indexed_field),
            };
            state.applied = revision;
            if new.is_none() && old.is_none() {
                return;
            }
            let event = Arc::new(RingEvent::new(revision, new, old));
            let sequence = state.ring.push(event.clone());
            (event, sequence)
        };
        self.routes.wake(&event, sequence, self.indexed_field);
    }

    /// Forgets the events that the store's history does not reach back to any more.
    pub(super) fn forget(&self, revision: u64) {
        self.state.write().ring.forget(revision);
    }

    /// The current state of one object.
    pub fn get(&self, key: &str) -> Option<Arc<Entry>> {
        self.state.read().objects.get(key).cloned()
    }

    /// [`ResourceCache::get`] for whom it makes a difference that an object cannot be read.
    pub fn find(&self, key: &str) -> Result<Option<Arc<Entry>>, Status> {
        match self.get(key) {
            None => self.damaged.status(key).map_or(Ok(None), Err),
            entry => Ok(entry),
        }
    }

    /// Waits for an object that somebody else is about to create. `None`: it did not come within `wait`.
    pub async fn appears(&self, key: &str, wait: Duration) -> Option<Arc<Entry>> {
        if let Some(entry) = self.get(key) {
            return Some(entry);
        }
        let bell = self.routes.bell(Route::Object(key.into()));
        let come = poll_fn(|cx| {
            bell.slot().register(cx.waker());
            self.get(key).map_or(Poll::Pending, Poll::Ready)
        });
        timeout(wait, come).await.ok()
    }

    /// Waits for a change after the revision `since`.
    pub async fn changed(&self, since: u64) {
        let bell = self.routes.bell(Route::All);
        poll_fn(|cx| {
            bell.slot().register(cx.waker());
            match self.last_change() > since {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// The newest revision this resource's reads are consistent at.
    pub fn revision(&self) -> u64 {
        self.consistent(&self.state.read())
    }

    /// Revision of the last change of this resource.
    pub fn last_change(&self) -> u64 {
        self.state.read().applied
    }

    /// Open watches.
    pub fn watchers(&self) -> usize {
        self.routes.watchers()
    }

    pub fn len(&self) -> usize {
        self.state.read().objects.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many objects there are, and their bytes.
    pub fn extent(&self) -> (usize, u64) {
        let state = self.state.read();
        (state.objects.len(), state.bytes)
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read()
    }

    /// Lists the current state.
    pub fn list(&self, filter: &Filter, page: Page<'_>) -> Slice {
        self.list_in(&self.state.read(), filter, page)
    }

    fn list_in(&self, state: &State, filter: &Filter, page: Page<'_>) -> Slice {
        let mut slice = match self.narrow(state, filter, page) {
            Some(slice) => slice,
            None => collect(
                state.range(filter.namespace(), page.start),
                filter,
                page.limit,
            ),
        };
        slice.revision = self.consistent(state);
        if slice.more && filter.selects_everything() && slice.remaining.is_none() {
            let total = state.count(filter.namespace());
            let before = match page.start {
                None => slice.entries.len(),
                Some(_) => {
                    total - state.range(filter.namespace(), page.start).count()
                        + slice.entries.len()
                }
            };
            slice.remaining = Some((total - before) as u64);
        }
        slice
    }

    /// Lists the state at a past revision. `None`: the ring no longer reaches back that far.
    pub fn list_at(&self, filter: &Filter, page: Page<'_>, revision: u64) -> Option<Slice> {
        let state = self.state.read();
        // The oldest event above the revision has the state at the revision: it is written last.
        let mut undone: BTreeMap<&str, Option<&Arc<Entry>>> = BTreeMap::new();
        for event in state.ring.newest_down_to(revision)? {
            if let Some(entry) = event.old.as_ref().or(event.new.as_ref()) {
                undone.insert(&entry.key, event.old.as_ref());
            }
        }
        if undone.is_empty() {
            // Under the same lock: what comes after is newer than what was asked for.
            let mut slice = self.list_in(&state, filter, page);
            slice.revision = revision;
            return Some(slice);
        }
        let mut merged: BTreeMap<&str, &Arc<Entry>> = state
            .range(filter.namespace(), page.start)
            .map(|e| (&*e.key, e))
            .collect();
        let (prefix, start) = (
            namespace_prefix(filter.namespace()),
            page.start.unwrap_or(""),
        );
        for (key, old) in undone {
            match old {
                Some(old) if key.starts_with(&prefix) && key > start => merged.insert(key, old),
                _ => merged.remove(key),
            };
        }
        let mut slice = collect(merged.values().copied(), filter, page.limit);
        slice.revision = revision;
        if slice.more && filter.selects_everything() {
            slice.remaining = Some((merged.len() - slice.entries.len()) as u64);
        }
        Some(slice)
    }

    /// Objects by a value of the indexed field; `None` where the kind has no such index.
    pub fn by_field(&self, value: &str) -> Option<Vec<Arc<Entry>>> {
        self.indexed_field?;
        let state = self.state.read();
        let keys = state.by_field.get(value);
        Some(
            keys.into_iter()
                .flatten()
                .filter_map(|k| state.objects.get(k).cloned())
                .collect(),
        )
    }

    /// Lists by index where the filter names one object or one node.
    fn narrow(&self, state: &State, filter: &Filter, page: Page<'_>) -> Option<Slice> {
        let after = |e: &&Arc<Entry>| page.start.is_none_or(|start| &*e.key > start);
        if let Some(key) = filter.single_key(&self.kind) {
            return Some(collect(
                state.objects.get(&*key).into_iter().filter(after),
                filter,
                page.limit,
            ));
        }
        let node = filter.node(&self.kind)?;
        let keys = state.by_field.get(node).into_iter().flatten();
        Some(collect(
            keys.filter_map(|k| state.objects.get(k)).filter(after),
            filter,
            page.limit,
        ))
    }

    /// What was applied to this resource may be ahead of what is published; nothing of this resource is between the two.
    fn consistent(&self, state: &State) -> u64 {
        state.applied.max(self.published.load(Ordering::Acquire))
    }
}

impl State {
    fn put(&mut self, entry: Arc<Entry>, indexed: Option<usize>) -> Option<Arc<Entry>> {
        let key = entry.key.clone();
        let field = indexed.and_then(|at| entry.fields.get(at).cloned());
        self.bytes = self.bytes.saturating_add(entry.size() as u64);
        let old = self.objects.insert(key.clone(), entry);
        match &old {
            Some(old) => self.unindex(old, indexed),
            None => *self.counts.entry(namespace_of(&key).into()).or_default() += 1,
        }
        if let Some(value) = field {
            self.by_field.entry(value).or_default().insert(key);
        }
        old
    }

    fn remove(&mut self, key: &str, indexed: Option<usize>) -> Option<Arc<Entry>> {
        let old = self.objects.remove(key)?;
        self.unindex(&old, indexed);
        let namespace = namespace_of(key);
        if let Some(count) = self.counts.get_mut(namespace) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(namespace);
            }
        }
        Some(old)
    }

    fn unindex(&mut self, old: &Entry, indexed: Option<usize>) {
        self.bytes = self.bytes.saturating_sub(old.size() as u64);
        let Some(value) = indexed.and_then(|at| old.fields.get(at)) else {
            return;
        };
        if let Some(keys) = self.by_field.get_mut(value) {
            keys.remove(&old.key);
            if keys.is_empty() {
                self.by_field.remove(value);
            }
        }
    }

    fn count(&self, namespace: &str) -> usize {
        match namespace {
            "" => self.objects.len(),
            namespace => self.counts.get(namespace).copied().unwrap_or(0),
        }
    }

    fn range(&self, namespace: &str, start: Option<&str>) -> impl Iterator<Item = &Arc<Entry>> {
        let prefix = namespace_prefix(namespace);
        let from = match start {
            Some(start) if start > prefix.as_str() => Bound::Excluded(start),
            _ => Bound::Included(prefix.as_str()),
        };
        self.objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(move |(key, _)| key.starts_with(&prefix))
            .map(|(_, entry)| entry)
    }
}

fn collect<'a>(
    entries: impl Iterator<Item = &'a Arc<Entry>>,
    filter: &Filter,
    limit: usize,
) -> Slice {
    let mut slice = Slice::default();
    let everything = filter.selects_everything();
    let mut entries = entries;
    while let Some(entry) = entries.next() {
        if !everything && !filter.matches(entry) {
            continue;
        }
        slice.entries.push(entry.clone());
        if limit > 0 && slice.entries.len() == limit {
            slice.more = entries.next().is_some();
            break;
        }
    }
    slice
}

fn namespace_prefix(namespace: &str) -> String {
    match namespace {
        "" => String::new(),
        namespace => format!("{namespace}/"),
    }
}

fn namespace_of(key: &str) -> &str {
    key.split_once('/').map_or("", |(namespace, _)| namespace)
}

#[cfg(test)]
mod tests;
