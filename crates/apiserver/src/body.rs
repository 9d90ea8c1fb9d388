//! The body of every response: bytes that are there, a list that is written as it is read, or a stream.

mod held;

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use futures::Stream;
use http_body::{Frame, SizeHint};
use knarr_registry::cache::entry::Entry;
use tokio::time::Instant;

pub use held::{Guard, Held};

/// Error of a body that breaks off.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Most bytes of a request body, as upstream.
pub const BODY_BYTES: usize = 3 << 20;

/// Bytes of a list body handed to the connection at a time.
pub const CHUNK_BYTES: usize = 128 << 10;

/// A body that is made piece by piece, as the connection takes it.
pub trait Chunks: Send {
    /// The next piece; `None` at the end.
    fn chunk(&mut self) -> Option<Bytes>;
    /// Nothing is to come.
    fn is_over(&self) -> bool;
    /// Bytes to come, where that is known.
    fn size(&self) -> Option<u64>;
    /// Bytes to come, about.
    fn estimate(&self) -> u64;
}

/// A response body.
pub enum Body {
    Full(Option<Bytes>),
    List(Box<dyn Chunks>),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>),
    Held(Box<Held>),
}

impl Body {
    pub fn empty() -> Body {
        Body::Full(None)
    }

    /// A list; one that fits a piece is made at once, so that its size is known.
    pub fn list(mut chunks: impl Chunks + 'static) -> Body {
        if chunks.estimate() >= CHUNK_BYTES as u64 {
            return Body::List(Box::new(chunks));
        }
        let mut all = BytesMut::new();
        while let Some(piece) = chunks.chunk() {
            all.extend_from_slice(&piece);
        }
        Body::from(all.freeze())
    }

    /// Bytes to come, about; none of a stream, which has no end.
    pub fn estimate(&self) -> u64 {
        match self {
            Body::Full(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Body::List(list) => list.estimate(),
            Body::Stream(_) | Body::Held(_) => 0,
        }
    }

    /// The same, which holds `guard` until it is sent, or until `until`: it breaks off then.
    #[must_use]
    pub fn held(self, guard: Guard, until: Instant) -> Body {
        Body::Held(Box::new(Held::new(self, guard, until)))
    }

    pub fn stream(stream: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static) -> Body {
        Body::Stream(Box::pin(stream))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::from(Bytes::from(bytes))
    }
}

/// A list that shares its items with the cache until they are copied to the connection.
pub struct ListBody {
    head: Bytes,
    items: VecDeque<Arc<Entry>>,
    /// Whether items say of what kind they are.
    typed: bool,
    first: bool,
    /// Bytes that are still to come.
    left: u64,
}

const TAIL: &[u8] = b"]}\n";

impl ListBody {
    /// `head` ends with `"items":[`.
    pub fn new(head: Bytes, items: Vec<Arc<Entry>>, typed: bool) -> ListBody {
        let commas = items.len().saturating_sub(1);
        let sizes: usize = items.iter().map(|e| e.item_size(typed)).sum();
        ListBody {
            left: (head.len() + sizes + commas + TAIL.len()) as u64,
            head,
            items: items.into(),
            typed,
            first: true,
        }
    }
}

impl Chunks for ListBody {
    fn is_over(&self) -> bool {
        self.left == 0
    }

    fn size(&self) -> Option<u64> {
        Some(self.left)
    }

    fn estimate(&self) -> u64 {
        self.left
    }

    fn chunk(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let mut out =
            BytesMut::with_capacity((self.left as usize).min(CHUNK_BYTES + CHUNK_BYTES / 4));
        out.extend_from_slice(&std::mem::take(&mut self.head));
        while let Some(item) = self.items.pop_front() {
            if !std::mem::take(&mut self.first) {
                out.extend_from_slice(b",");
            }
            item.write_item(&mut out, self.typed);
            if out.len() >= CHUNK_BYTES {
                break;
            }
        }
        if self.items.is_empty() {
            out.extend_from_slice(TAIL);
            self.left = 0;
        } else {
            self.left -= out.len() as u64;
        }
        Some(out.freeze())
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut *self {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|b| Ok(Frame::data(b)))),
            Body::List(list) => Poll::Ready(list.chunk().map(|b| Ok(Frame::data(b)))),
            Body::Stream(stream) => stream
                .as_mut()
                .poll_next(context)
                .map(|item| item.map(|r| r.map(Frame::data))),
            Body::Held(held) => held.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Full(bytes) => bytes.is_none(),
            Body::List(list) => list.is_over(),
            Body::Stream(_) => false,
            Body::Held(held) => held.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |b| b.len() as u64)),
            Body::List(list) => list
                .size()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
            Body::Stream(_) => SizeHint::default(),
            Body::Held(held) => held.size(),
        }
    }
}
