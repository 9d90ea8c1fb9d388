//! A cluster: the real binary in a network namespace of its own.

mod leftovers;
mod programs;

use std::{
    env,
    fs::{self, File},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    command, ground,
    host::{self, Name},
    image,
    network::{NODE_IP, Network},
    wait::eventually,
};

pub use self::programs::knarr_binary;

/// How long the binary may take until it says that it is ready; debug builds on busy machines are slow.
const READY_DEADLINE: Duration = Duration::from_secs(60);
/// The same with several nodes: longer than it waits for them itself, since it has a reason to tell then.
const NODES_READY_DEADLINE: Duration = Duration::from_secs(150);
/// How long it may take to stop; its own stages have 20 seconds.
const STOP_DEADLINE: Duration = Duration::from_secs(30);
const DOWN_DEADLINE: Duration = Duration::from_secs(90);
/// Lines of the log that are shown when something fails.
const LOG_LINES: usize = 60;
/// What the binary prints when it is ready.
const READY: &str = "knarr is ready in ";

/// What differs between clusters.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// More flags for `knarr up`.
    pub flags: Vec<String>,
    /// Where its images are, if not the project's own.
    pub images: Option<PathBuf>,
    /// Control group below which the cluster makes its own; one of the test's own by default.
    pub cgroup_root: Option<String>,
    /// How many nodes it has, if more than one: `node`, `node-2` and so on.
    pub nodes: u8,
    /// Whether the node finds out its name and address by itself.
    pub finds_node: bool,
}

/// A cluster. Everything of it is removed when it is dropped.
pub struct Cluster {
    name: Name,
    /// What the binary calls its cluster, once it has run.
    instance: Option<String>,
    options: Options,
    network: Network,
    process: Option<Child>,
}

impl Cluster {
    /// A running cluster with the project's images.
    pub fn start() -> Result<Self> {
        Self::start_with(Options::default())
    }

    /// A running cluster with these options.
    pub fn start_with(options: Options) -> Result<Self> {
        let mut cluster = Self::prepare(options)?;
        cluster.up()?;
        Ok(cluster)
    }

    /// Everything but the process, for [`Cluster::up`] or [`Cluster::knarr`].
    pub fn prepare(options: Options) -> Result<Self> {
        ground::sweep();
        let name = Name::new()?;
        fs::create_dir_all(host::directory(name.id()))?;
        let network = Network::new(name.id())?;
        Ok(Self {
            name,
            instance: None,
            options,
            network,
            process: None,
        })
    }

    /// Starts `knarr up` and waits until it is ready; how long that took.
    pub fn up(&mut self) -> Result<Duration> {
        let started = Instant::now();
        self.spawn()?;
        self.wait_ready()?;
        Ok(started.elapsed())
    }

