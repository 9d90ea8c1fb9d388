//! Who is woken by which event: watchers by namespace, object and node, so that idle watchers cost an event nothing.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::{filter::Route, ring::RingEvent};

/// The first event that may concern a watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    pub sequence: u64,
    pub revision: u64,
}

/// The bell of one watcher: which event first concerns it, and its task.
#[derive(Debug)]
pub struct Slot {
    first: Mutex<Option<First>>,
    waker: AtomicWaker,
}

impl Slot {
    fn ring(&self, event: First) {
        {
            let mut first = self.first.lock();
            if first.is_none_or(|f| f.sequence > event.sequence) {
                *first = Some(event);
            }
        }
        self.waker.wake();
    }

    /// Registers the task; call before [`Slot::take`].
    pub fn register(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
    }

    /// Marks an event as unseen again and asks for another turn.
    pub fn again(&self, event: First) {
        self.ring(event);
    }

    /// An event waits.
    pub fn pending(&self) -> bool {
        self.first.lock().is_some()
    }

    /// The first event that may concern the watcher since the last call.
    pub fn take(&self) -> Option<First> {
        self.first.lock().take()
    }
}

/// The watchers of one resource.
#[derive(Debug, Default)]
pub struct Routes {
    slots: Mutex<HashMap<Route, HashMap<u64, Arc<Slot>>>>,
    next: AtomicU64,
    count: AtomicUsize,
}

/// Keeps a watcher registered.
#[derive(Debug)]
pub struct Registration {
    route: Route,
    id: u64,
    pub slot: Arc<Slot>,
}

/// A registration that ends with it.
pub struct Bell<'r> {
    routes: &'r Routes,
    registration: Registration,
}

impl Bell<'_> {
    pub fn slot(&self) -> &Slot {
        &self.registration.slot
    }
}

impl Drop for Bell<'_> {
    fn drop(&mut self) {
        self.routes.remove(&self.registration);
    }
}

impl Routes {
    /// As [`Routes::add`], for as long as the bell lives.
    pub fn bell(&self, route: Route) -> Bell<'_> {
        Bell {
            routes: self,
            registration: self.add(route),
        }
    }

    /// Registers a watcher whose first look begins at the start of its range.
    pub fn add(&self, route: Route) -> Registration {
        let slot = Arc::new(Slot {
            first: Mutex::new(Some(First {
                sequence: 0,
                revision: 0,
            })),
            waker: AtomicWaker::new(),
        });
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.slots
            .lock()
            .entry(route.clone())
            .or_default()
            .insert(id, slot.clone());
        self.count.fetch_add(1, Ordering::Relaxed);
        Registration { route, id, slot }
    }

    pub fn remove(&self, registration: &Registration) {
        let mut slots = self.slots.lock();
        if let Some(there) = slots.get_mut(&registration.route) {
            if there.remove(&registration.id).is_some() {
                self.count.fetch_sub(1, Ordering::Relaxed);
            }
            if there.is_empty() {
                slots.remove(&registration.route);
            }
        }
    }

    /// How many watch.
    pub fn watchers(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Wakes whom the event may concern; the event is already in the ring.
    pub fn wake(&self, event: &RingEvent, sequence: u64, indexed_field: Option<usize>) {
        if self.watchers() == 0 {
            return;
        }
        let Some(state) = event.new.as_ref().or(event.old.as_ref()) else {
            return;
        };
        let first = First {
            sequence,
            revision: event.revision,
        };
        let slots = self.slots.lock();
        let ring = |route: &Route| {
            for slot in slots.get(route).into_iter().flat_map(HashMap::values) {
                slot.ring(first);
            }
        };
        ring(&Route::All);
        let (namespace, _) = state.namespaced_name();
        if !namespace.is_empty() {
            ring(&Route::Namespace(namespace.into()));
        }
        ring(&Route::Object((&*state.key).into()));
        if let Some(at) = indexed_field {
            let node = |e: &Option<Arc<super::entry::Entry>>| {
                e.as_ref().and_then(|e| e.fields.get(at)).cloned()
            };
            let (new, old) = (node(&event.new), node(&event.old));
            let moved = old != new;
            for node in [new, old.filter(|_| moved)].into_iter().flatten() {
                ring(&Route::Node(node));
            }
        }
    }
}
