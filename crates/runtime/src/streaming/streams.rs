//! What a session sees of its connection, whichever protocol carries it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::spdy::Credits;

/// Most bytes of one chunk.
pub const CHUNK_BYTES: usize = 32 << 10;
/// Chunks that a stream's consumer may be behind before its connection is not read.
pub const INPUT_CHUNKS: usize = 8;
/// Chunks that a connection may be behind its streams before they wait.
pub const OUTPUT_CHUNKS: usize = 16;

/// For a connection's writer. When every sender is gone, the session has ended and so does the connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Outgoing {
    Data {
        stream: u32,
        bytes: Bytes,
    },
    End {
        stream: u32,
    },
    /// The stream is not wanted. Channels of a WebSocket cannot be refused.
    Refuse {
        stream: u32,
    },
}

/// The client is gone, or has given up the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has closed the stream")]
pub struct Gone;

/// Bytes from the client.
pub struct Input {
    chunks: mpsc::Receiver<Bytes>,
    /// What to tell of consumed bytes, and as which stream.
    credits: Option<(Arc<Credits>, u32)>,
}

impl Input {
    /// With the end that a connection's reader feeds; dropping that is the end of the stream.
    pub fn new(credits: Option<(Arc<Credits>, u32)>) -> (mpsc::Sender<Bytes>, Self) {
        let (sender, chunks) = mpsc::channel(INPUT_CHUNKS);
        (sender, Self { chunks, credits })
    }

    /// `None` is the end.
    pub async fn next(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.recv().await?;
        if let Some((credits, stream)) = &self.credits {
            credits.add(*stream, chunk.len());
        }
        Some(chunk)
    }
}

/// The client's windows: bytes that it is ready to take.
#[derive(Clone)]
pub struct Windows {
    pub stream: Arc<Semaphore>,
    pub session: Arc<Semaphore>,
    /// Most that is asked for at once: no more than the windows can ever hold.
    pub piece: usize,
}

/// Bytes to the client.
pub struct Output {
    stream: u32,
    queue: mpsc::Sender<Outgoing>,
    windows: Option<Windows>,
    reset: CancellationToken,
}

impl Output {
    pub fn new(stream: u32, queue: mpsc::Sender<Outgoing>) -> Self {
        Self {
            stream,
            queue,
            windows: None,
            reset: CancellationToken::new(),
        }
    }

    /// Sends no more than the client is ready for, and nothing once `reset` is cancelled.
    pub fn governed(mut self, windows: Option<Windows>, reset: CancellationToken) -> Self {
        self.windows = windows;
        self.reset = reset;
        self
    }

    pub async fn send(&self, mut bytes: Bytes) -> Result<(), Gone> {
        let Some(windows) = &self.windows else {
            return self.push(bytes).await;
        };
        while !bytes.is_empty() {
            let piece = bytes.split_to(bytes.len().min(windows.piece));
            let count = u32::try_from(piece.len()).map_err(|_| Gone)?;
            for window in [&windows.stream, &windows.session] {
                // Closed when the stream is reset.
                window.acquire_many(count).await.map_err(|_| Gone)?.forget();
            }
            self.push(piece).await?;
        }
        Ok(())
    }

    /// Nothing follows.
    pub async fn end(&self) -> Result<(), Gone> {
        let stream = self.stream;
        self.queue
            .send(Outgoing::End { stream })
            .await
            .map_err(|_| Gone)
    }

    /// The stream is not wanted.
    pub async fn refuse(&self) -> Result<(), Gone> {
        let stream = self.stream;
        self.queue
            .send(Outgoing::Refuse { stream })
            .await
            .map_err(|_| Gone)
    }

    /// Returns once the client has given up the stream.
    pub async fn reset(&self) {
        self.reset.cancelled().await;
    }

    async fn push(&self, bytes: Bytes) -> Result<(), Gone> {
        if self.reset.is_cancelled() {
            return Err(Gone);
        }
        let stream = self.stream;
        self.queue
            .send(Outgoing::Data { stream, bytes })
            .await
            .map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests;