    /// Starts `knarr up` without waiting.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "the cluster runs already");
        let images = match &self.options.images {
            Some(path) => path.clone(),
            None => images()?,
        };
        let mut command = self.knarr(&["up"])?;
        command.arg("--image-dir").arg(images);
        command.args(self.up_flags());
        // It needs no program of the host.
        command.env("PATH", "/nowhere");
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(self.output_path())?)
            .stderr(log)
            .spawn()
            .context("cannot start knarr")?;
        self.process = Some(child);
        Ok(())
    }

    /// The flags by which clusters differ, for a `knarr up` of one's own.
    pub fn up_flags(&self) -> Vec<String> {
        let mut flags = vec![
            format!("--data-dir={}", self.data_dir().display()),
            format!("--cgroup-root={}", self.cgroup_root()),
        ];
        if !self.options.finds_node {
            flags.push("--node-name=node".to_owned());
        }
        // Several nodes have a network of their own.
        match self.options.nodes {
            0 | 1 if self.options.finds_node => {}
            0 | 1 => flags.push(format!("--node-ip={NODE_IP}")),
            nodes => flags.push(format!("--nodes={nodes}")),
        }
        flags.extend(self.options.flags.iter().cloned());
        flags
    }

    /// How many nodes the next start has.
    pub fn set_nodes(&mut self, nodes: u8) {
        self.options.nodes = nodes;
    }

    /// The data directory of a node beside the first.
    pub fn node_dir(&self, node: &str) -> PathBuf {
        self.data_dir().join("nodes").join(node)
    }

    /// The network namespace of a node beside the first, once the cluster has run.
    pub fn node_namespace(&self, node: &str) -> Result<PathBuf> {
        let name = format!("{}{node}", host::node_namespaces(self.instance()?));
        Ok(Path::new("/run/netns").join(name))
    }

    /// The process of a node beside the first.
    pub fn node_pid(&self, node: &str) -> Result<i32> {
        let path = self.node_dir(node).join("knarr.lock");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let mut notes = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
        let note = notes.next().context("no note")??;
        let pid = note["pid"].as_i64().context("no pid")?;
        Ok(i32::try_from(pid)?)
    }

    /// One more flag for `knarr up`: for what only a prepared cluster tells, such as a path below its directory.
    pub fn add_flag(&mut self, flag: String) {
        self.options.flags.push(flag);
    }

    /// Waits until a started `knarr up` says that it is ready.
    pub fn wait_ready(&mut self) -> Result<()> {
        let output = self.output_path();
        let process = self
            .process
            .as_mut()
            .context("the cluster was not started")?;
        let mut ended = None;
        let deadline = match self.options.nodes {
            0 | 1 => READY_DEADLINE,
            _ => NODES_READY_DEADLINE,
        };
        let ready = eventually(deadline, "knarr says that it is ready", || {
            let text = fs::read_to_string(&output).unwrap_or_default();
            if text.contains(READY) {
                return Ok(());
            }
            ended = process.try_wait()?;
            // Waiting for a process that has ended leads nowhere: leave the loop, tell below.
            if ended.is_some() {
                Ok(())
            } else {
                bail!("it said: {}", text.trim())
            }
        });
        if let Some(status) = ended {
            self.process = None;
            bail!("knarr ended with {status}\n{}", self.log_tail());
        }
        ready.with_context(|| self.log_tail())?;
        let instance = fs::read_to_string(self.data_dir().join("instance"))?;
        self.instance = Some(instance.trim().to_owned());
        Ok(())
    }

    /// Ends the process at once, as a crash would, and waits for its end.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the cluster does not run")?;
        process.kill()?;
        let status = process.wait()?;
        ensure!(
            status.signal() == Some(9),
            "knarr had ended before it was killed: {status}\n{}",
            self.log_tail()
        );
        Ok(())
    }

    /// Ends the process with SIGTERM and waits; an error unless it says that all is well.
    pub fn stop(&mut self) -> Result<()> {
        let status = self.stop_with(Signal::SIGTERM)?;
        ensure!(
            status.success(),
            "knarr stopped with {status}\n{}",
            self.log_tail()
        );
        Ok(())
    }

    /// Ends the process with a signal; how it ended.
    pub fn stop_with(&mut self, signal: Signal) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the cluster does not run")?;
        kill(Pid::from_raw(process.id().cast_signed()), signal)?;
        let result = eventually(STOP_DEADLINE, "knarr ends", || {
            process.try_wait()?.context("it runs")
        });
        if result.is_err() {
            // Nobody else would know it any more.
            process.kill()?;
            process.wait()?;
        }
        result.with_context(|| self.log_tail())
    }

    /// Runs `knarr down`, which also stops a running instance.
    pub fn down(&mut self, flags: &[&str]) -> Result<String> {
        let mut command = self.knarr(&["down"])?;
        command.arg("--data-dir").arg(self.data_dir()).args(flags);
        let output = command::run(command, DOWN_DEADLINE)?.success();
        let output = output.with_context(|| self.log_tail())?;
        if let Some(mut process) = self.process.take() {
            let status = process.wait()?;
            ensure!(
                status.success(),
                "knarr was stopped with {status}\n{}",
                self.log_tail()
            );
        }
        Ok(output)
    }

    /// The control group below which the cluster makes its own.
    pub fn cgroup_root(&self) -> String {
        let own = || format!("/{}", self.name.id());
        self.options.cgroup_root.clone().unwrap_or_else(own)
    }

    /// What the binary calls its cluster.
    pub fn instance(&self) -> Result<&str> {
        self.instance.as_deref().context("the cluster never ran")
    }

    /// A control group below which this cluster and others can make theirs, removed with this one.
    pub fn shared_cgroup_root(&self) -> String {
        format!("/{}", host::shared(self.name.id()))
    }

    /// As [`Options::cgroup_root`], for a prepared cluster.
    pub fn set_cgroup_root(&mut self, root: String) {
        self.options.cgroup_root = Some(root);
    }

    /// Names of control groups that nothing but this cluster has.
    fn groups(&self) -> Vec<&str> {
        let instance = self.instance.as_deref();
        std::iter::once(self.name.id()).chain(instance).collect()
    }

    pub fn data_dir(&self) -> PathBuf {
        host::directory(self.name.id()).join("data")
    }

    /// The directory around the data directory, removed with the cluster.
    pub fn directory(&self) -> PathBuf {
        host::directory(self.name.id())
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir().join("admin.kubeconfig")
    }

    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The running process.
    pub fn pid(&self) -> Option<i32> {
        self.process
            .as_ref()
            .map(|process| process.id().cast_signed())
    }

    /// What `knarr up` printed.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.output_path()).unwrap_or_default()
    }

    /// The last lines of what knarr logged.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(self.log_path()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
        format!("--- the log's last lines\n{}\n---", tail.join("\n"))
    }

    fn log_path(&self) -> PathBuf {
        self.directory().join("knarr.log")
    }

    fn output_path(&self) -> PathBuf {
        self.directory().join("knarr.out")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
            // For a look at a failure afterwards.
            if let Some(path) = env::var_os("KNARR_KEEP_LOGS") {
                let kept = Path::new(&path).join(format!("{}.log", self.name.id()));
                if let Err(error) = fs::copy(self.log_path(), &kept) {
                    eprintln!("testkit: cannot keep the log: {error}");
                }
            }
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let shared = host::shared(self.name.id());
        let mut groups = self.groups();
        groups.push(&shared);
        host::remove(self.name.id(), &groups);
        if let Some(instance) = &self.instance {
            host::remove_node_namespaces(instance);
        }
    }
}

/// Kills one process at once.
pub fn kill_process(pid: i32) -> Result<()> {
    kill(Pid::from_raw(pid), Signal::SIGKILL).with_context(|| format!("cannot kill {pid}"))
}

/// The directory of the project's images: `KNARR_IMAGES`, or that of this build, brought up to date.
pub fn images() -> Result<PathBuf> {
    static BUILT: std::sync::Mutex<bool> = std::sync::Mutex::new(false);
    if let Some(path) = env::var_os("KNARR_IMAGES") {
        return Ok(path.into());
    }
    let out = image::target_dir().join("images");
    let mut built = BUILT
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if !*built {
        image::build(&out)?;
        *built = true;
    }
    Ok(out)
}
