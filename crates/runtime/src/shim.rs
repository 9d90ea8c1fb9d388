//! The runtime's side of a shim: its program, its start, requests to it, its events.

mod program;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use knarr_shim::frame::{self, FrameError};
use knarr_shim::protocol::{
    ErrorKind, Event, Request, Response, SANDBOX_SPEC_FILE, SOCKET_FILE, SandboxSpec, StartSpec,
};
use serde::de::DeserializeOwned;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::process::{Child, Command};

use crate::files;

/// Longest a shim may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest a shim may take to answer anything but the start of a container.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause before another try to reach a shim that has too many others waiting.
const BUSY_RETRY: Duration = Duration::from_millis(10);

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("start the shim: {0}")]
    Spawn(io::Error),
    #[error("the shim did not start: {0}")]
    NotReady(String),
    /// Nobody listens: the shim is dead.
    #[error("the shim is gone: {0}")]
    Gone(io::Error),
    #[error("the shim did not answer for {ANSWER_TIMEOUT:?}")]
    Late,
    #[error("talk to the shim: {0}")]
    Frame(#[from] FrameError),
    #[error("{message}")]
    Refused { kind: ErrorKind, message: String },
    #[error("the shim gave an answer that does not fit")]
    Unexpected,
}

/// A way to reach the shim of one sandbox. Holds no connection.
#[derive(Debug, Clone)]
pub struct Shim {
    directory: PathBuf,
}

impl Shim {
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Writes the description and starts the program. The child is to be waited for.
    pub async fn spawn(directory: PathBuf, spec: &SandboxSpec) -> Result<(Self, Child), ShimError> {
        let (file, described) = (directory.join(SANDBOX_SPEC_FILE), spec.clone());
        let writing = tokio::task::spawn_blocking(move || files::write_json(&file, &described));
        let written = writing.await.map_err(io::Error::other).flatten();
        written.map_err(ShimError::Spawn)?;
        let program = program::path().map_err(ShimError::Spawn)?;
        let mut child = Command::new(program)
            .arg0("knarr-shim")
            .arg(&directory)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(false)
            .spawn()
            .map_err(ShimError::Spawn)?;
        let Some(mut stdout) = child.stdout.take() else {
            return Err(ShimError::NotReady("no standard output".to_owned()));
        };
        let mut said = Vec::new();
        match tokio::time::timeout(READY_TIMEOUT, stdout.read_to_end(&mut said)).await {
            Ok(Ok(_)) if said == b"." => Ok((Self { directory }, child)),
            outcome => {
                let _ = child.start_kill();
                let _ = child.wait().await;
                Err(ShimError::NotReady(match outcome {
                    Err(_) => format!("not ready after {READY_TIMEOUT:?}"),
                    Ok(Err(error)) => error.to_string(),
                    Ok(Ok(_)) if said.is_empty() => "it died without a word".to_owned(),
                    Ok(Ok(_)) => String::from_utf8_lossy(&said).into_owned(),
                }))
            }
        }
    }

    /// One request. Descriptors in, response and descriptors out.
    pub async fn call(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(Response, Vec<OwnedFd>), ShimError> {
        let answered = tokio::time::timeout(ANSWER_TIMEOUT, self.ask(request, fds)).await;
        answered.map_err(|_| ShimError::Late)?
    }

    /// Has a container started, however long that takes: a shim that lives answers, at the latest when the start is killed.
    /// Who gives up before would take a container that runs for one that does not.
    pub async fn start(&self, spec: StartSpec) -> Result<Response, ShimError> {
        let (response, _) = self.ask(Request::Start(spec), Vec::new()).await?;
        Ok(response)
    }

    async fn ask(
        &self,
        request: Request,
        fds: Vec<OwnedFd>,
    ) -> Result<(Response, Vec<OwnedFd>), ShimError> {
        let mut connection = Connection::open(&self.directory).await?;
        connection.send(&request, fds).await?;
        let response = connection.receive().await?;
        match response.ok_or(FrameError::Closed)? {
            Response::Error { kind, message } => Err(ShimError::Refused { kind, message }),
            response => Ok((response, connection.fds)),
        }
    }

    /// A request that answers `Ok`.
    pub async fn order(&self, request: Request) -> Result<(), ShimError> {
        match self.call(request, Vec::new()).await? {
            (Response::Ok, _) => Ok(()),
            _ => Err(ShimError::Unexpected),
        }
    }

    /// Events from now on. The end of the stream is the end of the shim.
    pub async fn subscribe(&self) -> Result<Events, ShimError> {
        let subscribing = async {
            let mut connection = Connection::open(&self.directory).await?;
            connection.send(&Request::Subscribe, Vec::new()).await?;
            match connection.receive().await? {
                Some(Response::Ok) => Ok(Events { connection }),
                Some(_) => Err(ShimError::Unexpected),
                None => Err(FrameError::Closed.into()),
            }
        };
        let subscribed = tokio::time::timeout(ANSWER_TIMEOUT, subscribing).await;
        subscribed.map_err(|_| ShimError::Late)?
    }
}

/// A connection to a shim, which no thread waits for.
struct Connection {
    stream: AsyncFd<UnixStream>,
    buffer: Vec<u8>,
    /// What came with the last messages.
    fds: Vec<OwnedFd>,
}

impl Connection {
    async fn open(directory: &Path) -> Result<Self, ShimError> {
        loop {
            match files::connect(directory, SOCKET_FILE) {
                Ok(stream) => {
                    // SAFETY: the socket is owned by what is returned, which gives out shared references only: it stays
                    // the same open one until it is dropped.
                    let stream = unsafe { AsyncFd::register(stream) }.map_err(io::Error::from);
                    let stream = stream.map_err(FrameError::from)?;
                    return Ok(Self {
                        stream,
                        buffer: Vec::new(),
                        fds: Vec::new(),
                    });
                }
                // Its queue is full of others, which nothing tells the end of.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(BUSY_RETRY).await;
                }
                Err(error) => return Err(ShimError::Gone(error)),
            }
        }
    }

    async fn send(&self, request: &Request, fds: Vec<OwnedFd>) -> Result<(), FrameError> {
        let bytes = frame::encode(request)?;
        let mut rights: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let mut sent = 0;
        while sent < bytes.len() {
            let sending = |stream: &UnixStream| frame::send_some(stream, &bytes[sent..], &rights);
            sent += self.stream.async_io(Interest::WRITABLE, sending).await?;
            rights.clear();
        }
        Ok(())
    }

    /// `None` at the end of the stream.
    async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        loop {
            if let Some(message) = frame::decode(&mut self.buffer)? {
                return Ok(Some(message));
            }
            let (buffer, fds) = (&mut self.buffer, &mut self.fds);
            let receiving = |stream: &UnixStream| frame::receive(stream, buffer, fds);
            if self.stream.async_io(Interest::READABLE, receiving).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// A subscription.
pub struct Events {
    connection: Connection,
}

impl Events {
    /// `None` when the shim has ended or speaks nonsense.
    pub async fn next(&mut self) -> Option<Event> {
        match self.connection.receive().await {
            Ok(event) => event,
            Err(error) => {
                tracing::warn!(%error, "undecodable event from a shim");
                None
            }
        }
    }
}

/// Opens `/dev/null` for both directions.
pub fn null() -> io::Result<OwnedFd> {
    Ok(File::options()
        .read(true)
        .write(true)
        .open("/dev/null")?
        .into())
}
