//! Copies of a request's body as it passes, for mirrors: nobody waits for them, and who is too slow gets no more of it.

use std::{
    error::Error as StdError,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Why a body breaks off.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Frames that a mirror may be behind.
const MAX_BEHIND: usize = 64;

enum Part {
    Data(Bytes),
    End,
}

/// Those who get copies.
#[derive(Default)]
pub struct Copies(Vec<Sender<Part>>);

impl Copies {
    /// One more, of a body of this size. Only before any of it has passed.
    pub fn add(&mut self, size: SizeHint) -> Copied {
        let (sender, receiver) = channel(MAX_BEHIND);
        if size.exact() == Some(0) {
            // There is room for it.
            let _ = sender.try_send(Part::End);
        }
        self.0.push(sender);
        Copied {
            receiver,
            size,
            ended: false,
        }
    }

    pub fn pass(&mut self, data: &Bytes) {
        self.0
            .retain(|copy| copy.try_send(Part::Data(data.clone())).is_ok());
    }

    /// It has ended as it should. Without this it has broken off.
    pub fn end(&mut self) {
        for copy in self.0.drain(..) {
            let _ = copy.try_send(Part::End);
        }
    }
}

/// A copy.
pub struct Copied {
    receiver: Receiver<Part>,
    size: SizeHint,
    ended: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the copy of a body is not whole")]
struct Broken;

impl Body for Copied {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let polled = self.receiver.poll_recv(context);
        polled.map(|part| match part {
            Some(Part::Data(data)) => Some(Ok(Frame::data(data))),
            Some(Part::End) => {
                self.ended = true;
                None
            }
            None => {
                self.ended = true;
                Some(Err(Broken.into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.size.exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn copies_are_whole_or_broken_off() {
        let mut copies = Copies::default();
        let (whole, mut slow) = (copies.add(SizeHint::new()), copies.add(SizeHint::new()));
        copies.pass(&Bytes::from_static(b"a"));
        copies.end();
        let text = whole.collect().await.expect("a body").to_bytes();
        assert_eq!(text.as_ref(), b"a");
        assert!(slow.frame().await.is_some_and(|frame| frame.is_ok()));
        let mut copies = Copies::default();
        let mut slow = copies.add(SizeHint::new());
        for _ in 0..=MAX_BEHIND {
            copies.pass(&Bytes::from_static(b"a"));
        }
        copies.end();
        for _ in 0..MAX_BEHIND {
            assert!(slow.frame().await.is_some_and(|frame| frame.is_ok()));
        }
        assert!(slow.frame().await.is_some_and(|frame| frame.is_err()));
        assert!(slow.frame().await.is_none());
        let mut copies = Copies::default();
        let empty = copies.add(SizeHint::with_exact(0));
        assert!(empty.is_end_stream());
    }
}
