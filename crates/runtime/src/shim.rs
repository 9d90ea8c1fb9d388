//! The runtime's side of a shim: its program, its start, requests to it, its events.

mod program;

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use knarr_shim::frame::{self, FrameError};
use knarr_shim::protocol::{
    ErrorKind, Event, Request, Response, SANDBOX_SPEC_FILE, SOCKET_FILE, SandboxSpec,
};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

use crate::files;

/// Longest a shim may take to say that it is ready.
const READY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest a shim may take to answer; starting a container is the slowest request.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("start the shim: {0}")]
    Spawn(io::Error),
    #[error("the shim did not start: {0}")]
    NotReady(String),
    /// Nobody listens: the shim is dead.
    #[error("the shim is gone: {0}")]
    Gone(io::Error),
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
        files::write_json(&directory.join(SANDBOX_SPEC_FILE), spec).map_err(ShimError::Spawn)?;
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
        let directory = self.directory.clone();
        let joined = tokio::task::spawn_blocking(move || call(&directory, &request, &fds)).await;
        let (response, fds) = joined.map_err(|_| ShimError::Unexpected)??;
        match response {
            Response::Error { kind, message } => Err(ShimError::Refused { kind, message }),
            response => Ok((response, fds)),
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
        let directory = self.directory.clone();
        let joined = tokio::task::spawn_blocking(move || {
            let stream = files::connect(&directory, SOCKET_FILE).map_err(ShimError::Gone)?;
            let timeout = Some(ANSWER_TIMEOUT);
            stream.set_read_timeout(timeout).map_err(FrameError::from)?;
            frame::send(&stream, &frame::encode(&Request::Subscribe)?, &[])
                .map_err(FrameError::from)?;
            match frame::read(&stream)? {
                Response::Ok => Ok(stream),
                _ => Err(ShimError::Unexpected),
            }
        });
        let stream = joined.await.map_err(|_| ShimError::Unexpected)??;
        stream.set_nonblocking(true).map_err(FrameError::from)?;
        let stream = tokio::net::UnixStream::from_std(stream).map_err(FrameError::from)?;
        Ok(Events {
            stream,
            buffer: Vec::new(),
        })
    }
}

fn call(
    directory: &Path,
    request: &Request,
    fds: &[OwnedFd],
) -> Result<(Response, Vec<OwnedFd>), ShimError> {
    let stream = files::connect(directory, SOCKET_FILE).map_err(ShimError::Gone)?;
    stream
        .set_read_timeout(Some(ANSWER_TIMEOUT))
        .map_err(FrameError::from)?;
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    Ok(frame::call(&stream, request, &raw)?)
}

/// A subscription.
pub struct Events {
    stream: tokio::net::UnixStream,
    buffer: Vec<u8>,
}

impl Events {
    /// `None` when the shim has ended or speaks nonsense.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match frame::decode(&mut self.buffer) {
                Ok(Some(event)) => return Some(event),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "undecodable event from a shim");
                    return None;
                }
            }
            if !matches!(self.stream.read_buf(&mut self.buffer).await, Ok(count) if count > 0) {
                return None;
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
