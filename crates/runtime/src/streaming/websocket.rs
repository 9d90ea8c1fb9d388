//! WebSocket: a message is a channel's number and bytes of it.
//!
//! Binary messages start with the number as a byte, text messages (`base64.channel.k8s.io`) with its digit. Version 5 adds
//! channel 255, by which a client ends one channel: earlier ones can end only the whole connection.

mod tunnel;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use futures::{Sink, SinkExt, Stream, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as WebSocketError, Message};
use tokio_util::sync::CancellationToken;

use super::idle::Idle;
use super::port_forward::{self, Pair};
use super::remote_command::{self, Command, Streams};
use super::spdy::together;
use super::status::Format;
use super::streams::{Input, OUTPUT_CHUNKS, Outgoing, Output};
use crate::exec::Executor;

/// Largest message taken, bytes.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// Longest wait for a client's first sign of life before output is sent all the same.
const SIGN_LIMIT: Duration = Duration::from_millis(500);
/// What a client gets from that sign on to have its channels open.
const SETTLE_TIME: Duration = Duration::from_millis(5);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
/// Ends the channel that its one byte names.
const CLOSE: u8 = 255;

/// How messages carry channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codec {
    pub base64: bool,
    pub close: bool,
}

/// What a client says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Data { channel: u8, bytes: Bytes },
    End { channel: u8 },
    Nothing,
}

impl Codec {
    fn decode(self, mut message: Bytes) -> Said {
        if message.is_empty() {
            return Said::Nothing;
        }
        let first = message.split_to(1)[0];
        if self.close && first == CLOSE {
            return match message[..] {
                [channel] => Said::End { channel },
                _ => Said::Nothing,
            };
        }
        if !self.base64 {
            return Said::Data {
                channel: first,
                bytes: message,
            };
        }
        match STANDARD.decode(&message) {
            Ok(bytes) => Said::Data {
                channel: first.wrapping_sub(b'0'),
                bytes: bytes.into(),
            },
            Err(error) => {
                tracing::debug!(%error, "a message is not base64");
                Said::Nothing
            }
        }
    }

    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::from(char::from(b'0'.wrapping_add(channel)));
            STANDARD.encode_string(bytes, &mut text);
            return Message::text(text);
        }
        let mut message = BytesMut::with_capacity(bytes.len().saturating_add(1));
        message.put_u8(channel);
        message.put_slice(bytes);
        Message::Binary(message.freeze())
    }
}

/// Exec or attach.
pub async fn remote_command(
    io: impl AsyncRead + AsyncWrite + Unpin,
    codec: Codec,
    format: Format,
    executor: Arc<dyn Executor>,
    command: Command,
    idle: Duration,
) {
    let wanted = command.wanted();
    let mut channels = Channels::new();
    let streams = Streams {
        stdin: wanted.stdin.then(|| channels.input(STDIN)),
        stdout: wanted.stdout.then(|| channels.output(STDOUT)),
        stderr: wanted.stderr.then(|| channels.output(STDERR)),
        resize: wanted.tty.then(|| channels.input(RESIZE)),
        error: channels.output(ERROR),
        format,
    };
    let driver = channels.drive(accept(io).await, codec, idle, Opening::Ask);
    let app = async {
        // Upstream says so that the connection stands.
        let first = streams.stdout.as_ref().or(streams.stderr.as_ref());
        if first
            .unwrap_or(&streams.error)
            .send(Bytes::new())
            .await
            .is_ok()
        {
            remote_command::run(executor, command, streams).await;
        }
    };
    together(driver, app).await;
}

/// Two channels a port: data, and errors. Each begins with the port, little-endian.
pub async fn port_forward(
    io: impl AsyncRead + AsyncWrite + Unpin,
    base64: bool,
    executor: Arc<dyn Executor>,
    sandbox: &str,
    ports: &[u16],
    idle: Duration,
) {
    let mut channels = Channels::new();
    let numbers = (0..u8::MAX - 1).step_by(2).zip((1..u8::MAX).step_by(2));
    let pairs: Vec<Pair> = numbers
        .zip(ports)
        .map(|((data, error), &port)| Pair {
            port,
            input: channels.input(data),
            data: channels.output(data),
            error: channels.output(error),
        })
        .collect();
    let codec = Codec {
        base64,
        close: false,
    };
    let driver = channels.drive(accept(io).await, codec, idle, Opening::Plain);
    let executor = executor.as_ref();
    let app = futures::future::join_all(pairs.into_iter().map(|pair| async {
        let port = Bytes::copy_from_slice(&pair.port.to_le_bytes());
        if pair.data.send(port.clone()).await.is_ok() && pair.error.send(port).await.is_ok() {
            port_forward::forward(executor, sandbox, pair).await;
        }
    }));
    together(driver, async {
        app.await;
    })
    .await;
}

