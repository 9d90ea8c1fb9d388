//! A knarr cluster of the bench's own: `knarr up` in a network namespace, on an empty data directory.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Method, StatusCode};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    http::{Connection, Endpoint, Protocol},
    kubeconfig::{self, Access},
    netns::{self, Namespace},
    signals::interrupted,
    sweep,
};

/// How often /readyz is asked while the cluster starts.
const READY_POLL: Duration = Duration::from_millis(1);
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// For the kubeconfig to be there once the server is ready.
const KUBECONFIG_TIMEOUT: Duration = Duration::from_secs(10);
/// From SIGTERM until it has ended, and for `knarr down`.
const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// How often a stopping process is looked at: std has no wait with a deadline.
const STOP_POLL: Duration = Duration::from_millis(10);
/// Of the log, shown when the cluster did not start.
const LOG_LINES_SHOWN: usize = 20;
const PORT: u16 = 6443;

/// What to start.
#[derive(Clone)]
pub struct Recipe {
    pub knarr: PathBuf,
    pub image_dirs: Vec<PathBuf>,
    pub extra: Vec<String>,
}

/// A running cluster. Dropping it stops it and removes all it made.
pub struct Cluster {
    recipe: Recipe,
    child: Child,
    data_dir: PathBuf,
    cgroup_root: String,
    /// From exec to the first 200 of /readyz.
    pub start_time: Duration,
    pub namespace: Namespace,
    /// Removed last.
    directory: Option<tempfile::TempDir>,
}

impl Cluster {
    pub fn start(recipe: &Recipe) -> Result<Self> {
        let name = format!("knarr-bench-{}", std::process::id());
        let namespace = Namespace::create(&name)?;
        let directory = tempfile::Builder::new()
            .prefix("knarr-bench-")
            .tempdir()
            .context("cannot make a temporary directory")?;
        let data_dir = directory.path().join("data");
        let log = File::create(directory.path().join("knarr.log"))?;
        let cgroup_root = format!("/{name}");
        let mut command = Command::new(&recipe.knarr);
        command
            .args([
                "up",
                "--node-name",
                "bench",
                "--node-ip",
                netns::NODE_IP,
                "--listen",
            ])
            .arg(format!("0.0.0.0:{PORT}"))
            .arg("--data-dir")
            .arg(&data_dir)
            .args(["--cgroup-root", &cgroup_root])
            .args(
                recipe
                    .image_dirs
                    .iter()
                    .map(|dir| format!("--image-dir={}", dir.display())),
            )
            .args(&recipe.extra)
            // A Ctrl-C is for the bench, which stops the cluster in order.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let (child, started) = netns::within(Some(namespace.path()), || {
            let started = Instant::now();
            let child = command
                .spawn()
                .with_context(|| format!("cannot run {}", recipe.knarr.display()))?;
            Ok((child, started))
        })?;
        let mut cluster = Self {
            recipe: recipe.clone(),
            child,
            data_dir,
            cgroup_root,
            start_time: Duration::ZERO,
            namespace,
            directory: Some(directory),
        };
        cluster.await_ready(started)?;
        Ok(cluster)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where files of the cluster lie: on the same disk as its store.
    pub fn directory(&self) -> &Path {
        self.data_dir.parent().unwrap_or(&self.data_dir)
    }

    /// The admin's access.
    pub fn access(&self) -> Result<Access> {
        let path = self.kubeconfig();
        let deadline = Instant::now() + KUBECONFIG_TIMEOUT;
        loop {
            match kubeconfig::read(&path) {
                Ok(mut access) => {
                    // Whatever address it names, the generator is on the same machine.
                    access.server = local_server();
                    return Ok(access);
                }
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => thread::sleep(STOP_POLL),
            }
        }
    }

    /// Starts the same binary in the cluster's network namespace, with what it prints in the cluster's log.
    pub fn spawn(&self, arguments: &[&str]) -> Result<Child> {
        let log = File::options()
            .append(true)
            .open(self.directory().join("knarr.log"))?;
        let mut command = Command::new(&self.recipe.knarr);
        command
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        netns::within(Some(self.namespace.path()), || {
            let knarr = self.recipe.knarr.display();
            command
                .spawn()
                .with_context(|| format!("cannot run {knarr}"))
        })
    }

    /// The admin's.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    fn await_ready(&mut self, started: Instant) -> Result<()> {
        let namespace = self.namespace.path().to_owned();
        let kubeconfig = self.kubeconfig();
        let child = &mut self.child;
        let ready = netns::within(Some(&namespace), || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(poll_ready(child, &kubeconfig, started))
        });
        match ready {
            Ok(time) => {
                self.start_time = time;
                Ok(())
            }
            Err(error) => Err(error.context(format!("knarr did not start\n{}", self.log_tail()))),
        }
    }

    fn log_tail(&self) -> String {
        let log = fs::read_to_string(self.directory().join("knarr.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    fn stop(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            end(&mut self.child)?;
        }
        if !self.data_dir.is_dir() {
            return Ok(());
        }
        let data_dir = self.data_dir.to_string_lossy().into_owned();
        let mut down = self.spawn(&["down", "--purge", "--data-dir", &data_dir])?;
        match await_exit(&mut down)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("knarr down: {status}\n{}", self.log_tail()),
            None => {
                down.kill()?;
                down.wait()?;
                bail!("knarr down did not end within {STOP_TIMEOUT:?}")
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("the cluster could not be removed as a user would: {error:#}");
        }
        sweep::processes(&self.cgroup_root);
        if let Err(error) = sweep::mounts(&self.data_dir)
            && let Some(directory) = self.directory.take()
        {
            // Deleting through a mount would delete what is mounted.
            eprintln!("{} is kept: {error:#}", directory.keep().display());
        }
        sweep::cgroups(&self.cgroup_root);
    }
}

