//! The seam between the runtime and its streaming server: processes and connections in, descriptors out.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;

use async_trait::async_trait;
use tokio::net::TcpStream;

use crate::Error;

/// A process to run in a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecRequest {
    pub container_id: String,
    pub command: Vec<String>,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Streams of a running container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttachRequest {
    pub container_id: String,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// Connections into a sandbox.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortForwardRequest {
    pub sandbox_id: String,
    /// Empty: the client names them as it goes.
    pub ports: Vec<u16>,
}

/// A running process's streams. The descriptors are blocking or not as they came: set what you need.
pub struct Session {
    /// Write end. Closing it is the process's end of file.
    pub stdin: Option<OwnedFd>,
    /// Read ends.
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// A pty's master instead of the three: read output from it (`EIO` is its end), write input to it. On an attach to
    /// a container with a terminal, output comes from `stdout` and this takes input and sizes only.
    pub tty: Option<OwnedFd>,
    /// The exit code (128 and the signal's number when a signal killed it). For an attach, the container's.
    pub exit: Exit,
    /// The session is over when the client's input is: an attach to a container whose own input stays open.
    pub ends_with_input: bool,
    /// Stops the process of an exec: SIGKILL. No-op for an attach.
    pub kill: Box<dyn Fn() + Send + Sync>,
}

/// Resolves once.
pub type Exit = Pin<Box<dyn Future<Output = Result<i32, Error>> + Send>>;

impl Session {
    /// Sets the terminal's size, characters. Without a terminal nothing happens.
    pub fn resize(&self, width: u16, height: u16) {
        if let Some(tty) = &self.tty {
            resize(tty, width, height);
        }
    }
}

/// As [`Session::resize`], for a descriptor taken out of a session.
pub fn resize(tty: &OwnedFd, width: u16, height: u16) {
    use std::os::fd::AsRawFd;
    let size = libc::winsize {
        ws_row: height,
        ws_col: width,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: TIOCSWINSZ reads one winsize, which outlives the call. A descriptor that is no terminal is refused.
    unsafe { libc::ioctl(tty.as_raw_fd(), libc::TIOCSWINSZ, &size) };
}

/// What the streaming server needs of the runtime.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Starts a process. Errors are those of CRI: not found, not running, or why the command could not be executed.
    async fn exec(&self, request: ExecRequest) -> Result<Session, Error>;
    async fn attach(&self, request: AttachRequest) -> Result<Session, Error>;
    /// Connects to a port of the sandbox's own loopback.
    async fn port_connect(&self, sandbox_id: &str, port: u16) -> Result<TcpStream, Error>;
}

/// What CRI's `Exec`, `Attach` and `PortForward` need of the streaming server: a URL, once usable, for a checked request.
pub trait Streaming: Send + Sync {
    fn exec_url(&self, request: ExecRequest) -> Result<String, Error>;
    fn attach_url(&self, request: AttachRequest) -> Result<String, Error>;
    fn port_forward_url(&self, request: PortForwardRequest) -> Result<String, Error>;
}
