//! Clusters in which one part is the other side's: ours in upstream's cluster, upstream's in ours.

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, eventually, image::target_dir, run};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    go,
    progress::step,
    reference::{
        Part,
        component::{KUBECTL, NODE},
        exchange,
        host::{self, Settings},
    },
};

/// Name of the network namespace of upstream's cluster with a part of ours, and of its control groups.
const NAME: &str = "knarr-exchange";
/// Until the node of upstream's kubelet is ready in a cluster of ours.
const NODE_DEADLINE: Duration = Duration::from_secs(180);
/// Until upstream's cluster is ready: it imports the suite's images.
const READY_DEADLINE: Duration = Duration::from_secs(600);
const STOP_DEADLINE: Duration = Duration::from_secs(60);
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
/// Lines of a log that are shown when its program has ended.
const LOG_LINES: usize = 20;

/// Upstream's cluster with a part of ours; taken down when dropped.
pub struct Upstream {
    process: Child,
    dir: PathBuf,
}

impl Upstream {
    /// Starts it and waits until it is ready.
    pub fn start(part: Part) -> Result<Self> {
        let dir = target_dir().join("conformance/upstream").join(part.name());
        fs::create_dir_all(&dir)?;
        let printed = dir.join("printed");
        let own = env::current_exe().context("this program has no path")?;
        let mut command = Command::new(own);
        command
            .args(["upstream", "up", "--name", NAME, "--ours", part.name()])
            .arg("--dir")
            .arg(dir.join("cluster"))
            .stdin(Stdio::null())
            .stdout(File::create(&printed)?)
            .stderr(File::create(dir.join("said"))?);
        // Ctrl-C is for this process, which ends that one.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command.spawn().context("cannot start upstream's cluster")?;
        let mut this = Self { process, dir };
        step("starting upstream's cluster with a part of ours", || {
            let what = "upstream's cluster is ready";
            while_running(READY_DEADLINE, what, &mut this, Self::check, || {
                let text = fs::read_to_string(&printed)?;
                ensure!(text.contains("upstream is ready"), "it is not");
                Ok(())
            })
        })?;
        Ok(this)
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("cluster/admin.kubeconfig")
    }

    pub fn network(&self) -> &'static str {
        NAME
    }

    /// An error when it is no more there.
    pub fn check(&mut self) -> Result<()> {
        let said = || fs::read_to_string(self.dir.join("said")).unwrap_or_default();
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow::anyhow!(
                "upstream's cluster ended with {status}\n{}",
                tail(&said())
            )),
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// A program of upstream's beside a cluster of ours that lacks it; ended when dropped.
pub struct Theirs {
    process: Child,
    log: PathBuf,
    /// A kubelet changes them.
    _settings: Option<Settings>,
}

impl Theirs {
    /// Builds it and starts it on the cluster's node.
    pub fn start(cluster: &Cluster, part: Part) -> Result<Self> {
        step(&format!("building upstream's {}", part.name()), || {
            go::build(&[exchange::program(part)])
        })?;
        let dir = cluster.directory().join("theirs");
        fs::create_dir_all(&dir)?;
        let kubeconfig = dir.join("kubeconfig");
        write_kubeconfig(cluster, part, &kubeconfig)?;
        let group = cluster.cgroup_root();
        let arguments = exchange::theirs(
            part,
            &exchange::Place {
                dir: &dir,
                data_dir: &cluster.data_dir(),
                cgroup_root: &group,
                kubeconfig: &kubeconfig,
            },
        )?;
        let is_kubelet = part == Part::Kubelet;
        if is_kubelet {
            host::make_groups(group.trim_start_matches('/'))?;
        }
        let settings = is_kubelet.then(|| Settings::keep(&dir)).transpose()?;
        // Kept after the cluster.
        let log = target_dir().join(format!("conformance/theirs-{}.log", part.name()));
        let file = File::create(&log)?;
        let process = cluster
            .command(exchange::program(part).path())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .context("cannot start upstream's program")?;
        let mut this = Self {
            process,
            log,
            _settings: settings,
        };
        if is_kubelet {
            step("waiting for its node", || this.node_is_ready(cluster))?;
        }
        Ok(this)
    }

    fn node_is_ready(&mut self, cluster: &Cluster) -> Result<()> {
        let log = self.log.clone();
        while_running(
            NODE_DEADLINE,
            "the node is ready",
            self,
            Self::check,
            || {
                let mut kubectl = cluster.command(KUBECTL.path());
                kubectl.arg("--kubeconfig").arg(cluster.kubeconfig()).args([
                    "wait",
                    "--for=condition=Ready",
                    "--timeout=1s",
                    "node",
                    NODE,
                ]);
                run(kubectl, COMMAND_DEADLINE)?.success().map(drop)
            },
        )
        .with_context(|| tail(&fs::read_to_string(&log).unwrap_or_default()))
    }

    /// An error when it has ended.
    pub fn check(&mut self) -> Result<()> {
        let said = || fs::read_to_string(&self.log).unwrap_or_default();
        match self.process.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow::anyhow!(
                "upstream's program ended with {status}\n{}",
                tail(&said())
            )),
        }
    }
}

impl Drop for Theirs {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn write_kubeconfig(cluster: &Cluster, part: Part, path: &Path) -> Result<()> {
    let (user, group) = exchange::identity(part);
    let mut command = cluster.knarr(&["kubeconfig", "--user", user])?;
    if let Some(group) = group {
        command.args(["--group", group]);
    }
    command
        .arg("--data-dir")
        .arg(cluster.data_dir())
        .arg("--output")
        .arg(path);
    run(command, COMMAND_DEADLINE)?.success().map(drop)
}

/// Waits for something, but no longer than what it is expected of runs.
fn while_running<T>(
    deadline: Duration,
    what: &str,
    of: &mut T,
    check: impl Fn(&mut T) -> Result<()>,
    mut look: impl FnMut() -> Result<()>,
) -> Result<()> {
    let mut ended = Ok(());
    eventually(deadline, what, || {
        ended = check(of);
        match ended {
            Ok(()) => look(),
            // Waiting on leads nowhere.
            Err(_) => Ok(()),
        }
    })?;
    ended
}

/// Asks a process to end, and ends it when it does not.
fn end(process: &mut Child) {
    let pid = Pid::from_raw(process.id().cast_signed());
    let _ = kill(pid, Signal::SIGTERM);
    let ended = eventually(STOP_DEADLINE, "it ends", || {
        process.try_wait()?.context("it runs")
    });
    if ended.is_err() {
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
}