/// Has a process of the cluster end, in order if it does so in time.
pub fn end(child: &mut Child) -> Result<()> {
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM)?;
    if await_exit(child)?.is_none() {
        child.kill()?;
        child.wait()?;
        eprintln!("knarr did not stop within {STOP_TIMEOUT:?} and was killed");
    }
    Ok(())
}

fn await_exit(child: &mut Child) -> Result<Option<std::process::ExitStatus>> {
    let deadline = Instant::now() + STOP_TIMEOUT;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        thread::sleep(STOP_POLL);
    }
    Ok(None)
}

fn local_server() -> String {
    format!("https://127.0.0.1:{PORT}")
}

/// Asks until the answer is 200; the time since `started`.
async fn poll_ready(child: &mut Child, kubeconfig: &Path, started: Instant) -> Result<Duration> {
    let mut connection = None;
    let mut access = Access {
        server: local_server(),
        tls_server_name: None,
        authorities: None,
        client_certificate: None,
        token: None,
    };
    let mut last = String::from("nothing listened");
    while started.elapsed() < READY_TIMEOUT {
        if interrupted().is_cancelled() {
            bail!("interrupted");
        }
        if let Some(status) = child.try_wait()? {
            bail!("it ended: {status}");
        }
        match ask(&mut connection, &Endpoint::new(&access, Protocol::H1)?).await {
            Ok(StatusCode::OK) => return Ok(started.elapsed()),
            Ok(status) => {
                last = status.to_string();
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status);
                // The first answers may come before the rules that let strangers ask.
                if refused && let Ok(admin) = kubeconfig::read(kubeconfig) {
                    access = Access {
                        server: local_server(),
                        ..admin
                    };
                    connection = None;
                }
            }
            Err(error) => {
                last = format!("{error:#}");
                connection = None;
            }
        }
        tokio::time::sleep(READY_POLL).await;
    }
    bail!("/readyz was not 200 within {READY_TIMEOUT:?}: {last}")
}

async fn ask(connection: &mut Option<Connection>, endpoint: &Endpoint) -> Result<StatusCode> {
    let open = match connection {
        Some(open) => open,
        None => connection.insert(endpoint.connect().await?),
    };
    let request = endpoint.request(Method::GET, "/readyz", Bytes::new())?;
    Ok(open.call(request).await?.0)
}
