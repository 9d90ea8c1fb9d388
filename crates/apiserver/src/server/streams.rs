//! The streams of one HTTP/2 connection, polled by the task of the connection.
//!
//! A stream that is a task of its own wakes the connection for each of its frames, which is then encrypted and written alone: a client
//! with a hundred watches gets a hundred writes for one event. Polled together, they fill one.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::task::coop::unconstrained;

/// Times that a connection and its streams are polled in turn before others get theirs.
const ROUNDS: usize = 4;

/// Where the connection puts its new streams.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<Vec<BoxFuture<'static, ()>>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        // The streams take turns by themselves, and a budget that ends among them would keep the connection from writing.
        self.0.lock().push(Box::pin(unconstrained(stream)));
    }
}

/// A connection with its streams. Those that are left when it ends end with it.
pub struct Together<C> {
    connection: Pin<Box<C>>,
    new: Streams,
    streams: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl<C: Future> Together<C> {
    /// `connection` puts its streams into `new`.
    pub fn new(connection: C, new: Streams) -> Together<C> {
        Together {
            connection: Box::pin(connection),
            new,
            streams: FuturesUnordered::new(),
        }
    }

    pub fn connection(&mut self) -> Pin<&mut C> {
        self.connection.as_mut()
    }

    /// Polls the streams that can go on. Whether any is over.
    fn poll_streams(&mut self, context: &mut Context<'_>) -> bool {
        self.streams.extend(self.new.0.lock().drain(..));
        let mut any = false;
        while let Poll::Ready(Some(())) = self.streams.poll_next_unpin(context) {
            any = true;
        }
        any
    }
}

impl<C: Future> Future for Together<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<C::Output> {
        // What streams have to say is written by the connection in the same turn.
        self.poll_streams(context);
        for _ in 0..ROUNDS {
            if let Poll::Ready(ended) = self.connection.as_mut().poll(context) {
                return Poll::Ready(ended);
            }
            let is_quiet = self.new.0.lock().is_empty();
            if !self.poll_streams(context) && is_quiet {
                return Poll::Pending;
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::sync::Notify;

    use super::*;

    /// Streams are polled with the connection, as often as it is, and new ones at once.
    #[tokio::test]
    async fn streams_run_with_their_connection() {
        let streams = Streams::default();
        let (said, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (new, says) = (streams.clone(), said.clone());
        let hears = heard.clone();
        let connection = async move {
            for _ in 0..3 {
                let (says, hears) = (says.clone(), hears.clone());
                new.execute(async move {
                    says.notified().await;
                    hears.notify_one();
                });
            }
            for _ in 0..3 {
                said_by(&says);
                hears.notified().await;
            }
            7
        };
        let mut together = Together::new(connection, streams);
        assert_eq!((&mut together).await, 7);
        assert!(together.streams.is_empty());
    }

    fn said_by(notify: &Notify) {
        notify.notify_one();
    }

    /// A stream that is always ready keeps neither the connection from its turn nor others of the thread.
    #[tokio::test]
    async fn a_busy_stream_leaves_the_others_their_turn() {
        let streams = Streams::default();
        streams.execute(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        let connection = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        let together = Together::new(connection, streams);
        let other = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(together, other);
    }

    /// What a stream holds is let go with its connection.
    #[tokio::test]
    async fn streams_end_with_their_connection() {
        let streams = Streams::default();
        let held = Arc::new(());
        let holds = held.clone();
        streams.execute(async move {
            std::future::pending::<()>().await;
            drop(holds);
        });
        Together::new(async {}, streams).await;
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
