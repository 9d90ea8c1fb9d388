//! The poll loop: clients, containers' output, one-shot children's reports, ended children.

mod requests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use knarr_shim::frame::{self, FrameError};
use knarr_shim::protocol::{ErrorKind, Event, Request, Response, SIGNAL_EXIT_BASE, SOCKET_FILE};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::container::{Container, poll_targets};
use crate::launch::Launched;
use crate::setup::Ready;
use crate::sys;

/// Connections at a time. More wait in the listen queue.
const MAX_CLIENTS: usize = 64;
/// Unsent bytes of a subscriber that does not read; past this it is dropped and will ask for the state anew.
const MAX_UNSENT_BYTES: usize = 1 << 20;

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
    fds: Vec<OwnedFd>,
    unsent: Vec<u8>,
    subscribed: bool,
}

/// A one-shot child that has not reported.
struct Launch {
    /// Its own, not that of what it starts.
    pid: Pid,
    report: UnixStream,
    bytes: Vec<u8>,
    fds: Vec<OwnedFd>,
    client: u64,
    id: String,
    /// `None` for a container's first process.
    exec_id: Option<String>,
}

#[derive(Clone, Copy)]
enum Target {
    Signals,
    Listener,
    Client(u64),
    Launch(usize),
    Output(usize, usize),
}

pub struct Server {
    listener: UnixListener,
    ready: Ready,
    clients: BTreeMap<u64, Client>,
    next_client: u64,
    containers: Vec<Container>,
    launches: Vec<Launch>,
    /// Running execs by pid: (container, exec).
    execs: HashMap<i32, (String, String)>,
    /// Children that ended before the one-shot child named them.
    unclaimed: HashMap<i32, i32>,
    done: bool,
}

