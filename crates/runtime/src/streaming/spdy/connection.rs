//! A connection: frames from the client become streams, what goes into streams becomes frames.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::frame::{self, Control, HEAD_BYTES, Head, Reset};
use super::headers::{Decoder, Encoder, Headers};
use super::table::{Entry, Table, widen};
use crate::streaming::idle::Idle;
use crate::streaming::streams::{CHUNK_BYTES, Input, OUTPUT_CHUNKS, Outgoing, Output, Windows};

/// Streams that were opened and not yet taken.
const ACCEPT_STREAMS: usize = 16;
/// Answers that the reader may be ahead of the writer.
const REPLIES: usize = 16;
/// The connection's own window at its start, bytes.
const SESSION_WINDOW_BYTES: usize = 64 << 10;
/// Buffered in each direction, bytes.
const BUFFER_BYTES: usize = 64 << 10;

/// A stream that the client has opened.
pub struct Incoming {
    pub id: u32,
    pub headers: Headers,
    pub input: Input,
    pub output: Output,
}

impl Incoming {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// The client's streams as they come. Once this and all the outputs are dropped, the connection closes.
pub struct Accept {
    streams: mpsc::Receiver<Incoming>,
    _open: mpsc::Sender<Outgoing>,
}

impl Accept {
    /// `None`: the client opens no more.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.streams.recv().await
    }
}

/// Answers of the reader's own.
enum Reply {
    Accepted(u32),
    Reset(u32, Reset),
    Pong(u32),
}

/// The connection's driver, which returns when the client is gone, and its streams.
pub fn connect(
    io: impl AsyncRead + AsyncWrite,
    limit: Duration,
) -> (impl Future<Output = ()>, Accept) {
    let (open, queue) = mpsc::channel(OUTPUT_CHUNKS);
    let (arrived, streams) = mpsc::channel(ACCEPT_STREAMS);
    let outputs = open.downgrade();
    let driver = async move {
        let (source, sink) = tokio::io::split(io);
        let (replies, answers) = mpsc::channel(REPLIES);
        let table = Arc::new(Table::default());
        let idle = Idle::new(limit);
        let reader = Reader {
            source: BufReader::with_capacity(BUFFER_BYTES, source),
            table: table.clone(),
            decoder: Decoder::default(),
            replies,
            arrived,
            outputs,
            windows: None,
            last_stream: 0,
        };
        let writing = async {
            match write(sink, queue, answers, &table, &idle).await {
                Ok(()) => std::future::pending().await,
                Err(error) => tracing::debug!(%error, "cannot write to a client"),
            }
        };
        tokio::select! {
            outcome = reader.run(&idle) => if let Err(error) = outcome {
                tracing::debug!(%error, "cannot read from a client");
            },
            () = writing => {}
            () = idle.expired() => tracing::debug!("a connection was idle for too long"),
        }
    };
    let accept = Accept {
        streams,
        _open: open,
    };
    (driver, accept)
}

struct Reader<R> {
    source: BufReader<R>,
    table: Arc<Table>,
    decoder: Decoder,
    replies: mpsc::Sender<Reply>,
    arrived: mpsc::Sender<Incoming>,
    /// Weak: the connection closes when nobody else has one.
    outputs: mpsc::WeakSender<Outgoing>,
    /// The initial window of streams and the window of the connection, of a client that has announced windows.
    windows: Option<(usize, Arc<Semaphore>)>,
    last_stream: u32,
}