/// The bytes of the binary messages, as one stream.
pub async fn tunnel<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> impl AsyncRead + AsyncWrite {
    tunnel::Tunnel::new(accept(io).await)
}

async fn accept<T: AsyncRead + AsyncWrite + Unpin>(io: T) -> WebSocketStream<T> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await
}

/// The channels of a connection that is to be driven.
struct Channels {
    inputs: BTreeMap<u8, mpsc::Sender<Bytes>>,
    sender: mpsc::Sender<Outgoing>,
    receiver: mpsc::Receiver<Outgoing>,
}

impl Channels {
    fn new() -> Self {
        let (sender, receiver) = mpsc::channel(OUTPUT_CHUNKS);
        Self {
            inputs: BTreeMap::new(),
            sender,
            receiver,
        }
    }

    fn input(&mut self, channel: u8) -> Input {
        let (sender, input) = Input::new(None);
        self.inputs.insert(channel, sender);
        input
    }

    fn output(&self, channel: u8) -> Output {
        Output::new(channel.into(), self.sender.clone())
    }

    /// Returns when the client is gone. Once the outputs are, the client is asked to go.
    async fn drive<T: AsyncRead + AsyncWrite + Unpin>(
        self,
        socket: WebSocketStream<T>,
        codec: Codec,
        limit: Duration,
        opening: Opening,
    ) {
        let Self {
            mut inputs,
            sender,
            receiver,
        } = self;
        drop(sender);
        let idle = Idle::new(limit);
        let (mut sink, stream) = socket.split();
        let sign = CancellationToken::new();
        let writing = async {
            if opening == Opening::Ask
                && let Err(error) = wait_for_sign(&mut sink, &sign).await
            {
                return tracing::debug!(%error, "cannot write to a client");
            }
            match write(sink, receiver, codec, &idle).await {
                Ok(()) => std::future::pending().await,
                Err(error) => tracing::debug!(%error, "cannot write to a client"),
            }
        };
        tokio::select! {
            () = read(stream, &mut inputs, codec, &idle, &sign) => {}
            () = writing => {}
            () = idle.expired() => tracing::debug!("a connection was idle for too long"),
        }
    }
}

/// What comes before the first output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    Plain,
    /// A ping, and its answer: see [`wait_for_sign`].
    Ask,
}

/// Asks the client for a sign of life and gives it a moment from then on. client-go before 1.34 starts to read before it has
/// opened its channels, and throws away what arrives for one that is not open; upstream's servers are too slow to meet that.
async fn wait_for_sign(
    sink: &mut (impl Sink<Message, Error = WebSocketError> + Unpin),
    sign: &CancellationToken,
) -> Result<(), WebSocketError> {
    sink.send(Message::Ping(Bytes::new())).await?;
    if timeout(SIGN_LIMIT, sign.cancelled()).await.is_err() {
        tracing::debug!("a client does not answer pings");
    }
    sleep(SETTLE_TIME).await;
    Ok(())
}

async fn read(
    mut stream: impl Stream<Item = Result<Message, WebSocketError>> + Unpin,
    inputs: &mut BTreeMap<u8, mpsc::Sender<Bytes>>,
    codec: Codec,
    idle: &Idle,
    sign: &CancellationToken,
) {
    loop {
        let message = match stream.next().await {
            Some(Ok(message)) => message,
            // After a close frame the stream ends once the answer to it is out.
            None => return,
            Some(Err(error)) => {
                tracing::debug!(%error, "cannot read from a client");
                return;
            }
        };
        idle.touch();
        sign.cancel();
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            _ => continue,
        };
        match codec.decode(bytes) {
            Said::Data { channel, bytes } if !bytes.is_empty() => {
                if let Some(input) = inputs.get(&channel)
                    && input.send(bytes).await.is_err()
                {
                    inputs.remove(&channel);
                }
            }
            Said::End { channel } => {
                inputs.remove(&channel);
            }
            Said::Data { .. } | Said::Nothing => {}
        }
    }
}

async fn write(
    mut sink: impl Sink<Message, Error = WebSocketError> + Unpin,
    mut queue: mpsc::Receiver<Outgoing>,
    codec: Codec,
    idle: &Idle,
) -> Result<(), WebSocketError> {
    while let Some(outgoing) = queue.recv().await {
        if let Outgoing::Data { stream, bytes } = outgoing {
            let channel = u8::try_from(stream).unwrap_or(CLOSE);
            sink.send(codec.encode(channel, &bytes)).await?;
            idle.touch();
        }
    }
    let normal = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    sink.send(Message::Close(Some(normal))).await
}

#[cfg(test)]
mod tests;
