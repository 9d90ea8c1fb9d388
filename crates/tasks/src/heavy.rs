//! Work that would hold a thread of the runtime for long.

use std::sync::{Arc, LazyLock};

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::turns::Turns;

static PLACES: LazyLock<Arc<Turns>> = LazyLock::new(|| Turns::new(cores()));

/// Does work of milliseconds to seconds that waits for nothing: off the threads that everything else (health, watches, leases)
/// needs, on as many at once as there are cores, and in turn with what others have asked for (see [`on_behalf_of`](crate::on_behalf_of)).
///
/// Who waits keeps a thread, so callers have a limit of their own: the requests that a server has at once.
pub fn heavy<T>(work: impl FnOnce() -> T) -> T {
    let Ok(runtime) = Handle::try_current() else {
        // Nobody to make way for.
        return work();
    };
    // On a runtime of one thread (tests) there is nowhere else to go.
    if runtime.runtime_flavor() != RuntimeFlavor::MultiThread {
        return work();
    }
    let turn = PLACES.take();
    tokio::task::block_in_place(|| {
        let _turn = runtime.block_on(turn);
        work()
    })
}

/// Waits for something that others do, or for a disk, off the threads that everything else needs.
///
/// Who waits keeps a thread: callers have a limit of their own.
pub fn waiting<T>(wait: impl FnOnce() -> T) -> T {
    match Handle::try_current() {
        Ok(runtime) if runtime.runtime_flavor() == RuntimeFlavor::MultiThread => {
            tokio::task::block_in_place(wait)
        }
        _ => wait(),
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::mpsc, thread, time::Duration};

    use tokio::runtime::Runtime;

    use super::*;
    use crate::on_behalf_of;

    const DEADLINE: Duration = Duration::from_secs(60);

    fn runtime() -> Runtime {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime")
    }

    /// The other thread of two would have to answer while both are busy.
    #[test]
    fn others_go_on_meanwhile() {
        let runtime = runtime();
        for reckons in [true, false] {
            let (began, begun) = mpsc::channel();
            let (answered, answers) = mpsc::channel();
            let work = move || {
                began.send(()).expect("somebody listens");
                answers.recv_timeout(DEADLINE).is_ok()
            };
            let busy = runtime.spawn(async move {
                match reckons {
                    true => heavy(work),
                    false => waiting(work),
                }
            });
            begun.recv_timeout(DEADLINE).expect("it begins");
            runtime.spawn(async move { answered.send(()) });
            assert!(runtime.block_on(busy).expect("it ends"), "nobody answered");
        }
    }

    /// Who has asked for much before keeps another waiting for as much as is being done, and one more.
    #[test]
    fn nobody_waits_for_all_that_others_have_asked_for() {
        let runtime = runtime();
        let (began, begun) = mpsc::channel();
        let mut asked = 0;
        let mut ask = |owner: &'static str| {
            let (end, ended) = mpsc::channel();
            let began = began.clone();
            let work = move || {
                began.send((owner, end)).expect("somebody listens");
                ended.recv_timeout(DEADLINE).expect("its end");
            };
            runtime.spawn(on_behalf_of(owner.into(), async { heavy(work) }));
            asked += 1;
            while asked > cores() && PLACES.waiting() < asked - cores() {
                thread::yield_now();
            }
        };
        (0..4 * cores()).for_each(|_| ask("many"));
        ask("one");
        // Who has a place has begun before the next place is given back: the order is that of the turns, not of the threads.
        let begins = || -> (&str, mpsc::Sender<()>) { begun.recv_timeout(DEADLINE).expect("more") };
        let mut running: VecDeque<_> = (0..cores()).map(|_| begins()).collect();
        let mut order = Vec::new();
        while let Some((owner, end)) = running.pop_front() {
            order.push(owner);
            end.send(()).expect("it waits");
            if order.len() + running.len() < asked {
                running.push_back(begins());
            }
        }
        let place = order.iter().position(|owner| *owner == "one");
        assert!(place <= Some(cores() + 1), "{order:?}");
    }
}
