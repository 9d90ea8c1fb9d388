//! What each request does.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use knarr_shim::protocol::{ErrorKind, ExecSpec, Request, Response, StartSpec};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Launch, Server};
use crate::container::Container;
use crate::{exec, launch};

/// Containers of a sandbox that the shim remembers.
const MAX_CONTAINERS: usize = 1_000;

impl Server {
    pub(super) fn request(&mut self, key: u64, request: Request, fds: Vec<OwnedFd>) {
        let outcome = match request {
            Request::State => Ok(self.state()),
            Request::Start(spec) => match self.start(key, spec) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Request::Exec(spec) => match self.exec(key, &spec, fds) {
                Ok(()) => return,
                Err(error) => Err(error),
            },
            Request::Kill {
                id,
                exec_id,
                signal,
            } => self.kill(&id, exec_id.as_deref(), signal),
            Request::Delete { id } => self.delete(&id),
            Request::ReopenLog { id } => self.find(&id).and_then(|container| {
                container
                    .reopen_log()
                    .map_err(|error| (ErrorKind::Internal, error.to_string()))?;
                Ok(Response::Ok)
            }),
            Request::Attach {
                id,
                stdin,
                stdout,
                stderr,
            } => {
                match self
                    .find(&id)
                    .and_then(|container| attach(container, stdin, stdout, stderr))
                {
                    Ok((response, fds)) => {
                        self.answer(key, &response, &fds);
                        return;
                    }
                    Err(error) => Err(error),
                }
            }
            Request::Subscribe => {
                if let Some(client) = self.clients.get_mut(&key) {
                    client.subscribed = true;
                }
                Ok(Response::Ok)
            }
            Request::Shutdown => self.shutdown(),
        };
        let response = outcome.unwrap_or_else(|(kind, message)| Response::Error { kind, message });
        self.answer(key, &response, &[]);
    }

    fn state(&self) -> Response {
        Response::State {
            pid: std::process::id() as i32,
            init_pid: self.ready.init_pid.map(Pid::as_raw),
            containers: self.containers.iter().map(Container::state).collect(),
        }
    }

    pub(super) fn find(&mut self, id: &str) -> Result<&mut Container, (ErrorKind, String)> {
        self.containers
            .iter_mut()
            .find(|container| container.spec.id == id)
            .ok_or_else(|| {
                (
                    ErrorKind::NotFound,
                    format!("no container {id} in this sandbox"),
                )
            })
    }

    fn start(&mut self, key: u64, spec: StartSpec) -> Result<(), (ErrorKind, String)> {
        if self.find(&spec.id).is_ok() {
            return Err((
                ErrorKind::State,
                format!("container {} was started already", spec.id),
            ));
        }
        if self.containers.len() >= MAX_CONTAINERS {
            return Err((
                ErrorKind::Internal,
                format!("over {MAX_CONTAINERS} containers"),
            ));
        }
        let internal = |error: io::Error| (ErrorKind::Internal, error.to_string());
        let id = spec.id.clone();
        let (container, stdio) = Container::prepare(spec)
            .map_err(|error| (ErrorKind::Start, format!("prepare stdio: {error}")))?;
        let launched = launch::start(&container.spec, stdio).map_err(internal)?;
        self.containers.push(container);
        self.watch(launched, key, id, None);
        Ok(())
    }

    fn exec(
        &mut self,
        key: u64,
        spec: &ExecSpec,
        stdio: Vec<OwnedFd>,
    ) -> Result<(), (ErrorKind, String)> {
        let container = self.find(&spec.id)?;
        if !container.running() {
            return Err((
                ErrorKind::State,
                format!("container {} is not running", spec.id),
            ));
        }
        if !spec.tty && stdio.len() != 3 {
            return Err((
                ErrorKind::Internal,
                "an exec needs three descriptors".to_owned(),
            ));
        }
        let launched = exec::start(exec::Exec {
            container: &container.spec,
            pid: container.pid,
            args: &spec.args,
            tty: spec.tty,
            stdio,
        })
        .map_err(|error| (ErrorKind::Internal, error.to_string()))?;
        self.watch(launched, key, spec.id.clone(), Some(spec.exec_id.clone()));
        Ok(())
    }

    fn watch(
        &mut self,
        (pid, report): (Pid, UnixStream),
        client: u64,
        id: String,
        exec_id: Option<String>,
    ) {
        self.launches.push(Launch {
            pid,
            report,
            bytes: Vec::new(),
            fds: Vec::new(),
            client,
            id,
            exec_id,
        });
    }

    fn kill(
        &mut self,
        id: &str,
        exec_id: Option<&str>,
        signal: i32,
    ) -> Result<Response, (ErrorKind, String)> {
        let signal = Signal::try_from(signal)
            .map_err(|_| (ErrorKind::Internal, format!("no signal {signal}")))?;
        let pid = match exec_id {
            Some(exec_id) => self
                .execs
                .iter()
                .find(|(_, (container, exec))| container == id && exec == exec_id)
                .map(|(pid, _)| *pid),
            None => match self.find(id)? {
                container if container.running() => Some(container.pid),
                // Being started: what starts it ends, and the start has failed.
                container if container.exit.is_none() => self
                    .launches
                    .iter()
                    .find(|launch| launch.id == id && launch.exec_id.is_none())
                    .map(|launch| launch.pid.as_raw()),
                _ => None,
            },
        };
        let pid = pid.ok_or_else(|| (ErrorKind::NotFound, "the process has ended".to_owned()))?;
        match kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(Response::Ok),
            Err(error) => Err((ErrorKind::Internal, format!("kill: {error}"))),
        }
    }

    fn delete(&mut self, id: &str) -> Result<Response, (ErrorKind, String)> {
        if self.find(id)?.exit.is_none() {
            return Err((ErrorKind::State, format!("container {id} is running")));
        }
        self.containers.retain(|container| container.spec.id != id);
        Ok(Response::Ok)
    }

    fn shutdown(&mut self) -> Result<Response, (ErrorKind, String)> {
        if self
            .containers
            .iter()
            .any(|container| container.exit.is_none())
        {
            return Err((ErrorKind::State, "a container is running".to_owned()));
        }
        self.done = true;
        Ok(Response::Ok)
    }
}

fn attach(
    container: &mut Container,
    stdin: bool,
    stdout: bool,
    stderr: bool,
) -> Result<(Response, Vec<OwnedFd>), (ErrorKind, String)> {
    if !container.running() {
        return Err((
            ErrorKind::State,
            format!("container {} is not running", container.spec.id),
        ));
    }
    container
        .attach(stdin, stdout, stderr)
        .map(|(fds, owned)| (Response::Attached { fds }, owned))
        .map_err(|error| (ErrorKind::Internal, error.to_string()))
}