/// A client that does not speak the protocol.
fn broken(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn run(mut self, idle: &Idle) -> io::Result<()> {
        loop {
            let mut head = [0; HEAD_BYTES];
            match self.source.read_exact(&mut head).await {
                Ok(_) => idle.touch(),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
            match Head::parse(head).map_err(broken)? {
                Head::Data {
                    stream,
                    fin,
                    length,
                } => self.data(stream, fin, length, idle).await?,
                Head::Control {
                    kind,
                    flags,
                    length,
                } => {
                    let mut payload = BytesMut::zeroed(length);
                    self.source.read_exact(&mut payload).await?;
                    let control = Control::parse(kind, flags, payload.freeze()).map_err(broken)?;
                    self.control(control).await?;
                }
            }
        }
    }

    /// Waits for the stream's consumer: the client cannot be told to hold only this one.
    async fn data(
        &mut self,
        stream: u32,
        fin: bool,
        mut length: usize,
        idle: &Idle,
    ) -> io::Result<()> {
        let input = self.table.input(stream);
        while length > 0 {
            let mut chunk = BytesMut::zeroed(length.min(CHUNK_BYTES));
            self.source.read_exact(&mut chunk).await?;
            idle.touch();
            length = length.saturating_sub(chunk.len());
            let count = chunk.len();
            let taken = match &input {
                Some(input) => input.send(chunk.freeze()).await.is_ok(),
                None => false,
            };
            if !taken {
                self.table.credits.add(stream, count);
            }
        }
        if fin {
            self.table.input_ended(stream);
        }
        Ok(())
    }

    async fn control(&mut self, control: Control) -> io::Result<()> {
        match control {
            Control::SynStream {
                stream,
                fin,
                headers,
            } => {
                let headers = self.decoder.decode(&headers).map_err(broken)?;
                self.open(stream, fin, headers).await;
            }
            Control::Headers {
                stream,
                fin,
                headers,
            } => {
                self.decoder.decode(&headers).map_err(broken)?;
                if fin {
                    self.table.input_ended(stream);
                }
            }
            Control::Reset { stream } => self.table.remove(stream),
            Control::Settings {
                initial_window: Some(window),
            } => {
                let session = match self.windows.take() {
                    Some((_, session)) => session,
                    None => Arc::new(Semaphore::new(SESSION_WINDOW_BYTES)),
                };
                self.windows = Some((window as usize, session));
            }
            // Odd ones are the client's, even ones would be answers to this side's, which sends none.
            Control::Ping { id } if id % 2 == 1 => self.reply(Reply::Pong(id)).await,
            Control::WindowUpdate { stream: 0, delta } => {
                if let Some((_, session)) = &self.windows {
                    widen(session, delta);
                }
            }
            Control::WindowUpdate { stream, delta } => self.table.widen(stream, delta),
            Control::Settings { .. } | Control::Ping { .. } | Control::GoAway | Control::Other => {}
        }
        Ok(())
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) {
        if id.is_multiple_of(2) || id <= self.last_stream {
            return self.reply(Reply::Reset(id, Reset::ProtocolError)).await;
        }
        self.last_stream = id;
        let Some(queue) = self.outputs.upgrade() else {
            return self.reply(Reply::Reset(id, Reset::RefusedStream)).await;
        };
        let (sender, input) = Input::new(Some((self.table.credits.clone(), id)));
        let windows = self.windows.as_ref().map(|(initial, session)| Windows {
            stream: Arc::new(Semaphore::new(*initial)),
            session: session.clone(),
            piece: (*initial).clamp(1, CHUNK_BYTES),
        });
        let reset = CancellationToken::new();
        let entry = Entry {
            input: (!fin).then_some(sender),
            window: windows.as_ref().map(|windows| windows.stream.clone()),
            reset: reset.clone(),
            ended: false,
        };
        if !self.table.insert(id, entry) {
            return self.reply(Reply::Reset(id, Reset::RefusedStream)).await;
        }
        // In the queue before anything the stream's owner can send.
        self.reply(Reply::Accepted(id)).await;
        let stream = Incoming {
            id,
            headers,
            input,
            output: Output::new(id, queue).governed(windows, reset),
        };
        if self.arrived.send(stream).await.is_err() {
            self.table.remove(id);
            self.reply(Reply::Reset(id, Reset::RefusedStream)).await;
        }
    }

    async fn reply(&mut self, reply: Reply) {
        // The writer's end is the connection's.
        let _ = self.replies.send(reply).await;
    }
}

/// Until every output is dropped; then the connection's end is announced and this direction closed.
async fn write(
    sink: impl AsyncWrite + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
    mut answers: mpsc::Receiver<Reply>,
    table: &Table,
    idle: &Idle,
) -> io::Result<()> {
    let mut sink = BufWriter::with_capacity(BUFFER_BYTES, sink);
    let mut encoder = Encoder::new().map_err(broken)?;
    let mut last_stream = 0;
    loop {
        tokio::select! {
            biased;
            Some(reply) = answers.recv() => {
                let frame = match reply {
                    Reply::Accepted(stream) => {
                        last_stream = stream;
                        frame::syn_reply(stream, &encoder.empty().map_err(broken)?)
                    }
                    Reply::Reset(stream, reason) => frame::rst_stream(stream, reason),
                    Reply::Pong(id) => frame::ping(id),
                };
                sink.write_all(&frame).await?;
            }
            due = table.credits.due() => {
                for (stream, bytes) in due {
                    sink.write_all(&frame::window_update(stream, bytes)).await?;
                }
            }
            outgoing = queue.recv() => {
                let Some(outgoing) = outgoing else { break };
                send(&mut sink, outgoing, table).await?;
            }
        }
        idle.touch();
        if queue.is_empty() && answers.is_empty() {
            sink.flush().await?;
        }
    }
    sink.write_all(&frame::goaway(last_stream)).await?;
    sink.shutdown().await
}

async fn send(
    sink: &mut (impl AsyncWrite + Unpin),
    outgoing: Outgoing,
    table: &Table,
) -> io::Result<()> {
    match outgoing {
        Outgoing::Data { stream, bytes } if table.is_open(stream) => {
            sink.write_all(&frame::data(stream, false, bytes.len()))
                .await?;
            sink.write_all(&bytes).await
        }
        Outgoing::End { stream } if table.is_open(stream) => {
            table.output_ended(stream);
            sink.write_all(&frame::data(stream, true, 0)).await
        }
        Outgoing::Refuse { stream } if table.is_open(stream) => {
            table.remove(stream);
            sink.write_all(&frame::rst_stream(stream, Reset::Cancel))
                .await
        }
        // The client has reset it.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
