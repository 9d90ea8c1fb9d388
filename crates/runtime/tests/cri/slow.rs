//! What takes longer than whoever asked for it waits.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use knarr_cri::v1::*;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tonic::Code;

use super::common::{PATIENCE, TestRuntime, able, shell};
use super::hostile::shim_pid;
use super::{WAIT, assert_nothing_left};

/// Longer than any answer of a shim is waited for.
const AGES: Duration = Duration::from_secs(3_600);
/// How long a caller waits that gives up.
const IMPATIENCE: Duration = Duration::from_secs(1);
/// As many as tokio has threads for what blocks, unless it is told otherwise.
const MANY: usize = 512;
/// Threads for what blocks that a test has, and what of it a namespace may have: more than it gets.
const FEW: usize = 16;
/// As many streams as a server takes of one connection.
const STREAMS: usize = 128;

/// A shim that neither reads nor answers until this is dropped.
struct Halted(Pid);

impl Halted {
    async fn new(test: &mut TestRuntime, sandbox: &str) -> Self {
        let pid = Pid::from_raw(shim_pid(test, sandbox).await);
        kill(pid, Signal::SIGSTOP).unwrap();
        Self(pid)
    }
}

impl Drop for Halted {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// A file system whose server never answers, until this is dropped.
struct Silent(PathBuf, Option<File>);

impl Silent {
    fn at(place: &Path) -> Self {
        let device = File::options().read(true).write(true).open("/dev/fuse");
        let device = device.unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            device.as_raw_fd()
        );
        let kind = Some("fuse");
        mount(kind, place, kind, MsFlags::empty(), Some(&*options)).unwrap();
        Self(place.to_owned(), Some(device))
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Whoever waits for it is told that it has gone.
        self.1 = None;
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// A directory below which what is mounted reaches containers, until this is dropped.
struct Shared(PathBuf);

impl Shared {
    fn at(place: &Path) -> Self {
        let none = None::<&str>;
        mount(Some(place), place, none, MsFlags::MS_BIND, none).unwrap();
        mount(none, place, none, MsFlags::MS_SHARED, none).unwrap();
        Self(place.to_owned())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

async fn state(test: &mut TestRuntime, container: &str, wanted: ContainerState) -> ContainerStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = test.status(container).await;
        if status.state() == wanted {
            return status;
        }
        assert!(Instant::now() < deadline, "{status:?}");
        tokio::task::yield_now().await;
    }
}

async fn start_impatiently(test: &TestRuntime, container: &str) -> Code {
    let mut request = tonic::Request::new(StartContainerRequest {
        container_id: container.to_owned(),
    });
    request.set_timeout(IMPATIENCE);
    let mut runtime = test.runtime.clone();
    let given_up = runtime.start_container(request).await.unwrap_err();
    given_up.code()
}

/// A container that a slow start has made is the runtime's own, whoever still waits for it.
#[tokio::test]
async fn a_start_outlasts_whoever_asked_for_it() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("slow");
    let sandbox = test.sandbox(pod).await;
    let runs = test.create(&sandbox, shell("runs", WAIT)).await;
    let mut config = shell("fails", "");
    config.command = vec!["/no/such/program".to_owned()];
    let fails = test.create(&sandbox, config).await;
    let halted = Halted::new(&mut test, &sandbox).await;
    for container in [&runs, &fails] {
        let code = start_impatiently(&test, container).await;
        assert!(matches!(code, Code::Cancelled | Code::DeadlineExceeded));
    }
    tokio::time::pause();
    tokio::time::advance(AGES).await;
    tokio::time::resume();
    for container in [&runs, &fails] {
        let status = test.status(container).await;
        assert_eq!(status.state(), ContainerState::ContainerCreated);
    }
    drop(halted);
    let status = state(&mut test, &runs, ContainerState::ContainerRunning).await;
    assert!(status.started_at > 0);
    assert_eq!(test.output(&runs, "echo known").await, "known");
    let status = state(&mut test, &fails, ContainerState::ContainerExited).await;
    assert_eq!((status.exit_code, &*status.reason), (128, "StartError"));
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// A start that hangs is cut off by a stop, and leaves no process.
#[tokio::test]
async fn a_stop_ends_a_start_that_hangs() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("hangs");
    let sandbox = test.sandbox(pod).await;
    let volume = test.directory.path().join("volume");
    fs::create_dir(&volume).unwrap();
    let mut config = shell("main", WAIT);
    config.mounts = vec![Mount {
        container_path: "/volume".to_owned(),
        host_path: volume.join("within").display().to_string(),
        ..Default::default()
    }];
    fs::create_dir(volume.join("within")).unwrap();
    let container = test.create(&sandbox, config).await;
    let silent = Silent::at(&volume);
    let code = start_impatiently(&test, &container).await;
    assert!(matches!(code, Code::Cancelled | Code::DeadlineExceeded));
    let stop = StopContainerRequest {
        container_id: container.clone(),
        timeout: 0,
    };
    test.runtime.stop_container(stop).await.unwrap();
    let status = test.status(&container).await;
    assert_eq!(
        (status.state(), &*status.reason),
        (ContainerState::ContainerExited, "StartError")
    );
    drop(silent);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// The store, images and health have threads to wait with, however many commands do not come to an end.
#[tokio::test(flavor = "multi_thread")]
async fn commands_that_do_not_start_hold_no_threads() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("many");
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    test.start_container(&container).await.unwrap();
    let halted = Halted::new(&mut test, &sandbox).await;
    let socket = knarr_runtime::Config::new(test.directory.path()).socket;
    let mut waiting = tokio::task::JoinSet::new();
    for index in 0..MANY.div_ceil(STREAMS) {
        let (runtime, _) = knarr_cri::connect(socket.to_str().unwrap()).await.unwrap();
        for _ in index * STREAMS..MANY.min((index + 1) * STREAMS) {
            let (mut runtime, container_id) = (runtime.clone(), container.clone());
            waiting.spawn(async move {
                let cmd = vec!["true".to_owned()];
                let request = ExecSyncRequest {
                    container_id,
                    cmd,
                    timeout: 0,
                };
                runtime.exec_sync(request).await
            });
        }
    }
    assert_eq!(waiting.len(), MANY);
    let until = Instant::now() + 2 * IMPATIENCE;
    while Instant::now() < until {
        let others = async {
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            let request = StatusRequest { verbose: false };
            test.runtime.status(request).await.unwrap();
            let request = ListImagesRequest { filter: None };
            test.images.list_images(request).await.unwrap();
            let request = ImageFsInfoRequest {};
            test.images.image_fs_info(request).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, others).await.unwrap();
    }
    assert!(waiting.try_join_next().is_none());
    drop(halted);
    while let Some(answered) = waiting.join_next().await {
        let answer = answered.unwrap().unwrap().into_inner();
        assert_eq!(answer.exit_code, 0);
    }
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// A command on a server that does not answer is given up with all that it has begun: a probe asks for one every second.
#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_loaded_leaves_no_process() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let volume = test.directory.path().join("volume");
    fs::create_dir_all(volume.join("within")).unwrap();
    let shared = Shared::at(&volume);
    let pod = test.pod("unloaded");
    let sandbox = test.sandbox(pod).await;
    let mut config = shell("main", WAIT);
    config.mounts = vec![Mount {
        container_path: "/volume".to_owned(),
        host_path: volume.display().to_string(),
        propagation: MountPropagation::PropagationHostToContainer.into(),
        ..Default::default()
    }];
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let silent = Silent::at(&volume.join("within"));
    let request = ExecSyncRequest {
        container_id: container.clone(),
        cmd: vec!["/volume/within/true".to_owned()],
        timeout: 0,
    };
    let refused = test.runtime.exec_sync(request).await.unwrap_err();
    assert!(refused.message().contains("did not start"), "{refused}");
    let names = test.output(&container, "cat /proc/[0-9]*/comm").await;
    assert!(!names.contains("knarr-exec"), "{names}");
    drop(silent);
    drop(shared);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// A tenant's server that does not answer holds a few threads, and nothing of a container that nobody waits for stays.
#[test]
fn creations_that_hang_hold_few_threads() {
    if !able() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(FEW)
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut test = TestRuntime::start().await;
        let (tenants, others) = (test.pod("tenants"), test.pod("others"));
        let tenants = test.sandbox(tenants).await;
        let mut others = others;
        others.metadata.as_mut().unwrap().namespace = "others".to_owned();
        let others = test.sandbox(others).await;
        let volume = test.directory.path().join("volume");
        fs::create_dir(&volume).unwrap();
        let silent = Silent::at(&volume);
        let mut waiting = tokio::task::JoinSet::new();
        for index in 0..2 * FEW {
            let mut config = shell(&format!("main{index}"), WAIT);
            config.mounts = vec![Mount {
                container_path: "/volume".to_owned(),
                host_path: volume.display().to_string(),
                ..Default::default()
            }];
            let mut request = tonic::Request::new(CreateContainerRequest {
                pod_sandbox_id: tenants.clone(),
                config: Some(config),
                sandbox_config: None,
            });
            request.set_timeout(IMPATIENCE);
            let mut runtime = test.runtime.clone();
            waiting.spawn(async move { runtime.create_container(request).await });
        }
        while let Some(answered) = waiting.join_next().await {
            let code = answered.unwrap().unwrap_err().code();
            assert!(matches!(code, Code::Cancelled | Code::DeadlineExceeded));
        }
        let elsewhere = async {
            tokio::task::spawn_blocking(|| ()).await.unwrap();
            let container = test.create(&others, shell("main", WAIT)).await;
            test.start_container(&container).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, elsewhere).await.unwrap();
        drop(silent);
        let containers = test.directory.path().join("runtime/containers");
        let deadline = Instant::now() + PATIENCE;
        while fs::read_dir(&containers).unwrap().count() > 1 {
            assert!(Instant::now() < deadline, "what nobody waits for stays");
            tokio::task::yield_now().await;
        }
        test.remove_sandbox(&tenants).await;
        test.remove_sandbox(&others).await;
        assert_nothing_left(&test);
    });
}
