//! A pod of one process, which writes its lines, and ends after a second of paused time; its odd ports refuse.

use std::io::{PipeReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use knarr_runtime::Error;
use knarr_runtime::exec::{AttachRequest, ExecRequest, Executor, Session};
use nix::pty::openpty;
use tokio::net::{TcpListener, TcpStream};

pub const STDOUT: &[u8] = b"out\n";
pub const STDERR: &[u8] = b"err\n";
const LIFE: Duration = Duration::from_secs(1);

pub struct Pod {
    /// The process's end of its input.
    stdin: Mutex<Option<PipeReader>>,
    /// What comes to it is sent back.
    echo: SocketAddr,
}

fn failed(source: std::io::Error) -> Error {
    Error::Io {
        what: "make a process",
        source,
    }
}

impl Pod {
    pub async fn new() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.map_err(|error| error.to_string())?;
        let echo = listener.local_addr().map_err(|error| error.to_string())?;
        // They end with the session's runtime time: a forwarded connection that is closed ends its copy.
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut reader, mut writer) = socket.into_split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        Ok(Self {
            stdin: Mutex::default(),
            echo,
        })
    }

    /// What the process has read, once its session is over.
    pub fn stdin(&self) -> Vec<u8> {
        let mut read = Vec::new();
        if let Some(mut stdin) = self.stdin.lock().expect("no panic").take() {
            stdin.read_to_end(&mut read).expect("a pipe");
        }
        read
    }

    fn session(&self, wanted: [bool; 3], tty: bool) -> std::io::Result<Session> {
        if tty {
            return terminal();
        }
        let [stdin, stdout, stderr] = wanted;
        let input = match stdin {
            true => {
                let (reader, writer) = std::io::pipe()?;
                *self.stdin.lock().expect("no panic") = Some(reader);
                Some(OwnedFd::from(writer))
            }
            false => None,
        };
        let output = |wanted: bool, text: &[u8]| -> std::io::Result<Option<OwnedFd>> {
            let (reader, mut writer) = std::io::pipe()?;
            writer.write_all(text)?;
            Ok(wanted.then(|| reader.into()))
        };
        Ok(Session {
            stdin: input,
            stdout: output(stdout, STDOUT)?,
            stderr: output(stderr, STDERR)?,
            tty: None,
            exit: Box::pin(async {
                tokio::time::sleep(LIFE).await;
                Ok(0)
            }),
            ends_with_input: false,
            kill: Box::new(|| {}),
        })
    }
}

/// A process with a terminal.
fn terminal() -> std::io::Result<Session> {
    let pty = openpty(None, None)?;
    std::fs::File::from(pty.slave.try_clone()?).write_all(STDOUT)?;
    Ok(Session {
        stdin: None,
        stdout: None,
        stderr: None,
        tty: Some(pty.master),
        exit: Box::pin(async move {
            tokio::time::sleep(LIFE).await;
            drop(pty.slave);
            Ok(7)
        }),
        ends_with_input: false,
        kill: Box::new(|| {}),
    })
}

#[async_trait]
impl Executor for Pod {
    async fn exec(&self, request: ExecRequest) -> Result<Session, Error> {
        let wanted = [request.stdin, request.stdout, request.stderr];
        self.session(wanted, request.tty).map_err(failed)
    }

    async fn attach(&self, request: AttachRequest) -> Result<Session, Error> {
        let wanted = [request.stdin, request.stdout, request.stderr];
        self.session(wanted, request.tty).map_err(failed)
    }

    async fn port_connect(&self, _: &str, port: u16) -> Result<TcpStream, Error> {
        if port % 2 == 1 {
            return Err(failed(std::io::ErrorKind::ConnectionRefused.into()));
        }
        TcpStream::connect(self.echo).await.map_err(failed)
    }
}
