//! Port-forward: connections into a sandbox.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;

use super::copy;
use super::spdy::{Accept, Incoming};
use super::streams::{Input, Output};
use crate::exec::Executor;

/// Streams of which the other half has not come.
const MAX_HALVES: usize = 256;
/// How long a client may take to hear the end of a connection that the sandbox has closed.
const LINGER: Duration = Duration::from_secs(10);

/// One forwarded connection.
pub struct Pair {
    pub port: u16,
    pub input: Input,
    pub data: Output,
    pub error: Output,
}

/// Connects and copies until either side has ended.
pub async fn forward(executor: &dyn Executor, sandbox: &str, pair: Pair) {
    let Pair {
        port,
        input,
        data,
        error,
    } = pair;
    match executor.port_connect(sandbox, port).await {
        Ok(socket) => {
            let (reader, writer) = socket.into_split();
            let sending = async {
                copy::to_socket(input, writer).await;
                std::future::pending::<()>().await
            };
            tokio::select! {
                () = copy::from_socket(reader, &data) => {}
                () = data.reset() => {}
                () = sending => unreachable!("it waits forever"),
            }
        }
        Err(failure) => {
            tracing::debug!(sandbox, port, error = %failure, "cannot forward a port");
            let text = format!("error forwarding port {port} to pod {sandbox}, uid : {failure}");
            let _ = error.send(Bytes::from(text)).await;
        }
    }
    let _ = data.end().await;
    let _ = error.end().await;
}

/// Forwards the pairs of streams that a SPDY client opens.
pub async fn serve_spdy(
    executor: Arc<dyn Executor>,
    sandbox: String,
    mut accept: Accept,
    creation: Duration,
) {
    let mut halves: HashMap<String, (Half, Instant)> = HashMap::new();
    let mut running = FuturesUnordered::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            stream = accept.next() => {
                let Some(stream) = stream else { break };
                let half = match Half::of(stream) {
                    Ok(half) => half,
                    Err(stream) => {
                        tracing::debug!(id = stream.id, "a stream names no port or no known type");
                        let _ = stream.output.refuse().await;
                        continue;
                    }
                };
                let key = half.request.clone();
                let twice = halves
                    .get(&key)
                    .is_some_and(|(first, _)| first.kind == half.kind);
                match halves.remove(&key) {
                    Some((first, deadline)) if twice => {
                        tracing::debug!(request = key, "a second stream of the same kind");
                        halves.insert(key, (first, deadline));
                        let _ = half.stream.output.refuse().await;
                    }
                    Some((other, _)) => {
                        running.push(forward(executor.as_ref(), &sandbox, half.join(other)));
                    }
                    None if halves.len() >= MAX_HALVES => {
                        tracing::debug!("too many streams wait for their other half");
                        let _ = half.stream.output.refuse().await;
                    }
                    None => {
                        let now = Instant::now();
                        let deadline = now.checked_add(creation).unwrap_or(now);
                        halves.insert(key, (half, deadline));
                    }
                }
            }
            Some(()) = running.next() => {}
            _ = tick.tick(), if !halves.is_empty() => {
                expire(&mut halves).await;
            }
        }
    }
    // The client asks for nothing more; what runs may end.
    let _ = tokio::time::timeout(LINGER, async { while running.next().await.is_some() {} }).await;
}

/// Tells the client of the halves whose other one has not come in time.
async fn expire(halves: &mut HashMap<String, (Half, Instant)>) {
    let now = Instant::now();
    let late: Vec<String> = halves
        .iter()
        .filter(|(_, (_, deadline))| *deadline <= now)
        .map(|(key, _)| key.clone())
        .collect();
    for key in late {
        let Some((half, _)) = halves.remove(&key) else {
            continue;
        };
        let Kind::Error = half.kind else { continue };
        let text = format!("(request={key}) timed out waiting for streams");
        let _ = half.stream.output.send(Bytes::from(text)).await;
        let _ = half.stream.output.end().await;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data,
    Error,
}

/// A stream with its place.
struct Half {
    kind: Kind,
    port: u16,
    request: String,
    stream: Incoming,
}

impl Half {
    /// The stream itself comes back when it says nothing usable.
    fn of(stream: Incoming) -> Result<Self, Incoming> {
        let port = stream
            .header("port")
            .and_then(|port| port.parse().ok())
            .filter(|port| *port > 0);
        let kind = match stream.header("streamtype") {
            Some("data") => Some(Kind::Data),
            Some("error") => Some(Kind::Error),
            _ => None,
        };
        let (Some(port), Some(kind)) = (port, kind) else {
            return Err(stream);
        };
        // Old clients number no requests: their error stream comes just before the data stream.
        let request = match (stream.header("requestid"), kind) {
            (Some(id), _) if !id.is_empty() => id.to_owned(),
            (_, Kind::Error) => stream.id.to_string(),
            (_, Kind::Data) => stream.id.saturating_sub(2).to_string(),
        };
        Ok(Self {
            kind,
            port,
            request,
            stream,
        })
    }

    /// With the half of the other kind.
    fn join(self, other: Self) -> Pair {
        let (data, error) = match self.kind {
            Kind::Data => (self, other),
            Kind::Error => (other, self),
        };
        Pair {
            port: data.port,
            input: data.stream.input,
            data: data.stream.output,
            error: error.stream.output,
        }
    }
}
