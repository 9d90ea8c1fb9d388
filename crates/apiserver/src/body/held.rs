//! An answer that holds what its request took until it is sent: who reads slowly keeps no memory of the server's for free.

use std::{
    any::Any,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::Instant};

use super::{Body, BoxError, CHUNK_BYTES};

/// What a request took, such as its seat; given back when dropped.
pub type Guard = Box<dyn Any + Send>;

/// A body with what is held for it. At its deadline both are given back, and the answer breaks off.
pub struct Held {
    inner: Arc<Mutex<Option<Inner>>>,
    /// Bytes to come, where that is known.
    left: Option<u64>,
    is_over: bool,
    timer: AbortHandle,
}

struct Inner {
    body: Body,
    /// Of a piece that is too large to be handed on at once: the connection keeps what it was handed.
    rest: Bytes,
    _guard: Guard,
}

impl Held {
    pub(super) fn new(body: Body, guard: Guard, until: Instant) -> Held {
        let left = body.size_hint().exact();
        let inner = Arc::new(Mutex::new(Some(Inner {
            body,
            rest: Bytes::new(),
            _guard: guard,
        })));
        let late = Arc::downgrade(&inner);
        // A connection whose client does not read asks for nothing, and would not hear of a timer.
        let timer = knarr_tasks::spawn("the end of an answer", async move {
            tokio::time::sleep_until(until).await;
            if let Some(inner) = late.upgrade() {
                inner.lock().take();
            }
        });
        Held {
            inner,
            left,
            is_over: false,
            timer: timer.abort_handle(),
        }
    }

    pub(super) fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let mut held = self.inner.lock();
        let Some(inner) = held.as_mut() else {
            self.is_over = true;
            let late = "the answer was not read within the time of its request";
            return Poll::Ready(Some(Err(late.into())));
        };
        while inner.rest.is_empty() {
            match ready!(Pin::new(&mut inner.body).poll_frame(context)) {
                Some(Ok(frame)) => inner.rest = frame.into_data().unwrap_or_default(),
                end => {
                    *held = None;
                    self.is_over = true;
                    return Poll::Ready(end);
                }
            }
        }
        let length = inner.rest.len().min(CHUNK_BYTES);
        let piece = inner.rest.split_to(length);
        if inner.rest.is_empty() && inner.body.is_end_stream() {
            *held = None;
            self.is_over = true;
        }
        self.left = self.left.map(|left| left.saturating_sub(length as u64));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn size(&self) -> SizeHint {
        self.left
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    struct Seat(Arc<()>);

    fn held(body: Body) -> (Body, std::sync::Weak<()>) {
        let seat = Arc::new(());
        let weak = Arc::downgrade(&seat);
        let guard = Box::new(Seat(seat));
        assert_eq!(Arc::strong_count(&guard.0), 1);
        (body.held(guard, Instant::now() + LIMIT), weak)
    }

    async fn next(body: &mut Body) -> Option<Result<Bytes, String>> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        Some(match frame {
            Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
            Err(error) => Err(error.to_string()),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_seat_is_kept_until_the_answer_is_sent() {
        let bytes = Bytes::from(vec![7; CHUNK_BYTES * 2 + 1]);
        let (mut body, seat) = held(Body::from(bytes.clone()));
        assert_eq!(body.size_hint().exact(), Some(bytes.len() as u64));
        let mut sent = 0;
        while seat.strong_count() > 0 {
            assert!(!body.is_end_stream());
            sent += next(&mut body)
                .await
                .expect("a piece")
                .expect("no error")
                .len();
        }
        assert_eq!(sent, bytes.len());
        assert!(body.is_end_stream());
        assert_eq!(next(&mut body).await, None);
        // One that nobody waits for gives it back, too.
        let (body, seat) = held(Body::from(bytes));
        drop(body);
        assert_eq!(seat.strong_count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_loses_the_answer_with_the_seat() {
        let (mut body, seat) = held(Body::from(vec![7; CHUNK_BYTES * 2]));
        assert!(next(&mut body).await.expect("a piece").is_ok());
        assert_eq!(seat.strong_count(), 1);
        tokio::time::sleep(LIMIT + Duration::from_secs(1)).await;
        assert_eq!(seat.strong_count(), 0, "nobody polls the body meanwhile");
        assert!(next(&mut body).await.expect("its end").is_err());
        assert_eq!(next(&mut body).await, None);
    }
}
