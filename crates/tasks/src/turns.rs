//! Places that are given in turn to those who want them: nobody who wants many keeps another waiting for more than one of them.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

tokio::task_local! {
    /// For whom the task works.
    static OWNER: Arc<str>;
}

/// Runs work for somebody, who is then the [`owner`] of what it takes.
pub async fn on_behalf_of<T>(owner: Arc<str>, work: impl Future<Output = T>) -> T {
    OWNER.scope(owner, work).await
}

/// For whom this task works; nobody unless it was said by [`on_behalf_of`].
pub fn owner() -> Arc<str> {
    OWNER.try_with(Arc::clone).unwrap_or_default()
}

/// So many places. Who finds none waits, in the order of those of the same owner; owners take turns.
#[derive(Debug)]
pub struct Turns(Mutex<Waiting>);

#[derive(Debug)]
struct Waiting {
    free: usize,
    /// Whose turn it is next; those who wait, each once.
    owners: VecDeque<Arc<str>>,
    waiters: HashMap<Arc<str>, VecDeque<oneshot::Sender<Turn>>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub struct Turn(Option<Arc<Turns>>);

impl Turns {
    /// So many at a time.
    pub fn new(places: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Waiting {
            free: places,
            owners: VecDeque::new(),
            waiters: HashMap::new(),
        })))
    }

    /// A place for the [`owner`], once it is its turn. There is none only if the places are gone, which they are not while
    /// somebody holds them.
    pub fn take(self: &Arc<Self>) -> impl Future<Output = Option<Turn>> + Send + 'static {
        let wanted = self.want(owner());
        async move {
            match wanted {
                Ok(turn) => Some(turn),
                Err(waiting) => waiting.await.ok(),
            }
        }
    }

    /// A place, or where it will come.
    fn want(self: &Arc<Self>, owner: Arc<str>) -> Result<Turn, oneshot::Receiver<Turn>> {
        let mut waiting = self.lock();
        if waiting.free > 0 {
            waiting.free -= 1;
            return Ok(Turn(Some(Arc::clone(self))));
        }
        let (sender, receiver) = oneshot::channel();
        let waiters = waiting.waiters.entry(Arc::clone(&owner)).or_default();
        waiters.push_back(sender);
        if waiters.len() == 1 {
            waiting.owners.push_back(owner);
        }
        Err(receiver)
    }

    /// Gives a place to whoever is next, or keeps it.
    fn give(self: &Arc<Self>) {
        let mut waiting = self.lock();
        let mut turn = Turn(Some(Arc::clone(self)));
        while let Some(next) = waiting.next() {
            match next.send(turn) {
                Ok(()) => return,
                // It has left.
                Err(refused) => turn = refused,
            }
        }
        waiting.free += 1;
        // It is counted: there is nothing more to give back.
        turn.0 = None;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Places that nobody has.
    pub fn free(&self) -> usize {
        self.lock().free
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.lock().waiters.values().map(VecDeque::len).sum()
    }
}

impl Waiting {
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let owner = self.owners.pop_front()?;
        let waiters = self.waiters.get_mut(&owner)?;
        let next = waiters.pop_front();
        match waiters.is_empty() {
            true => drop(self.waiters.remove(&owner)),
            false => self.owners.push_back(owner),
        }
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.give();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::BoxFuture};

    use super::*;

    fn wait(turns: &Arc<Turns>, owner: &str) -> BoxFuture<'static, Option<Turn>> {
        let mut waiting = OWNER.sync_scope(owner.into(), || turns.take().boxed());
        assert!((&mut waiting).now_or_never().is_none(), "there is a place");
        waiting
    }

    #[tokio::test]
    async fn owners_take_turns() {
        let turns = Turns::new(1);
        let held = turns.take().await.expect("a place");
        let many = [wait(&turns, "a"), wait(&turns, "a"), wait(&turns, "a")];
        let [first, second, third] = many;
        let other = wait(&turns, "b");
        drop(held);
        let held = first.now_or_never().flatten().expect("the first");
        drop(held);
        let held = other.now_or_never().flatten().expect("the other's");
        drop(held);
        let held = second.now_or_never().flatten().expect("the second");
        drop(held);
        drop(third.now_or_never().flatten().expect("the third"));
        let waiting = turns.lock();
        assert!(waiting.free == 1 && waiting.owners.is_empty() && waiting.waiters.is_empty());
    }

    #[tokio::test]
    async fn who_has_left_takes_no_turn() {
        let turns = Turns::new(1);
        let held = turns.take().await.expect("a place");
        drop(wait(&turns, "a"));
        let (given, waiting) = (wait(&turns, "a"), wait(&turns, "b"));
        drop(held);
        // It was given a place that it does not take.
        drop(given);
        assert!(waiting.now_or_never().flatten().is_some());
        assert_eq!(turns.free(), 1);
    }
}
