//! A runtime of its own for a test: data directory, cgroup, a network plugin that is a script, a busybox image.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use knarr_cri::v1::image_service_client::ImageServiceClient;
use knarr_cri::v1::runtime_service_client::RuntimeServiceClient;
use knarr_cri::v1::*;
use knarr_runtime::images::ImageStore;
use knarr_runtime::{Config, Runtime};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Address that the script of a plugin gives to every sandbox.
pub const ADDRESS: &str = "10.99.0.7";
pub const IMAGE: &str = "docker.io/library/busybox:test";
/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

const BUSYBOX: &str = "/bin/busybox";
const PLUGIN: &str = r#"#!/bin/busybox sh
echo "$CNI_COMMAND" >> "$(/bin/busybox dirname "$0")/calls"
[ "$CNI_COMMAND" = ADD ] || exit 0
echo '{"cniVersion":"1.0.0","ips":[{"address":"10.99.0.7/32"}]}'
"#;

pub struct TestRuntime {
    pub directory: tempfile::TempDir,
    pub runtime: RuntimeServiceClient<Channel>,
    pub images: ImageServiceClient<Channel>,
    pub store: Arc<ImageStore>,
    name: String,
    token: CancellationToken,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// False, with the reason printed, where these tests cannot run.
pub fn able() -> bool {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return false;
    }
    if !Path::new(BUSYBOX).exists() {
        eprintln!("skipped: needs {BUSYBOX} (Debian's busybox-static)");
        return false;
    }
    true
}

impl TestRuntime {
    pub async fn start() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_span_events(tracing_subscriber::fmt::format::FmtSpan::CLOSE)
            .with_test_writer()
            .try_init();
        let directory = tempfile::tempdir().unwrap();
        let (conf, bin) = (
            directory.path().join("cni/conf"),
            directory.path().join("cni/bin"),
        );
        fs::create_dir_all(&conf).unwrap();
        fs::create_dir_all(&bin).unwrap();
        fs::write(
            conf.join("10-test.conflist"),
            r#"{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"script"}]}"#,
        )
        .unwrap();
        fs::write(bin.join("script"), PLUGIN).unwrap();
        fs::set_permissions(bin.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
        let name = format!("runtime-test-{:x}", fastrand::u64(..));
        let Served {
            runtime,
            images,
            store,
            token,
            task,
        } = serve(directory.path(), &name).await;
        Self {
            directory,
            runtime,
            images,
            store,
            name,
            token,
            task: Some(task),
        }
    }

    /// A runtime on the same data after the first has gone, which leaves its shims.
    pub async fn restart(&mut self) {
        self.stop().await;
        let served = serve(self.directory.path(), &self.name).await;
        (self.runtime, self.images) = (served.runtime, served.images);
        (self.store, self.token, self.task) = (served.store, served.token, Some(served.task));
    }

    pub async fn stop(&mut self) {
        self.token.cancel();
        if let Some(task) = self.task.take() {
            tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
        }
    }

