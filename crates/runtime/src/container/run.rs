//! Starting and ending containers, and what happens in between.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use knarr_cri::v1::{ContainerEventType, ContainerStatus};
use knarr_shim::protocol::{
    AttachedFd, EXIT_FILE, ErrorKind, ExecSpec, ExitRecord, Request, Response, StartSpec,
};
use tokio::net::TcpStream;
use tracing::Instrument;

use crate::container::{Container, Phase};
use crate::exec::{AttachRequest, ExecRequest, Executor, Session};
use crate::records::{FAILURE_FILE, FailureRecord};
use crate::runtime::{Inner, blocking};
use crate::sandbox::Sandbox;
use crate::shim::ShimError;
use crate::{Error, cgroup, files, id};

/// Exit code of a container that could not be started. Containerd's.
const START_ERROR_EXIT: i32 = 128;
/// Exit code of a container whose end nobody saw. Containerd's.
const UNKNOWN_EXIT: i32 = 255;
/// How long after SIGKILL a container may still be there.
const KILL_TIMEOUT: Duration = Duration::from_secs(30);
/// What a container that is to be stopped gets to start first, at least.
const START_PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection to a port of a sandbox may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Inner {
    /// Goes on when whoever asked has given up: it ends as the shim says, and nobody is told anything else.
    pub(crate) async fn start_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
    ) -> Result<(), Error> {
        let (inner, started) = (self.clone(), container.clone());
        let starting = self.tasks.spawn(async move {
            tokio::select! {
                outcome = inner.start(&started) => outcome,
                // The next runtime hears of it from the shim.
                () = inner.token.cancelled() => Err(Error::State("the runtime is stopping".to_owned())),
            }
        });
        starting.await.unwrap_or_else(|error| {
            Err(Error::Io {
                what: "start the container",
                source: std::io::Error::other(error),
            })
        })
    }

    async fn start(self: &Arc<Self>, container: &Arc<Container>) -> Result<(), Error> {
        let _operation = container.operation.lock().await;
        let phase = container.status.lock().phase;
        if phase != Phase::Created {
            return Err(Error::State(format!(
                "container is in {} state",
                if phase == Phase::Running {
                    "CONTAINER_RUNNING"
                } else {
                    "CONTAINER_EXITED"
                }
            )));
        }
        let sandbox = self.sandbox(&container.record.sandbox)?;
        if !sandbox.status.lock().ready {
            return Err(Error::State(format!(
                "sandbox container {:?} is not running",
                sandbox.record.id
            )));
        }
        let span = tracing::debug_span!("start_container", container = &container.record.id[..12]);
        let starting = sandbox.shim.start(start_spec(container));
        match starting.instrument(span).await {
            Ok(Response::Started { pid, started_at }) => {
                self.container_started(container, pid, started_at);
                Ok(())
            }
            Ok(_) => Err(ShimError::Unexpected.into()),
            Err(error) => {
                // A start that was cut off may have come as far as to a process, which waits for good.
                let cgroup = container.record.cgroup.clone();
                let killing = move || cgroup::host().remove(&cgroup);
                if let Err(error) = blocking("kill what a start has left", killing).await {
                    tracing::warn!(container = container.record.id, %error, "cannot clean up after a failed start");
                }
                self.start_failed(container, &knarr_shim::chain(&error))
                    .await;
                Err(error.into())
            }
        }
    }

    async fn start_failed(&self, container: &Arc<Container>, message: &str) {
        let failure = FailureRecord {
            at: files::now(),
            message: message.to_owned(),
        };
        let (file, record) = (container.directory.join(FAILURE_FILE), failure.clone());
        let writing = move || files::write_json(&file, &record);
        if let Err(error) = blocking("record a failed start", writing).await {
            tracing::warn!(container = container.record.id, %error, "cannot record a failed start");
        }
        fail(container, &failure);
        self.publish_container(container, ContainerEventType::ContainerStoppedEvent);
    }

    /// Told by whatever comes first, the shim's answer or its event.
    pub(crate) fn container_started(&self, container: &Arc<Container>, pid: i32, started_at: i64) {
        if container.running(pid, started_at) {
            self.publish_container(container, ContainerEventType::ContainerStartedEvent);
        }
    }

    /// The shim has seen it end, and has recorded it.
    pub(crate) fn container_exited(&self, container: &Arc<Container>, exit: ExitRecord) {
        // A group that stays keeps its pod's from getting less than it had.
        let cgroup = container.record.cgroup.clone();
        cgroup::host().remove_empty(&cgroup);
        if !container.record.private_pid {
            // Its other processes have been killed and may still be on their way out.
            self.tasks.spawn(async move {
                let removing = move || cgroup::host().remove(&cgroup);
                if let Err(error) = blocking("remove the group of what has ended", removing).await {
                    tracing::debug!(%error, "a group is left to its container's removal");
                }
            });
        }
        if container.exited(&exit) {
            self.publish_container(container, ContainerEventType::ContainerStoppedEvent);
        }
    }

    /// Containers of a shim that died have nobody to report their end, nor their output: they are ended. The sandbox is,
    /// whether it has any or not.
    pub(crate) async fn shim_died(self: &Arc<Self>, sandbox: &Arc<Sandbox>) {
        tracing::warn!(sandbox = sandbox.record.id, "the shim has died");
        sandbox.status.lock().ready = false;
        for container in self.containers_of(&sandbox.record.id) {
            self.settle_orphan(&container).await;
        }
        self.publish_sandbox(sandbox, ContainerEventType::ContainerStoppedEvent);
    }

    /// Finds out how a container ended whose shim is dead, and sees to it that it has.
    pub(crate) async fn settle_orphan(self: &Arc<Self>, container: &Arc<Container>) {
        if container.status.lock().phase == Phase::Exited {
            return;
        }
        let path = container.directory.join(EXIT_FILE);
        if let Ok(Some(exit)) = files::read_json::<ExitRecord>(&path) {
            self.container_exited(container, exit);
            return;
        }
        let cgroup = container.record.cgroup.clone();
        if let Err(error) = blocking("kill an orphan", move || cgroup::host().remove(&cgroup)).await
        {
            tracing::warn!(container = container.record.id, %error, "cannot kill a container without a shim");
        }
        let status = container.status.lock().clone();
        if status.phase == Phase::Running {
            let exit = ExitRecord {
                exit_code: UNKNOWN_EXIT,
                started_at: status.started_at,
                finished_at: files::now(),
                oom_killed: false,
            };
            let (file, record) = (path, exit.clone());
            let writing = move || files::write_json(&file, &record);
            if let Err(error) = blocking("record an end", writing).await {
                tracing::warn!(container = container.record.id, %error, "cannot record a container's end");
            }
            if container.end(&exit, "Unknown", "the process that held the container died") {
                self.publish_container(container, ContainerEventType::ContainerStoppedEvent);
            }
        }
    }

    /// The stop signal, then, after `timeout`, SIGKILL. One that does not run is stopped.
    pub(crate) async fn stop_container(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Duration,
    ) -> Result<(), Error> {
        self.let_start_through(container, timeout).await?;
        if container.status.lock().phase != Phase::Running {
            return Ok(());
        }
        let sandbox = self.sandbox(&container.record.sandbox)?;
        if !timeout.is_zero() {
            self.signal(&sandbox, container, container.record.stop_signal)
                .await?;
            if tokio::time::timeout(timeout, container.wait())
                .await
                .is_ok()
            {
                return Ok(());
            }
        }
        self.signal(&sandbox, container, libc::SIGKILL).await?;
        tokio::time::timeout(KILL_TIMEOUT, container.wait())
            .await
            .map_err(|_| {
                Error::DeadlineExceeded(format!(
                    "container {:?} did not end after SIGKILL",
                    container.record.id
                ))
            })
    }

    /// A start under way is waited for, or else the container would run on; one that takes too long is cut off.
    async fn let_start_through(
        self: &Arc<Self>,
        container: &Arc<Container>,
        timeout: Duration,
    ) -> Result<(), Error> {
        let through = || container.operation.lock();
        if tokio::time::timeout(timeout.max(START_PATIENCE), through())
            .await
            .is_ok()
        {
            return Ok(());
        }
        let sandbox = self.sandbox(&container.record.sandbox)?;
        self.signal(&sandbox, container, libc::SIGKILL).await?;
        let cut_off = tokio::time::timeout(KILL_TIMEOUT, through()).await;
        cut_off.map(drop).map_err(|_| {
            let id = &container.record.id;
            Error::DeadlineExceeded(format!("the start of container {id:?} did not end"))
        })
    }

    async fn signal(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
        container: &Arc<Container>,
        signal: i32,
    ) -> Result<(), Error> {
        let request = Request::Kill {
            id: container.record.id.clone(),
            exec_id: None,
            signal,
        };
        match sandbox.shim.order(request).await {
            Ok(())
            | Err(ShimError::Refused {
                kind: ErrorKind::NotFound,
                ..
            }) => Ok(()),
            Err(ShimError::Gone(_)) => {
                self.settle_orphan(container).await;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn reopen_log(&self, container: &Arc<Container>) -> Result<(), Error> {
        let sandbox = self.running_sandbox(container)?;
        Ok(sandbox
            .shim
            .order(Request::ReopenLog {
                id: container.record.id.clone(),
            })
            .await?)
    }

    /// The sandbox of a container that runs.
    pub(crate) fn running_sandbox(&self, container: &Container) -> Result<Arc<Sandbox>, Error> {
        if container.status.lock().phase != Phase::Running {
            return Err(Error::State(format!(
                "container {:?} is not running",
                container.record.id
            )));
        }
        self.sandbox(&container.record.sandbox)
    }

    pub(crate) fn publish_container(&self, container: &Arc<Container>, kind: ContainerEventType) {
        let sandbox = self.sandbox(&container.record.sandbox).ok();
        let status = sandbox.as_deref().map(crate::cri::sandbox_status);
        self.events.publish(
            &container.record.id,
            kind,
            status,
            self.statuses_of(&container.record.sandbox),
        );
    }

    pub(crate) fn statuses_of(&self, sandbox: &str) -> Vec<ContainerStatus> {
        self.containers_of(sandbox)
            .iter()
            .map(|container| crate::cri::container_status(self, container))
            .collect()
    }
}

/// As a container that could not be started is reported, by containerd too: it never began.
pub(crate) fn fail(container: &Container, failure: &FailureRecord) {
    let exit = ExitRecord {
        exit_code: START_ERROR_EXIT,
        started_at: 0,
        finished_at: failure.at,
        oom_killed: false,
    };
    container.end(&exit, "StartError", &failure.message);
}

fn start_spec(container: &Container) -> StartSpec {
    let (record, host) = (&container.record, cgroup::host());
    let procs = host.procs(&record.cgroup);
    StartSpec {
        id: record.id.clone(),
        bundle: container.directory.clone(),
        log_path: record.log_path.clone(),
        stdin: record.config.stdin,
        stdin_once: record.config.stdin_once,
        tty: record.config.tty,
        oom_file: host.oom_file(&record.cgroup),
        kill_list: if record.private_pid {
            None
        } else {
            procs.first().cloned()
        },
        cgroup_procs: procs,
    }
}

#[async_trait]
impl Executor for Inner {
    async fn exec(&self, request: ExecRequest) -> Result<Session, Error> {
        let container = self.container(&request.container_id)?;
        let sandbox = self.running_sandbox(&container)?;
        let exec_id = id::new();
        let mut session = Session {
            stdin: None,
            stdout: None,
            stderr: None,
            tty: None,
            exit: Box::pin(std::future::pending()),
            ends_with_input: false,
            kill: Box::new(|| {}),
        };
        let theirs = if request.tty {
            Vec::new()
        } else {
            pipes(&request, &mut session)?
        };
        let ended = container.expect_exec(exec_id.clone());
        let spec = ExecSpec {
            id: container.record.id.clone(),
            exec_id: exec_id.clone(),
            args: request.command,
            tty: request.tty,
        };
        let (_, mut fds) = match sandbox.shim.call(Request::Exec(spec), theirs).await {
            Ok(started) => started,
            Err(error) => {
                container.forget_exec(&exec_id);
                return Err(error.into());
            }
        };
        session.tty = fds.pop();
        session.exit = Box::pin(async move {
            // The sender is dropped when the container ends first.
            Ok(ended
                .await
                .unwrap_or(knarr_shim::protocol::SIGNAL_EXIT_BASE + libc::SIGKILL))
        });
        let (handle, shim, id) = (
            tokio::runtime::Handle::current(),
            sandbox.shim.clone(),
            container.record.id.clone(),
        );
        session.kill = Box::new(move || {
            let (shim, request) = (
                shim.clone(),
                Request::Kill {
                    id: id.clone(),
                    exec_id: Some(exec_id.clone()),
                    signal: libc::SIGKILL,
                },
            );
            handle.spawn(async move {
                // One that has ended already needs no killing.
                let _ = shim.order(request).await;
            });
        });
        Ok(session)
    }

    async fn attach(&self, request: AttachRequest) -> Result<Session, Error> {
        let container = self.container(&request.container_id)?;
        let sandbox = self.running_sandbox(&container)?;
        let message = Request::Attach {
            id: container.record.id.clone(),
            stdin: request.stdin,
            stdout: request.stdout || request.tty,
            stderr: request.stderr,
        };
        let (Response::Attached { fds: kinds }, fds) =
            sandbox.shim.call(message, Vec::new()).await?
        else {
            return Err(ShimError::Unexpected.into());
        };
        let (ended, watched) = (container.wait(), container.clone());
        let config = &container.record.config;
        let mut session = Session {
            stdin: None,
            stdout: None,
            stderr: None,
            tty: None,
            exit: Box::pin(async move {
                ended.await;
                Ok(watched.status.lock().exit_code)
            }),
            // As containerd: the end of the input is the container's to see, or else the client has left.
            ends_with_input: request.stdin && (config.tty || !config.stdin_once),
            kill: Box::new(|| {}),
        };
        for (kind, fd) in kinds.into_iter().zip(fds) {
            match kind {
                AttachedFd::Stdin => session.stdin = Some(fd),
                AttachedFd::Stdout => session.stdout = Some(fd),
                AttachedFd::Stderr => session.stderr = Some(fd),
                AttachedFd::Tty => session.tty = Some(fd),
            }
        }
        Ok(session)
    }

    async fn port_connect(&self, sandbox_id: &str, port: u16) -> Result<TcpStream, Error> {
        let sandbox = self.sandbox(sandbox_id)?;
        if !sandbox.status.lock().ready {
            return Err(Error::State(format!(
                "sandbox container {sandbox_id:?} is not running"
            )));
        }
        // Each takes a thread until it stands.
        let _permit =
            self.connecting.acquire().await.map_err(|error| {
                Error::Exhausted(format!("no more connections are made: {error}"))
            })?;
        let netns = (!sandbox.record.host_network).then(|| self.layout.netns(&sandbox.record.id));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // A thread of its own, since it changes namespace and a pool's thread would stay there.
        std::thread::Builder::new()
            .name("port-connect".to_owned())
            .spawn(move || {
                let _ = sender.send(connect_in(netns.as_deref(), port));
            })
            .map_err(Error::io("start a thread"))?;
        let stream = receiver
            .await
            .map_err(|_| Error::State("the connecting thread died".to_owned()))?
            .and_then(|stream| {
                stream.set_nonblocking(true)?;
                TcpStream::from_std(stream)
            });
        stream.map_err(Error::io("connect to the port"))
    }
}

/// On the loopback of the namespace, IPv4 first, as upstream's runtimes do.
fn connect_in(netns: Option<&std::path::Path>, port: u16) -> std::io::Result<std::net::TcpStream> {
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    if let Some(netns) = netns {
        nix::sched::setns(File::open(netns)?, nix::sched::CloneFlags::CLONE_NEWNET)?;
    }
    let connect =
        |address: SocketAddr| std::net::TcpStream::connect_timeout(&address, CONNECT_TIMEOUT);
    connect((Ipv4Addr::LOCALHOST, port).into())
        .or_else(|error| connect((Ipv6Addr::LOCALHOST, port).into()).map_err(|_| error))
}

/// Fills a session's ends; the process's three.
fn pipes(request: &ExecRequest, session: &mut Session) -> Result<Vec<OwnedFd>, Error> {
    let pipe = || {
        nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|error| Error::Io {
            what: "make a pipe",
            source: error.into(),
        })
    };
    let null = || crate::shim::null().map_err(Error::io("open /dev/null"));
    let mut theirs = Vec::with_capacity(3);
    if request.stdin {
        let (read, write) = pipe()?;
        session.stdin = Some(write);
        theirs.push(read);
    } else {
        theirs.push(null()?);
    }
    for (wanted, end) in [
        (request.stdout, &mut session.stdout),
        (request.stderr, &mut session.stderr),
    ] {
        if wanted {
            let (read, write) = pipe()?;
            *end = Some(read);
            theirs.push(write);
        } else {
            theirs.push(null()?);
        }
    }
    Ok(theirs)
}
