//! Bodies on their way through: bounded, timed, and of a request that nobody took, sent again.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::time::{Instant, Sleep};

use crate::mirrored::{BoxError, Copied, Copies};

/// The body of an answer.
pub type Answer = UnsyncBoxBody<Bytes, BoxError>;

/// A body that is there already.
pub fn full(text: impl Into<Bytes>) -> Answer {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// When something last moved.
#[derive(Debug)]
pub struct Activity {
    start: Instant,
    /// Milliseconds after the start.
    last: AtomicU64,
}

impl Activity {
    pub fn now() -> Arc<Self> {
        Arc::new(Self {
            start: Instant::now(),
            last: AtomicU64::new(0),
        })
    }

    pub fn note(&self) {
        let passed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(passed, Ordering::Relaxed);
    }

    /// Waits until nothing has moved for so long.
    pub async fn over(&self, period: Duration) {
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = self
                .start
                .checked_add(last)
                .and_then(|at| at.checked_add(period));
            match end {
                Some(end) if end > Instant::now() => tokio::time::sleep_until(end).await,
                _ => return,
            }
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the body is longer than allowed")]
struct TooLong;

/// The body of a request. Clones share it: one that was not looked at can be sent to somebody else.
#[derive(Clone)]
pub struct Outgoing {
    held: Arc<Mutex<Held>>,
    activity: Arc<Activity>,
    too_long: Arc<AtomicBool>,
}

struct Held {
    body: Incoming,
    /// Bytes that may still come.
    left: Option<u64>,
    copies: Copies,
}

impl Outgoing {
    pub fn new(body: Incoming, limit: Option<u64>, activity: Arc<Activity>) -> Self {
        Self {
            held: Arc::new(Mutex::new(Held {
                body,
                left: limit,
                copies: Copies::default(),
            })),
            activity,
            too_long: Arc::default(),
        }
    }

    /// A copy of what passes. Only before anything has.
    pub fn copy(&self) -> Copied {
        let mut held = self.held.lock();
        let size = held.body.size_hint();
        held.copies.add(size)
    }

    /// Whether it was cut off at its limit.
    pub fn was_too_long(&self) -> bool {
        self.too_long.load(Ordering::Relaxed)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut held = self.held.lock();
        let polled = Pin::new(&mut held.body).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else {
            if matches!(polled, Poll::Ready(None)) {
                held.copies.end();
            }
            return polled.map_err(BoxError::from);
        };
        self.activity.note();
        let bytes = frame.data_ref().map_or(0, Buf::remaining);
        if let Some(left) = held.left {
            let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
            let Some(left) = left.checked_sub(bytes) else {
                self.too_long.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(TooLong.into())));
            };
            held.left = Some(left);
        }
        if let Some(data) = frame.data_ref() {
            held.copies.pass(data);
        }
        // Nobody asks again for what is known to have ended.
        if held.body.is_end_stream() {
            held.copies.end();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.held.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.held.lock().body.size_hint()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the backend has sent nothing for {0:?}, or not all of it in time")]
struct Silent(Duration);

/// The body of a backend's answer, which ends in an error when nothing comes for too long. What it holds is let go with it.
pub struct Timed<T> {
    body: Incoming,
    period: Duration,
    /// When it has to have ended.
    deadline: Option<Instant>,
    silent: Pin<Box<Sleep>>,
    _held: T,
}

impl<T> Timed<T> {
    pub fn new(body: Incoming, period: Duration, deadline: Option<Instant>, held: T) -> Self {
        let end = end(period, deadline);
        Self {
            body,
            period,
            deadline,
            silent: Box::pin(tokio::time::sleep_until(end)),
            _held: held,
        }
    }
}

/// Until when something has to move.
fn end(period: Duration, deadline: Option<Instant>) -> Instant {
    let now = Instant::now();
    let end = now.checked_add(period).unwrap_or(now);
    deadline.map_or(end, |deadline| end.min(deadline))
}

impl<T: Unpin> Body for Timed<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(polled) => {
                let end = end(this.period, this.deadline);
                this.silent.as_mut().reset(end);
                Poll::Ready(polled.map(|frame| frame.map_err(BoxError::from)))
            }
            Poll::Pending => match this.silent.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Silent(this.period).into()))),
                Poll::Pending => Poll::Pending,
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
