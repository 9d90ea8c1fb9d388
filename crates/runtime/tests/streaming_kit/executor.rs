//! An executor whose containers are this machine.

#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use knarr_runtime::Error;
use knarr_runtime::exec::{AttachRequest, ExecRequest, Executor, Session};
use tokio::net::TcpStream;

#[derive(Default)]
pub struct Processes {
    running: Arc<AtomicUsize>,
}

impl Processes {
    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    fn session(&self, mut command: Command, tty: Option<OwnedFd>) -> Result<Session, Error> {
        let mut child = command
            .spawn()
            .map_err(|error| Error::State(format!("exec failed: {error}")))?;
        // The child's ends are its own now.
        drop(command);
        self.running.fetch_add(1, Ordering::SeqCst);
        let (stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let pid = child.id();
        let (sender, ended) = tokio::sync::oneshot::channel();
        let running = self.running.clone();
        std::thread::spawn(move || {
            let status = child.wait();
            running.fetch_sub(1, Ordering::SeqCst);
            let code = status.ok().and_then(|status| status.code()).unwrap_or(137);
            let _ = sender.send(code);
        });
        Ok(Session {
            stdin: stdin.map(OwnedFd::from),
            stdout: stdout.map(OwnedFd::from),
            stderr: stderr.map(OwnedFd::from),
            tty,
            exit: Box::pin(async move { Ok(ended.await.unwrap_or(137)) }),
            ends_with_input: false,
            kill: Box::new(move || {
                // SAFETY: kill(2) of a process of ours.
                unsafe { libc::kill(pid as i32, libc::SIGKILL) };
            }),
        })
    }
}

#[async_trait]
impl Executor for Processes {
    async fn exec(&self, request: ExecRequest) -> Result<Session, Error> {
        let mut command = Command::new(&request.command[0]);
        command.args(&request.command[1..]);
        if request.tty {
            let master = on_terminal(&mut command, None);
            return self.session(command, Some(master));
        }
        let pipe = |wanted: bool| {
            if wanted {
                Stdio::piped()
            } else {
                Stdio::null()
            }
        };
        command
            .stdin(pipe(request.stdin))
            .stdout(pipe(request.stdout))
            .stderr(pipe(request.stderr));
        self.session(command, None)
    }

    /// The container says one line after the one it is told. The one called `stays` goes on, with its input open.
    async fn attach(&self, request: AttachRequest) -> Result<Session, Error> {
        let stays = request.container_id == "stays";
        let then = if stays { "; exec sleep 3600" } else { "" };
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("read line; echo \"$line\"{then}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut session = self.session(command, None)?;
        session.ends_with_input = stays;
        Ok(session)
    }

    async fn port_connect(&self, _: &str, port: u16) -> Result<TcpStream, Error> {
        TcpStream::connect(("127.0.0.1", port))
            .await
            .map_err(|source| Error::Io {
                what: "connect to the port",
                source,
            })
    }
}

/// Gives a command a terminal of its own, with a size if one is given; the master.
pub fn on_terminal(command: &mut Command, size: Option<(u16, u16)>) -> OwnedFd {
    let size = size.map(|(columns, rows)| nix::pty::Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    });
    let pty = nix::pty::openpty(size.as_ref(), None).unwrap();
    for fd in [&pty.master, &pty.slave] {
        let flag = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(fd.as_raw_fd(), flag).unwrap();
    }
    command
        .stdin(pty.slave.try_clone().unwrap())
        .stdout(pty.slave.try_clone().unwrap())
        .stderr(pty.slave);
    use std::os::unix::process::CommandExt;
    // SAFETY: setsid(2) and ioctl(2) are allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() < 0 || libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    pty.master
}
