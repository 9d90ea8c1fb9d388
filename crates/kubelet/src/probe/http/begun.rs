//! A stream that remembers how what came over it began.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// Bytes that are remembered: of a record of TLS its head.
const HEAD_BYTES: usize = 5;

pub(super) struct Begun {
    stream: TcpStream,
    /// The first bytes, as far as they have come.
    pub head: Vec<u8>,
}

impl Begun {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            head: Vec::with_capacity(HEAD_BYTES),
        }
    }
}

impl AsyncRead for Begun {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().get(before..).unwrap_or_default();
        let missing = HEAD_BYTES.saturating_sub(self.head.len());
        let came = came.get(..missing).unwrap_or(came);
        self.head.extend_from_slice(came);
        read
    }
}

impl AsyncWrite for Begun {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
