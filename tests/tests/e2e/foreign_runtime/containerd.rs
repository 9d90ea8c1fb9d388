//! A containerd of a test's own: its configuration, root, state and sockets are below the test's directory, it runs in the
//! cluster's network namespace, and its pods' control groups are the cluster's.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use knarr_cri::v1::{
    LinuxPodSandboxConfig, LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption,
    PodSandboxConfig, PodSandboxMetadata, RemovePodSandboxRequest, RunPodSandboxRequest,
    StatusRequest, StopPodSandboxRequest,
};
use knarr_testkit::{
    Cluster, eventually,
    image::{self, Image, LayerBuilder},
    run,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tokio::time::timeout;

use crate::support::block_on;

const PROGRAMS: [&str; 3] = ["containerd", "ctr", "runc"];
const START_DEADLINE: Duration = Duration::from_secs(30);
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const CRI_DEADLINE: Duration = Duration::from_secs(30);
const CTR_DEADLINE: Duration = Duration::from_secs(60);
/// containerd's shims have their sockets here, whatever its configuration says.
const SHIM_SOCKETS: [&str; 2] = ["/run/containerd/s", "/run/containerd"];
/// How the process that holds a pod's namespaces is seen.
pub const PAUSE_COMMAND: &str = "/busybox sleep";

const CONFIG: &str = "config.toml";
const LOG: &str = "log";
/// What holds a pod's namespaces.
const PAUSE: &str = "knarr/pause:latest";

/// False, with the reason printed, where it is not.
pub fn is_installed() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        |program: &&str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<&str> = PROGRAMS.into_iter().filter(|p| !found(p)).collect();
    if !missing.is_empty() {
        eprintln!(
            "skipped: not installed (Debian's containerd): {}",
            missing.join(", ")
        );
    }
    missing.is_empty()
}

pub struct Containerd {
    process: Child,
    dir: PathBuf,
}

