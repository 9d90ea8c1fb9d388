//! The process of a node.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use knarr_cni::local::NodeNamespace;
use knarr_join::JoinToken;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout, Command},
    runtime::Handle,
    time::timeout,
};
use tracing::warn;

use super::Settings;
use crate::{agent, cli, detach, failure, instance, logging, node};

/// So much of the end of a log is searched for the last words of its process.
const LAST_WORDS_BYTES: u64 = 64 << 10;

/// What a process is started with.
pub(super) struct Launch<'a> {
    pub settings: &'a Settings,
    pub name: &'a str,
    pub namespace: &'a NodeNamespace,
}

/// A process that ends when this is dropped, or when this process does.
pub(super) struct Child {
    process: tokio::process::Child,
    /// What it has of us: the token, then nothing until the end.
    input: ChildStdin,
    output: ChildStdout,
    log: Log,
}

impl Child {
    /// Starts it in the node's network namespace.
    pub(super) fn start(launch: &Launch<'_>) -> Result<Self> {
        let dir = instance::of_node(&launch.settings.data_dir, launch.name);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .with_context(|| format!("cannot make {}", dir.display()))?;
        let log = Log::open(dir.join(logging::FILE))?;
        let mut command = command(launch, &dir)?;
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.file.try_clone().context("cannot use the node's log")?);
        let runtime = Handle::current();
        // A process begins in the namespace of the thread that started it.
        let spawned = launch.namespace.within(|| {
            let _entered = runtime.enter();
            command.spawn()
        });
        let mut process = spawned
            .and_then(|spawned| spawned)
            .context("cannot start the node's process")?;
        let input = process.stdin.take().context("the process has no input")?;
        let output = process.stdout.take().context("the process has no output")?;
        Ok(Self {
            process,
            input,
            output,
            log,
        })
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Hands the token over, calls `ready` when the process says that it is, and returns when it has ended: why.
    pub(super) async fn run(&mut self, token: &JoinToken, ready: impl FnOnce()) -> Result<String> {
        let token = format!("{}\n", token.reveal());
        // One that has ended already says why below.
        let _ = self.input.write_all(token.as_bytes()).await;
        let mut ready = Some(ready);
        let mut lines = BufReader::new(&mut self.output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line == detach::READY {
                if let Some(ready) = ready.take() {
                    ready();
                }
                break;
            }
        }
        let status = self.process.wait().await;
        let status = status.context("cannot wait for the node's process")?;
        Ok(self.log.last_words(status))
    }

    /// Ends it, by force if it takes longer than `deadline`.
    pub(super) async fn stop(self, deadline: Duration) {
        let mut process = self.process;
        drop(self.input);
        if timeout(deadline, process.wait()).await.is_ok() {
            return;
        }
        warn!("a node's process did not stop in time, it is killed");
        if let Err(error) = process.kill().await {
            warn!(%error, "cannot kill a node's process");
        }
    }
}

/// `knarr agent` with the flags of a node.
fn command(launch: &Launch<'_>, dir: &Path) -> Result<Command> {
    let Launch {
        settings,
        name,
        namespace,
    } = launch;
    let flags = &settings.flags;
    let ips = node::of_cluster(&namespace.addresses, &settings.families)?;
    let ips: Vec<String> = ips.iter().map(ToString::to_string).collect();
    let program = std::env::current_exe().context("cannot find knarr's own program file")?;
    let mut command = Command::new(program);
    command
        .arg("agent")
        .arg("--data-dir")
        .arg(dir)
        .args(["--server", &settings.server])
        .args(["--node-name", name])
        .args(["--node-ip", &ips.join(",")])
        .args(["--node-reach", "direct"])
        .arg("--resolv-conf")
        .arg(&flags.resolv_conf)
        .arg("--cgroup-root")
        .arg(&flags.cgroup_root)
        .args(["--log-level", &settings.log.log_level])
        .args(["--log-format", settings.log.log_format.name()]);
    let age = flags.log_retention_age.as_secs();
    command
        .args([
            "--log-retention-size",
            &flags.log_retention_size.to_string(),
        ])
        .args(["--log-retention-age", &format!("{age}s")]);
    if let Some(parts) = settings.without.of_node() {
        command.args(["--without", &parts]);
    }
    if let Some(path) = &flags.log_config {
        command.arg("--log-config").arg(path);
    }
    if let Some(path) = &flags.kubelet_config {
        command.arg("--kubelet-config").arg(path);
    }
    if let Some(path) = &flags.kubelet_config_dir {
        command.arg("--kubelet-config-dir").arg(path);
    }
    for images in &flags.image_dir {
        command.arg("--image-dir").arg(images);
    }
    if let Some(path) = &flags.registries {
        command.arg("--registries").arg(path);
    }
    if !flags.allowed_unsafe_sysctls.is_empty() {
        let sysctls = flags.allowed_unsafe_sysctls.join(",");
        command.args(["--allowed-unsafe-sysctls", &sysctls]);
    }
    for (key, value) in &flags.node_label {
        command.arg("--node-label").arg(format!("{key}={value}"));
    }
    for taint in &flags.node_taint {
        command.arg("--node-taint").arg(cli::taint_text(taint));
    }
    detach::mark(command.as_std_mut());
    agent::mark(command.as_std_mut());
    Ok(command)
}

/// Where a process writes its log, and where that began.
struct Log {
    path: PathBuf,
    file: File,
    start: u64,
}

impl Log {
    fn open(path: PathBuf) -> Result<Self> {
        let open = || -> io::Result<(File, u64)> {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        let opened = open();
        let (file, start) =
            opened.with_context(|| format!("cannot open the log {}", path.display()))?;
        Ok(Self { path, file, start })
    }

    /// What the process said of its end.
    fn last_words(&self, status: ExitStatus) -> String {
        let read = || -> io::Result<String> {
            let mut file = File::open(&self.path)?;
            let length = file.metadata()?.len();
            let from = self.start.max(length.saturating_sub(LAST_WORDS_BYTES));
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.take(LAST_WORDS_BYTES).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = read().unwrap_or_default();
        failure::last_words(&text).unwrap_or_else(|| format!("it ended with {status}"))
    }
}