impl Server {
    pub fn new(directory: PathBuf, ready: Ready) -> io::Result<Self> {
        let listener = sys::listen(&directory, SOCKET_FILE)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            listener,
            ready,
            clients: BTreeMap::new(),
            next_client: 0,
            containers: Vec::new(),
            launches: Vec::new(),
            execs: HashMap::new(),
            unclaimed: HashMap::new(),
            done: false,
        })
    }

    pub fn run(mut self) -> io::Result<()> {
        while !self.done {
            for target in self.wait()? {
                self.handle(target);
            }
            self.launches.retain(|launch| !launch.id.is_empty());
        }
        if let Some(init) = self.ready.init_pid {
            let _ = kill(init, Signal::SIGKILL);
        }
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<Target>> {
        fn add<'a>(
            polled: &mut Vec<PollFd<'a>>,
            targets: &mut Vec<Target>,
            fd: BorrowedFd<'a>,
            flags: PollFlags,
            target: Target,
        ) {
            polled.push(PollFd::new(fd, flags));
            targets.push(target);
        }
        let (mut polled, mut targets) = (Vec::new(), Vec::new());
        let input = PollFlags::POLLIN;
        // Ended children come last, so that a one-shot child's report is read before its container's end.
        for (index, launch) in self.launches.iter().enumerate() {
            add(
                &mut polled,
                &mut targets,
                launch.report.as_fd(),
                input,
                Target::Launch(index),
            );
        }
        add(
            &mut polled,
            &mut targets,
            self.ready.signals.as_fd(),
            input,
            Target::Signals,
        );
        if self.clients.len() < MAX_CLIENTS {
            add(
                &mut polled,
                &mut targets,
                self.listener.as_fd(),
                input,
                Target::Listener,
            );
        }
        for (key, client) in &self.clients {
            let mut flags = input;
            flags.set(PollFlags::POLLOUT, !client.unsent.is_empty());
            add(
                &mut polled,
                &mut targets,
                client.stream.as_fd(),
                flags,
                Target::Client(*key),
            );
        }
        for (number, container) in self.containers.iter().enumerate() {
            for (fd, index, readable) in poll_targets(container) {
                let flags = if readable { input } else { PollFlags::POLLOUT };
                add(
                    &mut polled,
                    &mut targets,
                    fd,
                    flags,
                    Target::Output(number, index),
                );
            }
        }
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let happened = polled
            .iter()
            .map(|fd| fd.revents().is_some_and(|flags| !flags.is_empty()));
        Ok(targets
            .into_iter()
            .zip(happened)
            .filter_map(|(target, hit)| hit.then_some(target))
            .collect())
    }

    fn handle(&mut self, target: Target) {
        match target {
            Target::Signals => {
                while let Ok(Some(_)) = self.ready.signals.read_signal() {}
                self.reap();
            }
            Target::Listener => self.accept(),
            Target::Client(key) => self.serve(key),
            Target::Launch(index) => self.read_report(index),
            Target::Output(number, index) => {
                if let Some(container) = self.containers.get_mut(number) {
                    container.pump(index);
                }
            }
        }
    }

    fn accept(&mut self) {
        let Ok((stream, _)) = self.listener.accept() else {
            return;
        };
        if stream.set_nonblocking(true).is_ok() {
            self.next_client += 1;
            let client = Client {
                stream,
                input: Vec::new(),
                fds: Vec::new(),
                unsent: Vec::new(),
                subscribed: false,
            };
            self.clients.insert(self.next_client, client);
        }
    }

    fn serve(&mut self, key: u64) {
        let Some(client) = self.clients.get_mut(&key) else {
            return;
        };
        if flush(client).is_err() {
            self.clients.remove(&key);
            return;
        }
        match frame::receive(&client.stream, &mut client.input, &mut client.fds) {
            Ok(0) => {
                self.clients.remove(&key);
                return;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => {
                self.clients.remove(&key);
                return;
            }
        }
        match frame::decode::<Request>(&mut client.input) {
            Ok(None) => {}
            Ok(Some(request)) => {
                let fds = std::mem::take(&mut client.fds);
                self.request(key, request, fds);
            }
            Err(error) => {
                let kind = match error {
                    FrameError::Version(_) => ErrorKind::Version,
                    _ => ErrorKind::Internal,
                };
                self.answer(
                    key,
                    &Response::Error {
                        kind,
                        message: error.to_string(),
                    },
                    &[],
                );
                self.clients.remove(&key);
            }
        }
    }

    /// The one-shot child has ended. What it has made may hang, and holds the report's socket open as well.
    fn launch_ended(&mut self, index: usize) {
        self.read_report(index);
        let Some(launch) = self.launches.get(index) else {
            return;
        };
        if !launch.id.is_empty() {
            self.reported(index, died());
        }
    }

    fn read_report(&mut self, index: usize) {
        let Some(launch) = self.launches.get_mut(index) else {
            return;
        };
        let launched = match frame::receive(&launch.report, &mut launch.bytes, &mut launch.fds) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => Launched::Failed {
                message: error.to_string(),
            },
            Ok(0) => died(),
            Ok(_) => match frame::decode(&mut launch.bytes) {
                Ok(None) => return,
                Ok(Some(launched)) => launched,
                Err(error) => Launched::Failed {
                    message: error.to_string(),
                },
            },
        };
        self.reported(index, launched);
    }

    fn reported(&mut self, index: usize, launched: Launched) {
        let Some(launch) = self.launches.get_mut(index) else {
            return;
        };
        // An empty id marks it as done; the loop removes it once no index is in use.
        let id = std::mem::take(&mut launch.id);
        let (client, exec_id, master) = (launch.client, launch.exec_id.take(), launch.fds.pop());
        match (launched, exec_id) {
            (Launched::Started { pid }, None) => self.started(client, &id, pid, master),
            (Launched::Started { pid }, Some(exec_id)) => {
                self.exec_started(client, id, exec_id, pid, master);
            }
            (Launched::Failed { message }, exec_id) => {
                if exec_id.is_none() {
                    self.containers.retain(|container| container.spec.id != id);
                }
                self.answer(
                    client,
                    &Response::Error {
                        kind: ErrorKind::Start,
                        message,
                    },
                    &[],
                );
            }
        }
        if self.launches.iter().all(|launch| launch.id.is_empty()) {
            self.unclaimed.clear();
        }
    }

    fn started(&mut self, client: u64, id: &str, pid: i32, master: Option<OwnedFd>) {
        let Ok(container) = self.find(id) else { return };
        let mut event = None;
        let response = match container.start(pid, master) {
            Ok(()) => {
                let started_at = container.started_at;
                event = Some(Event::Started {
                    id: id.to_owned(),
                    pid,
                    started_at,
                });
                Response::Started { pid, started_at }
            }
            Err(error) => {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                Response::Error {
                    kind: ErrorKind::Start,
                    message: error.to_string(),
                }
            }
        };
        self.answer(client, &response, &[]);
        if let Some(event) = event {
            self.broadcast(&event);
        }
        if let Some(code) = self.unclaimed.remove(&pid) {
            self.ended(pid, code);
        }
    }

    fn exec_started(
        &mut self,
        client: u64,
        id: String,
        exec_id: String,
        pid: i32,
        master: Option<OwnedFd>,
    ) {
        let master: Vec<OwnedFd> = master.into_iter().collect();
        self.execs.insert(pid, (id, exec_id));
        let started = Response::Started {
            pid,
            started_at: sys::now(),
        };
        // Whoever gave up on it has left it nobody to talk to.
        if !self.answer(client, &started, &master) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(code) = self.unclaimed.remove(&pid) {
            self.ended(pid, code);
        }
    }

    fn reap(&mut self) {
        loop {
            let (pid, code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => {
                    (pid.as_raw(), SIGNAL_EXIT_BASE + signal as i32)
                }
                Ok(WaitStatus::StillAlive) => return,
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            self.ended(pid, code);
        }
    }

    /// A child has ended: a container's first process, an exec, a one-shot child, or an orphan.
    fn ended(&mut self, pid: i32, code: i32) {
        let mut launches = self.launches.iter();
        let launched =
            launches.position(|launch| launch.pid.as_raw() == pid && !launch.id.is_empty());
        if let Some(index) = launched {
            self.launch_ended(index);
            return;
        }
        let event = if let Some((id, exec_id)) = self.execs.remove(&pid) {
            Event::ExecExited {
                id,
                exec_id,
                exit_code: code,
            }
        } else if let Some(container) = self
            .containers
            .iter_mut()
            .find(|container| container.running() && container.pid == pid)
        {
            Event::Exited {
                id: container.spec.id.clone(),
                exit: container.end(code),
            }
        } else {
            if !self.launches.is_empty() {
                self.unclaimed.insert(pid, code);
            }
            return;
        };
        self.broadcast(&event);
    }

    fn broadcast(&mut self, event: &Event) {
        let Ok(bytes) = frame::encode(event) else {
            return;
        };
        self.clients.retain(|_, client| {
            if !client.subscribed {
                return true;
            }
            client.unsent.extend_from_slice(&bytes);
            flush(client).is_ok() && client.unsent.len() <= MAX_UNSENT_BYTES
        });
    }

    /// Responses are small and the client waits for them: if its socket will not take one, it is gone. Whether it took it.
    fn answer(&mut self, key: u64, response: &Response, fds: &[OwnedFd]) -> bool {
        let Some(client) = self.clients.get_mut(&key) else {
            return false;
        };
        let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
        let sent = frame::encode(response).map(|bytes| frame::send(&client.stream, &bytes, &raw));
        let taken = matches!(sent, Ok(Ok(())));
        if !taken {
            self.clients.remove(&key);
        }
        taken
    }
}

fn died() -> Launched {
    Launched::Failed {
        message: "the starting process died".to_owned(),
    }
}

fn flush(client: &mut Client) -> io::Result<()> {
    use std::io::Write;
    while !client.unsent.is_empty() {
        match client.stream.write(&client.unsent) {
            Ok(count) => {
                client.unsent.drain(..count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