impl Containerd {
    /// Starts it and waits until it answers.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let dir = cluster.directory().join("containerd");
        fs::create_dir_all(&dir)?;
        fs::write(dir.join(CONFIG), configuration(&dir, &cluster.data_dir()))?;
        let process = spawn(cluster, &dir)?;
        let containerd = Self { process, dir };
        containerd.wait()?;
        containerd.import(&containerd.pause()?)?;
        Ok(containerd)
    }

    /// Starts it again after [`Containerd::end`].
    pub fn again(&mut self, cluster: &Cluster) -> Result<()> {
        self.process = spawn(cluster, &self.dir)?;
        self.wait()
    }

    fn wait(&self) -> Result<()> {
        eventually(START_DEADLINE, "containerd answers", || {
            self.ctr(&["version"])?;
            // Its CRI is there a little later.
            block_on(self.status())
        })
        .with_context(|| self.log_text())
    }

    pub fn endpoint(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("containerd.sock")
    }

    fn log_text(&self) -> String {
        fs::read_to_string(self.dir.join(LOG)).unwrap_or_default()
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("ctr");
        command.arg("--address").arg(self.socket());
        command.args(["--namespace", "k8s.io"]).args(arguments);
        run(command, CTR_DEADLINE)?.success()
    }

    fn import(&self, archive: &Path) -> Result<()> {
        self.ctr(&["images", "import", &archive.display().to_string()])
            .map(drop)
    }

    /// The images every cluster of the tests has.
    pub fn import_images(&self) -> Result<()> {
        let dir = std::env::var_os("KNARR_IMAGES")
            .map_or_else(|| image::target_dir().join("images"), PathBuf::from);
        for archive in ["hello.tar", "busybox.tar"] {
            self.import(&dir.join(archive))?;
        }
        Ok(())
    }

    /// Writes the archive of the image that sandboxes run.
    fn pause(&self) -> Result<PathBuf> {
        let busybox = fs::read("/bin/busybox").context("Debian's busybox-static")?;
        let layer = LayerBuilder::new()
            .file("busybox", 0o755, &busybox)?
            .finish()?;
        let config = json!({"Entrypoint": ["/busybox", "sleep", "2147483647"]});
        let name = PAUSE.to_owned();
        let image = Image {
            name,
            layers: vec![layer],
            config,
        };
        let path = self.dir.join("pause.tar");
        image::archive(&[image], fs::File::create(&path)?)?;
        Ok(path)
    }

    /// Containers and sandboxes that containerd knows, one a line.
    pub fn containers(&self) -> Result<String> {
        self.ctr(&["containers", "list", "--quiet"])
    }

    async fn status(&self) -> Result<()> {
        let (mut runtime, _) = knarr_cri::connect(&self.endpoint()).await?;
        let status = runtime.status(StatusRequest::default());
        timeout(CRI_DEADLINE, status).await??;
        Ok(())
    }

    /// Makes a sandbox as another kubelet would; its id.
    pub async fn sandbox(&self, cluster: &Cluster) -> Result<String> {
        let labels = [
            ("io.kubernetes.pod.name", "other"),
            ("io.kubernetes.pod.namespace", "default"),
            ("io.kubernetes.pod.uid", "other"),
        ];
        let host = NamespaceOption {
            network: NamespaceMode::Node.into(),
            ..NamespaceOption::default()
        };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: "other".to_owned(),
                uid: "other".to_owned(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: cluster.cgroup_root(),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(host),
                    ..LinuxSandboxSecurityContext::default()
                }),
                ..LinuxPodSandboxConfig::default()
            }),
            ..PodSandboxConfig::default()
        };
        let (mut runtime, _) = knarr_cri::connect(&self.endpoint()).await?;
        let made = runtime.run_pod_sandbox(RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        });
        let made = timeout(CRI_DEADLINE, made).await??;
        Ok(made.into_inner().pod_sandbox_id)
    }

    pub async fn remove(&self, sandbox: &str) -> Result<()> {
        let (mut runtime, _) = knarr_cri::connect(&self.endpoint()).await?;
        let pod_sandbox_id = sandbox.to_owned();
        let stopped = runtime.stop_pod_sandbox(StopPodSandboxRequest {
            pod_sandbox_id: pod_sandbox_id.clone(),
        });
        timeout(CRI_DEADLINE, stopped).await??;
        let removed = runtime.remove_pod_sandbox(RemovePodSandboxRequest { pod_sandbox_id });
        timeout(CRI_DEADLINE, removed).await??;
        Ok(())
    }

    /// Ends it, its pods go on; an error unless it says that all is well.
    pub fn end(&mut self) -> Result<()> {
        kill(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGTERM,
        )?;
        let status = eventually(STOP_DEADLINE, "containerd ends", || {
            self.process.try_wait()?.context("it runs")
        })?;
        ensure!(status.success(), "{status}\n{}", self.log_text());
        Ok(())
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- containerd\n{}---", self.log_text());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
        // Shims that are still there go with the cluster; they leave their sockets.
        let tasks = self.dir.join("state/io.containerd.runtime.v2.task/k8s.io");
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let address = fs::read_to_string(task.path().join("address")).unwrap_or_default();
            let _ = fs::remove_file(address.trim().trim_start_matches("unix://"));
        }
        for dir in SHIM_SOCKETS {
            // Another containerd may be using them: only empty ones go.
            let _ = fs::remove_dir(dir);
        }
    }
}

fn spawn(cluster: &Cluster, dir: &Path) -> Result<Child> {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join(LOG))?;
    let mut command = cluster.network().command("containerd");
    command.arg("--config").arg(dir.join(CONFIG));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start containerd")
}

fn configuration(dir: &Path, data_dir: &Path) -> String {
    let (dir, cni) = (dir.display(), data_dir.join("cni"));
    let cni = cni.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{dir}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "{dir}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/{PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}/bin"
conf_dir = "{cni}/conf"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{dir}/runc"
"#
    )
}