    pub async fn sandbox(&mut self, config: PodSandboxConfig) -> String {
        let request = RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: String::new(),
        };
        self.runtime
            .run_pod_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .pod_sandbox_id
    }

    pub async fn create(&mut self, sandbox: &str, config: ContainerConfig) -> String {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: None,
        };
        self.runtime
            .create_container(request)
            .await
            .unwrap()
            .into_inner()
            .container_id
    }

    pub async fn start_container(&mut self, id: &str) -> Result<(), tonic::Status> {
        self.runtime
            .start_container(StartContainerRequest {
                container_id: id.to_owned(),
            })
            .await
            .map(|_| ())
    }

    pub async fn status(&mut self, id: &str) -> ContainerStatus {
        let request = ContainerStatusRequest {
            container_id: id.to_owned(),
            verbose: false,
        };
        self.runtime
            .container_status(request)
            .await
            .unwrap()
            .into_inner()
            .status
            .unwrap()
    }

    /// Waits for the end by the runtime's events, not by asking.
    pub async fn exit(&mut self, id: &str) -> ContainerStatus {
        let mut events = self
            .runtime
            .get_container_events(GetEventsRequest {})
            .await
            .unwrap()
            .into_inner();
        loop {
            let status = self.status(id).await;
            if status.state() == ContainerState::ContainerExited {
                return status;
            }
            tokio::time::timeout(PATIENCE, events.message())
                .await
                .expect("an event in time")
                .unwrap();
        }
    }

    pub async fn exec(
        &mut self,
        id: &str,
        command: &str,
        timeout: i64,
    ) -> Result<ExecSyncResponse, tonic::Status> {
        let cmd = ["/bin/sh", "-c", command].map(str::to_owned).to_vec();
        let request = ExecSyncRequest {
            container_id: id.to_owned(),
            cmd,
            timeout,
        };
        self.runtime
            .exec_sync(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// What a command in the container prints.
    pub async fn output(&mut self, id: &str, command: &str) -> String {
        let response = self.exec(id, command, 10).await.unwrap();
        String::from_utf8_lossy(&response.stdout)
            .trim_end()
            .to_owned()
    }

    pub async fn remove_sandbox(&mut self, id: &str) {
        let stop = StopPodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.runtime.stop_pod_sandbox(stop).await.unwrap();
        let remove = RemovePodSandboxRequest {
            pod_sandbox_id: id.to_owned(),
        };
        self.runtime.remove_pod_sandbox(remove).await.unwrap();
    }

    /// Lines of a container's log without their times.
    pub fn log(&self, name: &str) -> Vec<String> {
        let text =
            fs::read_to_string(self.directory.path().join("logs").join(name)).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.split_once(' ').map(|(_, rest)| rest.to_owned()))
            .collect()
    }

    pub fn pod(&self, name: &str) -> PodSandboxConfig {
        let options = NamespaceOption {
            pid: NamespaceMode::Container.into(),
            ..Default::default()
        };
        PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: name.to_owned(),
                uid: name.to_owned(),
                namespace: "default".to_owned(),
                attempt: 0,
            }),
            hostname: name.to_owned(),
            log_directory: self.directory.path().join("logs").display().to_string(),
            dns_config: Some(DnsConfig {
                servers: vec!["10.43.0.10".to_owned()],
                searches: vec!["default.svc.cluster.local".to_owned()],
                options: vec!["ndots:5".to_owned()],
            }),
            linux: Some(LinuxPodSandboxConfig {
                cgroup_parent: format!("/{}/{name}", self.name),
                security_context: Some(LinuxSandboxSecurityContext {
                    namespace_options: Some(options),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

impl Drop for TestRuntime {
    /// Whatever a failed test left: processes by their cgroup, then mounts, innermost first.
    fn drop(&mut self) {
        self.token.cancel();
        for controller in fs::read_dir("/sys/fs/cgroup")
            .into_iter()
            .flatten()
            .flatten()
        {
            kill_tree(&controller.path().join(&self.name));
        }
        kill_tree(&Path::new("/sys/fs/cgroup").join(&self.name));
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.directory.path().display().to_string();
        for path in mounts
            .lines()
            .rev()
            .filter_map(|line| line.split(' ').nth(1))
        {
            if path.starts_with(&own) {
                let _ = nix::mount::umount2(path, nix::mount::MntFlags::MNT_DETACH);
            }
        }
    }
}

fn kill_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            kill_tree(&entry.path());
        }
    }
    for pid in fs::read_to_string(path.join("cgroup.procs"))
        .unwrap_or_default()
        .lines()
    {
        if let Ok(pid) = pid.parse() {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
    }
    let deadline = std::time::Instant::now() + Duration::from_secs(2);
    while path.exists() && fs::remove_dir(path).is_err() && std::time::Instant::now() < deadline {
        std::thread::yield_now();
    }
}

struct Served {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
    store: Arc<ImageStore>,
    token: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

async fn serve(directory: &Path, name: &str) -> Served {
    let mut config = Config::new(directory);
    config.cgroup_root = PathBuf::from("/").join(name);
    config.cni_bin_dirs = vec![directory.join("cni/bin")];
    let socket = config.socket.clone();
    let runtime = Runtime::new(config).await.unwrap();
    let tar = directory.join("busybox.tar");
    if !tar.exists() {
        fs::write(&tar, image_archive()).unwrap();
    }
    let store = runtime.images();
    store.import_tar(&tar).unwrap();
    let token = CancellationToken::new();
    let running = token.clone();
    let task = tokio::spawn(async move { runtime.run(running).await.unwrap() });
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let (runtime, images) = loop {
        match knarr_cri::connect(socket.to_str().unwrap()).await {
            Ok(clients) => break clients,
            Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    Served {
        runtime,
        images,
        store,
        token,
        task,
    }
}

/// A container that runs a shell command.
pub fn shell(name: &str, command: &str) -> ContainerConfig {
    let options = NamespaceOption {
        pid: NamespaceMode::Container.into(),
        ..Default::default()
    };
    ContainerConfig {
        metadata: Some(ContainerMetadata {
            name: name.to_owned(),
            attempt: 0,
        }),
        image: Some(ImageSpec {
            image: IMAGE.to_owned(),
            ..Default::default()
        }),
        command: vec!["/bin/sh".to_owned(), "-c".to_owned()],
        args: vec![command.to_owned()],
        log_path: format!("{name}.log"),
        linux: Some(LinuxContainerConfig {
            resources: None,
            security_context: Some(LinuxContainerSecurityContext {
                namespace_options: Some(options),
                seccomp: Some(SecurityProfile {
                    profile_type: security_profile::ProfileType::RuntimeDefault.into(),
                    localhost_ref: String::new(),
                }),
                masked_paths: vec!["/proc/kcore".to_owned()],
                readonly_paths: vec!["/proc/sys".to_owned()],
                ..Default::default()
            }),
        }),
        ..Default::default()
    }
}

pub fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Busybox with its commands.
pub fn busybox_layer() -> Vec<u8> {
    layer(|tar| {
        for directory in ["bin/", "etc/", "tmp/", "root/"] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Directory);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_mode(if directory == "tmp/" { 0o1777 } else { 0o755 });
            header.set_size(0);
            tar.append_data(&mut header, directory, std::io::empty())
                .unwrap();
        }
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_mode(0o755);
        let program = fs::read(BUSYBOX).unwrap();
        header.set_size(program.len() as u64);
        tar.append_data(&mut header, "bin/busybox", &*program)
            .unwrap();
        for applet in [
            "sh", "cat", "echo", "sleep", "id", "ls", "mount", "ps", "hostname", "true", "false",
            "kill", "dd", "nc", "grep", "stty", "unshare", "touch", "readlink", "test", "mkdir",
        ] {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_mode(0o777);
            tar.append_link(&mut header, format!("bin/{applet}"), "busybox")
                .unwrap();
        }
        file(tar, "etc/removed", b"");
    })
}

/// What `docker save` would write of busybox, in two layers of which one is compressed.
pub fn image_archive() -> Vec<u8> {
    let base = busybox_layer();
    let top = layer(|tar| {
        file(
            tar,
            "etc/passwd",
            b"root:x:0:0::/root:/bin/sh\nweb:x:33:34::/srv:/bin/sh\n",
        );
        file(tar, "etc/group", b"root:x:0:\nweb:x:34:\nadm:x:4:web\n");
        file(tar, "etc/.wh.removed", b"");
    });
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux",
        "config": { "Env": ["PATH=/bin", "FROM_IMAGE=1"], "Cmd": ["sh"] },
        "rootfs": { "type": "layers", "diff_ids": [
            format!("sha256:{}", digest(&base)), format!("sha256:{}", digest(&top)),
        ]},
    })
    .to_string();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&top).unwrap();
    archive("busybox:test", &config, &[base, encoder.finish().unwrap()])
}

/// What `docker save` would write of an image of these layers.
pub fn archive(tag: &str, config: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let config_name = format!("{}.json", digest(config.as_bytes()));
    let names: Vec<String> = (0..layers.len())
        .map(|n| format!("{n}/layer.tar"))
        .collect();
    let manifest = serde_json::json!([{
        "Config": config_name, "RepoTags": [tag], "Layers": names,
    }])
    .to_string();
    layer(|tar| {
        file(tar, &config_name, config.as_bytes());
        for (name, bytes) in names.iter().zip(layers) {
            file(tar, name, bytes);
        }
        file(tar, "manifest.json", manifest.as_bytes());
    })
}

pub fn layer(fill: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    fill(&mut tar);
    tar.into_inner().unwrap()
}

pub fn file(tar: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_mode(0o644);
    header.set_size(data.len() as u64);
    tar.append_data(&mut header, name, data).unwrap();
}
