//! Tasks whose failure nobody can miss.
//!
//! A part that has panicked, or a loop that has ended although it must not, leaves a process that looks well and does half of
//! its work. So there is one way to fail: [`on_failure`] names what the program does then, once, and from there on
//!
//! - every panic, in a task, a blocking call or a thread, is told with the task's name and place;
//! - every task of [`Tasks::keep`] that ends before it is stopped is told.
//!
//! The binary says it in one line and ends; containers go on, and the next start finds them. Components spawn by [`Tasks`], or
//! by [`spawn`] what lives as long as a connection; tokio's own `spawn` is for this crate (`cargo xtask tidy` looks).
//!
//! What users can have any number of has a limit, for each of them and in all: [`Quota`] refuses, [`Shares`] waits, [`Turns`] serves them in
//! turn, [`Connections`] keeps those whom nobody knows yet, and [`accept`] lets the next in. What takes long to reckon makes way for
//! everything else ([`heavy`]), and is not begun when nobody waits for it any more ([`until`]).
//!
//! What a request does is caught ([`caught`], and [`caught_on_stack`] for what goes deep): a user who finds a panic must not have found
//! a way to end the cluster.
//!
//! Rejected: catching panics where tasks are awaited (a task that nobody awaits is the one that is missed, and what shared state
//! a panic leaves behind is anybody's guess), and `panic = "abort"` (it says neither who nor what to the log).

mod accept;
mod connections;
mod deadline;
mod heavy;
mod quota;
mod share;
mod stack;
mod turns;

use std::{
    borrow::Cow,
    cell::RefCell,
    fmt,
    future::Future,
    io,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::OnceLock,
    thread,
};

use futures::FutureExt;
use tokio::{runtime, sync::oneshot, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use accept::accept;
pub use connections::{Connection, Connections};
pub use deadline::{Late, deadline, is_late, until};
pub use heavy::{heavy, waiting};
pub use quota::{Full, Place, Quota};
pub use share::{Share, Shares};
pub use stack::caught_on_stack;
pub use turns::{Turn, Turns, on_behalf_of, owner};

tokio::task_local! {
    /// Who is being polled.
    static NAME: Cow<'static, str>;
    /// There is somebody who answers for a panic.
    static IS_CAUGHT: ();
}

thread_local! {
    /// The last panic that somebody answers for, on its way there.
    static CAUGHT: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

static ON_FAILURE: OnceLock<fn(&Failure)> = OnceLock::new();

/// A task that has failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The task's name, or its thread's.
    pub who: String,
    /// In one line.
    pub what: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.who, self.what)
    }
}

/// Calls `handler` for every failure from now on, in the thread where it happens. Once in a process; without it panics are as
/// usual, and so are tests.
pub fn on_failure(handler: fn(&Failure)) {
    if ON_FAILURE.set(handler).is_ok() {
        panic::set_hook(Box::new(|info| {
            let failure = panicked(info);
            match IS_CAUGHT.try_with(|()| ()) {
                Ok(()) => CAUGHT.set(Some(failure)),
                Err(_) => report(&failure),
            }
        }));
    }
}

/// Runs work that somebody sent in, whose panic is the sender's answer and not the end of everybody's process. Only where
/// nothing is shared that a panic could leave half done.
pub async fn caught<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let ended = IS_CAUGHT.scope((), AssertUnwindSafe(work).catch_unwind());
    ended.await.map_err(|_| {
        CAUGHT.take().unwrap_or_else(|| Failure {
            who: "the work".to_owned(),
            what: "panicked".to_owned(),
        })
    })
}

fn report(failure: &Failure) {
    match ON_FAILURE.get() {
        Some(handler) => handler(failure),
        None => eprintln!("{failure}"),
    }
}

fn panicked(info: &PanicHookInfo<'_>) -> Failure {
    let thread = || {
        let thread = thread::current();
        thread.name().unwrap_or("a thread").to_owned()
    };
    let payload = info.payload();
    let message = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message");
    let place = info
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    Failure {
        who: NAME
            .try_with(ToString::to_string)
            .unwrap_or_else(|_| thread()),
        what: format!("panicked at {place}: {}", message.replace('\n', " ")),
    }
}

/// Runs a task that belongs to a connection or a call, and ends with it.
pub fn spawn<T: Send + 'static>(
    name: impl Into<Cow<'static, str>>,
    work: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(NAME.scope(name.into(), work))
}

/// The tasks of a component, which are stopped together. Clones share them.
#[derive(Clone, Debug)]
pub struct Tasks {
    tracker: TaskTracker,
    token: CancellationToken,
}

impl Tasks {
    /// Tasks that are to end when `token` is cancelled.
    pub fn new(token: CancellationToken) -> Self {
        Self {
            tracker: TaskTracker::new(),
            token,
        }
    }

    /// What tells the tasks to end.
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Runs a task that may end when it has done its work.
    pub fn spawn<T: Send + 'static>(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.tracker.spawn(NAME.scope(name.into(), work))
    }

    /// Runs a task that must not end before it is told to.
    pub fn keep(
        &self,
        name: impl Into<Cow<'static, str>>,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let name = name.into();
        let token = self.token.clone();
        self.tracker.spawn(NAME.scope(name.clone(), async move {
            work.await;
            if !token.is_cancelled() {
                report(&Failure {
                    who: name.into_owned(),
                    what: "ended by itself".to_owned(),
                });
            }
        }));
    }

    /// Runs a task that must not end before it is told to, with everything that it spawns, on a thread of its own: long work of
    /// its holds up nobody who waits for one of the runtime's threads.
    ///
    /// # Errors
    ///
    /// Where the system has no thread to give.
    pub fn keep_apart<W: Future<Output = ()>>(
        &self,
        name: &'static str,
        work: impl FnOnce() -> W + Send + 'static,
    ) -> io::Result<()> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                runtime.block_on(NAME.scope(name.into(), async move { work().await }));
                runtime.shutdown_background();
                drop(alive);
            })?;
        self.keep(name, async move {
            // It says nothing, it is dropped at the end.
            let _ = ended.await;
        });
        Ok(())
    }

    /// How many have not ended.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether all have ended.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits until all have ended; to be called after the token was cancelled.
    pub async fn stopped(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// On a runtime of one thread: work that held it up would never hear the answer.
    #[tokio::test]
    async fn long_work_apart_holds_up_nobody() {
        let token = CancellationToken::new();
        let tasks = Tasks::new(token.clone());
        let (asked, question) = oneshot::channel();
        let (answer, answered) = mpsc::channel();
        let stop = token.clone();
        let work = move || async move {
            asked.send(()).expect("somebody listens");
            answered.recv().expect("an answer, while this thread waits");
            let spawned = tokio::spawn(async { 7 });
            assert_eq!(spawned.await.ok(), Some(7));
            stop.cancelled().await;
        };
        tasks.keep_apart("long work", work).expect("a thread");
        question.await.expect("a question");
        answer.send(()).expect("somebody listens");
        token.cancel();
        tasks.stopped().await;
    }
}
