//! Drives CRI over its socket with real containers. Needs root; skips with a reason otherwise.

mod common;
#[path = "cri/hostile.rs"]
mod hostile;
#[path = "cri/image_volumes.rs"]
mod image_volumes;
#[path = "cri/odd_images.rs"]
mod odd_images;
#[path = "cri/process_namespace.rs"]
mod process_namespace;
#[path = "cri/resources.rs"]
mod resources;
#[path = "cri/slow.rs"]
mod slow;
#[path = "cri/told.rs"]
mod told;
#[path = "cri/unprivileged.rs"]
mod unprivileged;
#[path = "cri/users.rs"]
mod users;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::{ADDRESS, IMAGE, PATIENCE, TestRuntime, able, shell};
use knarr_cri::v1::*;
use tonic::Code;

/// Stays until it is told to end.
const WAIT: &str = "trap 'exit 7' TERM; echo ready; while :; do sleep 1000 & wait; done";

fn assert_nothing_left(test: &TestRuntime) {
    let root = test.directory.path();
    for directory in [
        "runtime/sandboxes",
        "runtime/containers",
        "run/netns",
        "run/userns",
    ] {
        let left: Vec<_> = std::fs::read_dir(root.join(directory))
            .unwrap()
            .flatten()
            .collect();
        assert!(left.is_empty(), "{directory}: {left:?}");
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_runs_and_leaves_nothing() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let started = Instant::now();
    let pod = test.pod("one");
    let sandbox = test.sandbox(pod).await;
    let sandboxed = started.elapsed();
    let command = "echo out; echo err >&2; id -u; hostname; echo -n tail; exit 3";
    let container = test.create(&sandbox, shell("main", command)).await;
    let created = started.elapsed();
    test.start_container(&container).await.unwrap();
    eprintln!(
        "sandbox {sandboxed:?}, created {created:?}, started {:?}",
        started.elapsed()
    );
    let status = test.exit(&container).await;
    assert_eq!((status.exit_code, &*status.reason), (3, "Error"));
    assert!(status.started_at > 0 && status.finished_at >= status.started_at);
    let mut log = test.log("main.log");
    log.sort();
    assert_eq!(
        log,
        [
            "stderr F err",
            "stdout F 0",
            "stdout F one",
            "stdout F out",
            "stdout P tail"
        ]
    );
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.clone(),
        verbose: false,
    };
    let known = test
        .runtime
        .pod_sandbox_status(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(known.status.unwrap().network.unwrap().ip, ADDRESS);
    test.remove_sandbox(&sandbox).await;
    // Once more: what is gone is removed.
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
    let calls = std::fs::read_to_string(test.directory.path().join("cni/bin/calls")).unwrap();
    assert_eq!(calls, "ADD\nDEL\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_is_as_the_specification_says() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("spec");
    let sandbox = test.sandbox(pod).await;
    let volume = test.directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("file"), "content").unwrap();
    let mut config = shell("main", WAIT);
    config.envs = vec![KeyValue {
        key: "A".to_owned(),
        value: "b".to_owned(),
    }];
    config.working_dir = "/made/here".to_owned();
    config.mounts = vec![Mount {
        container_path: "/volume".to_owned(),
        host_path: volume.display().to_string(),
        readonly: true,
        ..Default::default()
    }];
    let linux = config.linux.as_mut().unwrap();
    linux.resources = Some(LinuxContainerResources {
        memory_limit_in_bytes: 64 << 20,
        cpu_shares: 512,
        cpu_quota: 50_000,
        cpu_period: 100_000,
        oom_score_adj: -997,
        ..Default::default()
    });
    let security = linux.security_context.as_mut().unwrap();
    security.run_as_user = Some(Int64Value { value: 33 });
    security.supplemental_groups = vec![1_234];
    security.no_new_privs = true;
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let cases = [
        ("id", "uid=33(web) gid=34(web) groups=4(adm),34(web),1234"),
        ("echo $A $FROM_IMAGE $HOSTNAME", "b 1 spec"),
        (
            "cat /proc/self/comm; readlink /proc/1/cwd || echo hidden",
            "cat\n/made/here",
        ),
        (
            "cat /volume/file; touch /volume/x 2>/dev/null || echo ' read-only'",
            "content read-only",
        ),
        (
            "cat /etc/resolv.conf",
            "search default.svc.cluster.local\nnameserver 10.43.0.10\noptions ndots:5",
        ),
        ("cat /etc/hostname", "spec"),
        ("test -e /etc/removed || echo whited out", "whited out"),
        ("grep -c . /proc/1/cmdline", "1"),
        ("grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1"),
        // Of an exec'd process: the filter is on it as well.
        (
            "grep 'Seccomp:' /proc/self/status; unshare -U true 2>/dev/null || echo refused",
            "Seccomp:\t2\nrefused",
        ),
        ("grep CapEff /proc/self/status", "CapEff:\t0000000000000000"),
        (
            "echo x > /proc/sys/kernel/hostname 2>/dev/null || echo read-only",
            "read-only",
        ),
        ("cat /proc/kcore | dd bs=1 count=1 2>/dev/null", ""),
        ("mount | grep -c ' /dev/shm '", "1"),
    ];
    for (command, wanted) in cases {
        assert_eq!(test.output(&container, command).await, wanted, "{command}");
    }
    let stats = test
        .runtime
        .container_stats(ContainerStatsRequest {
            container_id: container.clone(),
        })
        .await
        .unwrap()
        .into_inner()
        .stats
        .unwrap();
    assert!(stats.memory.unwrap().usage_bytes.unwrap().value > 0);
    assert!(stats.cpu.unwrap().usage_core_nano_seconds.unwrap().value > 0);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn exec_returns_output_exit_code_and_times_out() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("exec");
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    let early = test.exec(&container, "true", 5).await.unwrap_err();
    assert_eq!(early.code(), Code::FailedPrecondition);
    test.start_container(&container).await.unwrap();
    let response = test
        .exec(&container, "echo a; echo b >&2; exit 4", 5)
        .await
        .unwrap();
    assert_eq!(
        (&*response.stdout, &*response.stderr, response.exit_code),
        (&b"a\n"[..], &b"b\n"[..], 4)
    );
    let long = test
        .exec(
            &container,
            "dd if=/dev/zero bs=1024 count=1024 2>/dev/null",
            5,
        )
        .await
        .unwrap();
    assert_eq!(long.stdout.len(), 1 << 20);
    let late = test.exec(&container, "sleep 100", 1).await.unwrap_err();
    assert_eq!(late.code(), Code::DeadlineExceeded);
    let cmd = vec!["nonsense".to_owned()];
    let request = ExecSyncRequest {
        container_id: container.clone(),
        cmd,
        timeout: 5,
    };
    let missing = test.runtime.exec_sync(request).await.unwrap_err();
    assert!(
        missing
            .message()
            .contains("executable file not found in $PATH"),
        "{missing}"
    );
    let gone = test.exec("0123", "true", 5).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    test.remove_sandbox(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_is_graceful_then_not() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("stop");
    let sandbox = test.sandbox(pod).await;
    let polite = test.create(&sandbox, shell("polite", WAIT)).await;
    let stubborn = test
        .create(
            &sandbox,
            shell(
                "stubborn",
                "trap '' TERM; echo ready; while :; do sleep 1000; done",
            ),
        )
        .await;
    for (id, name) in [(&polite, "polite"), (&stubborn, "stubborn")] {
        test.start_container(id).await.unwrap();
        // The trap is set before the word is written.
        let deadline = Instant::now() + PATIENCE;
        while test.log(&format!("{name}.log")).is_empty() {
            assert!(Instant::now() < deadline);
            tokio::task::yield_now().await;
        }
    }
    for (id, timeout, code) in [(&polite, 10, 7), (&stubborn, 1, 137)] {
        let request = StopContainerRequest {
            container_id: id.clone(),
            timeout,
        };
        test.runtime.stop_container(request.clone()).await.unwrap();
        assert_eq!(test.status(id).await.exit_code, code);
        test.runtime.stop_container(request).await.unwrap();
    }
    let again = test.start_container(&polite).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    test.remove_sandbox(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_is_a_start_error() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("bad");
    let sandbox = test.sandbox(pod).await;
    let mut config = shell("bad", "");
    config.command = vec!["/no/such/program".to_owned()];
    let container = test.create(&sandbox, config).await;
    let error = test.start_container(&container).await.unwrap_err();
    let wanted = "exec: \"/no/such/program\": stat /no/such/program: no such file or directory";
    assert!(error.message().contains(wanted), "{error}");
    let status = test.status(&container).await;
    assert_eq!(
        (status.state(), status.exit_code, &*status.reason),
        (ContainerState::ContainerExited, 128, "StartError")
    );
    // It has ended, and never began.
    assert!(status.started_at == 0 && status.finished_at > status.created_at);
    let mut config = shell("absent", "true");
    config.image = Some(ImageSpec {
        image: "absent:1".to_owned(),
        ..Default::default()
    });
    let request = CreateContainerRequest {
        pod_sandbox_id: sandbox.clone(),
        config: Some(config),
        sandbox_config: None,
    };
    assert_eq!(
        test.runtime
            .create_container(request)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_outlive_the_runtime() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("outlive");
    let sandbox = test.sandbox(pod).await;
    let stays = test.create(&sandbox, shell("stays", WAIT)).await;
    let fifo = "while [ ! -e /volume/go ]; do :; done; exit 5";
    let mut config = shell("ends", fifo);
    let volume = test.directory.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    config.mounts = vec![Mount {
        container_path: "/volume".to_owned(),
        host_path: volume.display().to_string(),
        ..Default::default()
    }];
    let ends = test.create(&sandbox, config).await;
    for id in [&stays, &ends] {
        test.start_container(id).await.unwrap();
    }
    let before = test.status(&stays).await;
    test.stop().await;
    // Ends while nobody listens; its shim writes it down.
    std::fs::write(volume.join("go"), "").unwrap();
    let record = test
        .directory
        .path()
        .join("runtime/containers")
        .join(&ends)
        .join("exit.json");
    let deadline = Instant::now() + PATIENCE;
    while !record.exists() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    test.restart().await;
    let after = test.status(&stays).await;
    assert_eq!(
        (after.state(), after.started_at),
        (ContainerState::ContainerRunning, before.started_at)
    );
    let ended = test.status(&ends).await;
    assert_eq!(
        (ended.state(), ended.exit_code),
        (ContainerState::ContainerExited, 5)
    );
    assert_eq!(test.output(&stays, "echo still here").await, "still here");
    // Events arrive on the new connection.
    let stop = StopContainerRequest {
        container_id: stays.clone(),
        timeout: 10,
    };
    test.runtime.stop_container(stop).await.unwrap();
    assert_eq!(test.status(&stays).await.exit_code, 7);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// As a crash between making the namespaces and recording the network leaves it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_crash_leaves_half_made_is_cleaned_up() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("half");
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    test.start_container(&container).await.unwrap();
    let unfinished = test.create(&sandbox, shell("unfinished", WAIT)).await;
    test.stop().await;
    let root = test.directory.path().join("runtime");
    std::fs::remove_file(root.join("sandboxes").join(&sandbox).join("network.json")).unwrap();
    std::fs::remove_file(
        root.join("containers")
            .join(&unfinished)
            .join("config.json"),
    )
    .unwrap();
    std::fs::create_dir(root.join("sandboxes/empty")).unwrap();
    test.restart().await;
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.clone(),
        verbose: false,
    };
    let known = test.runtime.pod_sandbox_status(request).await.unwrap();
    let known = known.into_inner().status.unwrap();
    assert_eq!(known.state(), PodSandboxState::SandboxNotready);
    let status = test.status(&container).await;
    assert_eq!(status.state(), ContainerState::ContainerExited);
    let request = ListContainersRequest { filter: None };
    let listed = test.runtime.list_containers(request).await.unwrap();
    assert_eq!(listed.into_inner().containers.len(), 1);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// Of a process a pod every page counts: what is not shared with the other shims, KiB.
const MAX_SHIM_PRIVATE_KIB: u64 = 2_048;

#[tokio::test(flavor = "multi_thread")]
async fn a_shim_is_small() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("small");
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    test.start_container(&container).await.unwrap();
    // The program is one memfd that all shims of a runtime map: with a single one the kernel counts it as that one's own.
    let second = test.pod("second");
    let second = test.sandbox(second).await;
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.clone(),
        verbose: true,
    };
    let known = test.runtime.pod_sandbox_status(request).await.unwrap();
    let info: serde_json::Value = serde_json::from_str(&known.into_inner().info["info"]).unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", info["pid"])).unwrap();
    let private: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_"))
        .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    eprintln!("private memory of a shim: {private} KiB");
    assert!(private > 0 && private < MAX_SHIM_PRIVATE_KIB, "{rollup}");
    test.remove_sandbox(&second).await;
    test.remove_sandbox(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shim_is_noticed_and_cleaned_up_after() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("dead");
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    test.start_container(&container).await.unwrap();
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.clone(),
        verbose: true,
    };
    let info = test
        .runtime
        .pod_sandbox_status(request.clone())
        .await
        .unwrap()
        .into_inner()
        .info;
    let info: serde_json::Value = serde_json::from_str(&info["info"]).unwrap();
    let pid = i32::try_from(info["pid"].as_i64().unwrap()).unwrap();
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(pid),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    let status = test.exit(&container).await;
    assert_eq!((status.exit_code, &*status.reason), (255, "Unknown"));
    let known = test
        .runtime
        .pod_sandbox_status(request)
        .await
        .unwrap()
        .into_inner()
        .status
        .unwrap();
    assert_eq!(known.state(), PodSandboxState::SandboxNotready);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_process_namespace_has_an_init() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let mut pod = test.pod("shared");
    let shared = NamespaceOption {
        pid: NamespaceMode::Pod.into(),
        ..Default::default()
    };
    pod.linux
        .as_mut()
        .unwrap()
        .security_context
        .as_mut()
        .unwrap()
        .namespace_options = Some(shared.clone());
    let sandbox = test.sandbox(pod).await;
    let mut ids = Vec::new();
    for name in ["a", "b"] {
        let mut config = shell(name, WAIT);
        config
            .linux
            .as_mut()
            .unwrap()
            .security_context
            .as_mut()
            .unwrap()
            .namespace_options = Some(shared.clone());
        let id = test.create(&sandbox, config).await;
        test.start_container(&id).await.unwrap();
        ids.push(id);
    }
    let processes = test
        .output(
            &ids[0],
            "cat /proc/1/comm; cat /proc/[0-9]*/comm | grep -c '^sh$'",
        )
        .await;
    let (init, shells) = processes.split_once('\n').unwrap();
    assert_eq!(init, "pause");
    assert!(shells.parse::<u32>().unwrap() >= 2, "{processes}");
    let stop = StopContainerRequest {
        container_id: ids[1].clone(),
        timeout: 10,
    };
    test.runtime.stop_container(stop).await.unwrap();
    assert_eq!(
        test.status(&ids[0]).await.state(),
        ContainerState::ContainerRunning
    );
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_network_privileged_container() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let mut pod = test.pod("host");
    let options = NamespaceOption {
        network: NamespaceMode::Node.into(),
        pid: NamespaceMode::Container.into(),
        ..Default::default()
    };
    pod.linux
        .as_mut()
        .unwrap()
        .security_context
        .as_mut()
        .unwrap()
        .namespace_options = Some(options.clone());
    let sandbox = test.sandbox(pod).await;
    let mut config = shell("main", WAIT);
    config.linux.as_mut().unwrap().security_context = Some(LinuxContainerSecurityContext {
        privileged: true,
        namespace_options: Some(options),
        ..Default::default()
    });
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(
        test.output(&container, "readlink /proc/self/ns/net").await,
        own.display().to_string()
    );
    assert_eq!(
        test.output(
            &container,
            "mkdir /mnt; mount -t tmpfs x /mnt && echo mounted"
        )
        .await,
        "mounted"
    );
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_out_of_memory_is_told() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("oom");
    let sandbox = test.sandbox(pod).await;
    // Doubles a string until it is too long.
    let mut config = shell("main", "x=0123456789abcdef; while :; do x=$x$x; done");
    config.linux.as_mut().unwrap().resources = Some(LinuxContainerResources {
        memory_limit_in_bytes: 16 << 20,
        ..Default::default()
    });
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let status = test.exit(&container).await;
    assert_eq!((status.exit_code, &*status.reason), (137, "OOMKilled"));
    test.remove_sandbox(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn terminals_logs_and_lists() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let mut pod = test.pod("tty");
    pod.labels = HashMap::from([("app".to_owned(), "x".to_owned())]);
    let sandbox = test.sandbox(pod).await;
    let mut config = shell(
        "main",
        "test -t 0 && test -t 1 && echo terminal $TERM; while :; do sleep 1000; done",
    );
    config.tty = true;
    config.stdin = true;
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while test.log("main.log").is_empty() {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    assert_eq!(test.log("main.log"), ["stdout F terminal xterm"]);
    let log = test.directory.path().join("logs/main.log");
    std::fs::rename(&log, log.with_extension("1")).unwrap();
    let reopen = ReopenContainerLogRequest {
        container_id: container.clone(),
    };
    test.runtime.reopen_container_log(reopen).await.unwrap();
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    for (labels, count) in [([("app", "x")], 1), ([("app", "y")], 0)] {
        let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let filter = PodSandboxFilter {
            label_selector: HashMap::from(labels),
            ..Default::default()
        };
        let request = ListPodSandboxRequest {
            filter: Some(filter),
        };
        let items = test
            .runtime
            .list_pod_sandbox(request)
            .await
            .unwrap()
            .into_inner()
            .items;
        assert_eq!(items.len(), count);
    }
    let images = test
        .images
        .list_images(ListImagesRequest { filter: None })
        .await
        .unwrap()
        .into_inner()
        .images;
    assert_eq!(images[0].repo_tags, [IMAGE]);
    let spec = Some(ImageSpec {
        image: IMAGE.to_owned(),
        ..Default::default()
    });
    let busy = test
        .images
        .remove_image(RemoveImageRequest {
            image: spec.clone(),
        })
        .await
        .unwrap_err();
    assert_eq!(busy.code(), Code::FailedPrecondition);
    test.remove_sandbox(&sandbox).await;
    test.images
        .remove_image(RemoveImageRequest {
            image: spec.clone(),
        })
        .await
        .unwrap();
    let status = test
        .images
        .image_status(ImageStatusRequest {
            image: spec,
            verbose: false,
        })
        .await
        .unwrap();
    assert!(status.into_inner().image.is_none());
    assert_eq!(
        std::fs::read_dir(test.directory.path().join("runtime/images/layers"))
            .unwrap()
            .count(),
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_starts_quickly() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let mut best = Duration::MAX;
    for round in 0..5 {
        let pod = test.pod(&format!("quick{round}"));
        let started = Instant::now();
        let sandbox = test.sandbox(pod).await;
        let container = test.create(&sandbox, shell("main", "exit 0")).await;
        test.start_container(&container).await.unwrap();
        best = best.min(started.elapsed());
        test.remove_sandbox(&sandbox).await;
    }
    eprintln!("best of five: {best:?}");
    // A tenth of it on an idle machine; tests share theirs.
    assert!(best < Duration::from_secs(1), "{best:?}");
}
