//! Exec and attach: a process's descriptors and the client's streams.

use std::io;
use std::sync::Arc;

use serde::Deserialize;

use super::copy;
use super::descriptor::Descriptor;
use super::status::{Ending, Format};
use super::streams::{Input, Output};
use crate::Error;
use crate::exec::{self, AttachRequest, ExecRequest, Executor, Session};

/// Most bytes of a terminal's size that has not ended yet.
const MAX_SIZE_BYTES: usize = 1024;

/// What is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Exec(ExecRequest),
    Attach(AttachRequest),
}

/// Which streams the client has to open besides the error stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    pub tty: bool,
}

impl Command {
    pub fn wanted(&self) -> Wanted {
        let (stdin, stdout, stderr, tty) = match self {
            Self::Exec(one) => (one.stdin, one.stdout, one.stderr, one.tty),
            Self::Attach(one) => (one.stdin, one.stdout, one.stderr, one.tty),
        };
        Wanted {
            stdin,
            stdout,
            stderr,
            tty,
        }
    }
}

/// The client's streams.
pub struct Streams {
    pub stdin: Option<Input>,
    pub stdout: Option<Output>,
    pub stderr: Option<Output>,
    pub resize: Option<Input>,
    pub error: Output,
    pub format: Format,
}

/// Runs to the end: all output is sent before the error stream tells how it went. A client that leaves drops this future,
/// which closes the descriptors (a terminal hangs up, a pipe breaks) and leaves the process alone, as upstream does.
pub async fn run(executor: Arc<dyn Executor>, command: Command, streams: Streams) {
    let Streams {
        stdin,
        stdout,
        stderr,
        resize,
        error,
        format,
    } = streams;
    let client = Client {
        stdin,
        stdout,
        stderr,
        resize,
    };
    let ending = match command {
        Command::Exec(request) => {
            let argv = request.command.clone();
            match converse(executor.exec(request).await, client).await {
                Ok(0) => Ending::Success,
                Ok(code) => Ending::Exited {
                    command: argv,
                    code,
                },
                Err(error) => Ending::Failed {
                    what: "error executing command in container",
                    error,
                },
            }
        }
        Command::Attach(request) => match converse(executor.attach(request).await, client).await {
            Ok(_) => Ending::Success,
            Err(error) => Ending::Failed {
                what: "error attaching to container",
                error,
            },
        },
    };
    if let Some(text) = ending.encode(format)
        && error.send(text).await.is_err()
    {
        return;
    }
    let _ = error.end().await;
}

struct Client {
    stdin: Option<Input>,
    stdout: Option<Output>,
    stderr: Option<Output>,
    resize: Option<Input>,
}

/// Copies until the process has ended and its output as well.
async fn converse(session: Result<Session, Error>, client: Client) -> Result<i32, Error> {
    let Client {
        stdin,
        stdout,
        stderr,
        resize,
    } = client;
    let opened =
        session.and_then(|session| Open::new(session).map_err(Error::io("open the streams")));
    let open = match opened {
        Ok(open) => open,
        Err(error) => {
            for output in [stdout, stderr].into_iter().flatten() {
                let _ = output.end().await;
            }
            return Err(error);
        }
    };
    let Open {
        input,
        stdout: out,
        stderr: err,
        tty,
        exit,
        ends_with_input,
    } = open;
    // Input goes on being thrown away when its reader is gone, which keeps the connection read.
    let incoming = async {
        let input = async {
            let ended = match stdin {
                Some(stdin) => copy::to_descriptor(stdin, input).await,
                None => {
                    drop(input);
                    false
                }
            };
            if !(ended && ends_with_input) {
                std::future::pending::<()>().await;
            }
        };
        let resizes = async {
            resizes(resize, tty).await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = input => {}
            () = resizes => {}
        }
    };
    let outputs = async {
        tokio::join!(
            copy::from_descriptor(out, stdout),
            copy::from_descriptor(err, stderr)
        )
    };
    tokio::select! {
        (_, code) = async { tokio::join!(outputs, exit) } => code,
        () = incoming => Ok(0),
    }
}

/// A session whose descriptors are ready for use.
struct Open {
    input: Option<Descriptor>,
    stdout: Option<Descriptor>,
    stderr: Option<Descriptor>,
    tty: Option<Descriptor>,
    exit: exec::Exit,
    ends_with_input: bool,
}

impl Open {
    fn new(session: Session) -> io::Result<Self> {
        let Session {
            stdin,
            stdout,
            stderr,
            tty,
            exit,
            ends_with_input,
            kill: _,
        } = session;
        let open = |fd: Option<_>| fd.map(Descriptor::new).transpose();
        let tty = open(tty)?;
        Ok(Self {
            input: open(stdin)?.or_else(|| tty.clone()),
            stdout: open(stdout)?.or_else(|| tty.clone()),
            stderr: open(stderr)?,
            tty,
            exit,
            ends_with_input,
        })
    }
}

/// Applies the sizes that the client sends.
async fn resizes(input: Option<Input>, tty: Option<Descriptor>) {
    let (Some(mut input), Some(tty)) = (input, tty) else {
        return;
    };
    let mut sizes = Sizes::default();
    while let Some(chunk) = input.next().await {
        // Only the last of several matters.
        if let Some(size) = sizes.push(&chunk).pop() {
            exec::resize(tty.get(), size.width, size.height);
        }
    }
}

/// A terminal's size, characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Size {
    width: u16,
    height: u16,
}

/// Reads JSON values from a stream that is cut anywhere.
#[derive(Default)]
struct Sizes {
    rest: Vec<u8>,
}

impl Sizes {
    fn push(&mut self, bytes: &[u8]) -> Vec<Size> {
        self.rest.extend_from_slice(bytes);
        let mut sizes = Vec::new();
        let mut values = serde_json::Deserializer::from_slice(&self.rest).into_iter::<Size>();
        let mut broken = false;
        for value in values.by_ref() {
            match value {
                Ok(size) => sizes.push(size),
                Err(error) => {
                    broken = !error.is_eof();
                    break;
                }
            }
        }
        let used = values.byte_offset();
        self.rest.drain(..used);
        if broken || self.rest.len() > MAX_SIZE_BYTES {
            self.rest.clear();
        }
        sizes
    }
}

#[cfg(test)]
mod tests;
