//! The streaming server: the far end of exec, attach and port-forward.
//!
//! CRI answers `Exec` with a URL. The kubelet sends the client's upgrade request there and then only copies bytes, so this
//! server ends whatever the client speaks:
//!
//! ```text
//! tickets (one-time tokens) -> http (routes, negotiates) -> upgraded connection
//!        websocket: a message is a channel's number and bytes  --\
//!        spdy: streams with headers                             --+--> streams (Input, Output)
//!        spdy inside websocket messages (tunnel)                --/       |
//!                                               remote_command, port_forward: copy to and from the Executor's descriptors
//! ```
//!
//! A session is one future: the connection's driver and the session over it run together, and the end of either ends
//! both. Nothing is buffered without a limit: when a consumer is slow, its connection is not read.
//!
//! Rejected: listening where the kubelet's clients could reach it (loopback and a token are all the protection there is),
//! and enforcing SPDY's windows on peers that announce none (kubectl's library sends no window updates at all).

// Frames come from clients.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod copy;
mod descriptor;
mod http;
mod idle;
mod negotiate;
mod port_forward;
mod remote_command;
pub mod spdy;
mod status;
mod streams;
mod tickets;
mod websocket;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use knarr_tasks::Quota;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exec::{Executor, Streaming};
use tickets::Tickets;

/// Connections at a time.
const MAX_CONNECTIONS: usize = 1000;
/// Sessions at a time of one container, or of one sandbox's ports.
const MAX_SESSIONS_OF_ONE: usize = 64;
/// How long sessions may take to end after the token is cancelled.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a connection may keep the server waiting. The defaults are upstream's.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Without a byte in either direction. Default 4 hours.
    pub idle: Duration,
    /// For a SPDY client to create the streams that its request needs. Default 30 seconds.
    pub creation: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(4 * 60 * 60),
            creation: Duration::from_secs(30),
        }
    }
}

/// A server that listens. Connections wait until it is [`Server::run`].
pub struct Server {
    listener: TcpListener,
    tickets: Arc<Tickets>,
    timeouts: Timeouts,
}

impl Server {
    /// Listens on a port of the loopback that the kernel chooses.
    pub async fn bind(timeouts: Timeouts) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let tickets = Arc::new(Tickets::new(listener.local_addr()?));
        Ok(Self {
            listener,
            tickets,
            timeouts,
        })
    }

    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What makes URLs of this server. It holds nothing of the server itself.
    pub fn urls(&self) -> Arc<dyn Streaming> {
        self.tickets.clone()
    }

    /// Serves until the token is cancelled, which ends the sessions as well.
    pub async fn run(self, executor: Arc<dyn Executor>, token: CancellationToken) {
        let sessions = TaskTracker::new();
        let state = self.state(executor, &sessions, &token);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.listener, &places) => accepted,
                () = token.cancelled() => break,
            };
            match accepted {
                Ok((stream, place)) => {
                    sessions.spawn(http::serve(state.clone(), stream, place));
                }
                Err(error) => {
                    // Out of descriptors: more of the same in a tight loop helps nobody.
                    tracing::warn!(%error, "cannot accept a streaming connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        sessions.close();
        if tokio::time::timeout(SHUTDOWN_TIMEOUT, sessions.wait())
            .await
            .is_err()
        {
            tracing::warn!("streaming sessions did not end in time");
        }
    }

    /// Serves one connection, whatever it came by, until its session has ended. [`Server::run`] does so with every one that it
    /// accepts.
    pub async fn serve(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        executor: Arc<dyn Executor>,
        token: CancellationToken,
    ) {
        let sessions = TaskTracker::new();
        let state = self.state(executor, &sessions, &token);
        http::serve(state, io, ()).await;
        sessions.close();
        sessions.wait().await;
    }

    fn state(
        &self,
        executor: Arc<dyn Executor>,
        sessions: &TaskTracker,
        token: &CancellationToken,
    ) -> Arc<http::State> {
        Arc::new(http::State {
            tickets: self.tickets.clone(),
            executor,
            timeouts: self.timeouts,
            quota: Quota::new(MAX_SESSIONS_OF_ONE, MAX_CONNECTIONS),
            sessions: sessions.clone(),
            token: token.clone(),
        })
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places
        .clone()
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}
