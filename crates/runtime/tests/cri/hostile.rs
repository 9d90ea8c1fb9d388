//! What a container or a power failure can leave in the runtime's way.

use std::fs;
use std::os::fd::AsRawFd;
use std::time::Instant;

use knarr_cri::v1::*;
use tokio_stream::StreamExt;

use super::common::{PATIENCE, TestRuntime, able, shell};
use super::{WAIT, assert_nothing_left};

/// The process id that a sandbox's status tells.
pub async fn shim_pid(test: &mut TestRuntime, sandbox: &str) -> i32 {
    let request = PodSandboxStatusRequest {
        pod_sandbox_id: sandbox.to_owned(),
        verbose: true,
    };
    let status = test.runtime.pod_sandbox_status(request).await.unwrap();
    let info = &status.into_inner().info["info"];
    let info: serde_json::Value = serde_json::from_str(info).unwrap();
    i32::try_from(info["pid"].as_i64().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sysctls_that_are_the_hosts_are_refused() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pattern = "/proc/sys/kernel/core_pattern";
    let before = fs::read_to_string(pattern).unwrap();
    for (name, host_network) in [
        ("kernel.core_pattern", false),
        ("net.//.kernel.core_pattern", false),
        ("net.ipv4.ip_forward", true),
        ("user.max_user_namespaces", false),
    ] {
        let mut pod = test.pod("sysctl");
        let linux = pod.linux.as_mut().unwrap();
        linux.sysctls.insert(name.to_owned(), "1".to_owned());
        if host_network {
            let security = linux.security_context.as_mut().unwrap();
            let options = security.namespace_options.as_mut().unwrap();
            options.network = NamespaceMode::Node.into();
        }
        let request = RunPodSandboxRequest {
            config: Some(pod),
            runtime_handler: String::new(),
        };
        let refused = test.runtime.run_pod_sandbox(request).await.unwrap_err();
        assert!(
            refused.message().contains("set a sysctl"),
            "{name}: {refused}"
        );
    }
    assert_eq!(fs::read_to_string(pattern).unwrap(), before);
    let mut pod = test.pod("own");
    let sysctls = &mut pod.linux.as_mut().unwrap().sysctls;
    sysctls.insert(
        "net/ipv4/ip_unprivileged_port_start".to_owned(),
        "99".to_owned(),
    );
    sysctls.insert("kernel.msgmax".to_owned(), "4096".to_owned());
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    test.start_container(&container).await.unwrap();
    let read = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/msgmax";
    assert_eq!(test.output(&container, read).await, "99\n4096");
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_shim_that_runs_nothing_is_told() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("idle");
    let sandbox = test.sandbox(pod).await;
    let events = test.runtime.get_container_events(GetEventsRequest {}).await;
    let mut events = events.unwrap().into_inner();
    let pid = nix::unistd::Pid::from_raw(shim_pid(&mut test, &sandbox).await);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    let told = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
    let told = told.unwrap().unwrap();
    assert_eq!(told.container_id, sandbox);
    let status = told.pod_sandbox_status.unwrap();
    assert_eq!(status.state(), PodSandboxState::SandboxNotready);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// What is open where the runtime lives, such as its store, stays there: a shim outlives it, and is nearer to containers.
#[tokio::test(flavor = "multi_thread")]
async fn a_shim_has_nothing_open_of_who_starts_it() {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let path = test.directory.path().join("secret");
    let secret = fs::File::create(&path).unwrap();
    fcntl(secret.as_raw_fd(), FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    let pod = test.pod("inherits");
    let sandbox = test.sandbox(pod).await;
    let pid = shim_pid(&mut test, &sandbox).await;
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let open: Vec<_> = open.flat_map(|fd| fs::read_link(fd.path())).collect();
    assert!(!open.is_empty() && !open.contains(&path), "{open:?}");
    test.remove_sandbox(&sandbox).await;
    drop(secret);
    assert_nothing_left(&test);
}

/// The helper of an exec is in the container for as long as it looks for the program: nobody there sees its descriptors.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_looks_into_what_enters_a_container() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("look");
    let sandbox = test.sandbox(pod).await;
    let look = "while :; do for p in /proc/[0-9]*; do
        read -r name < $p/comm || continue
        [ \"$name\" = knarr-exec ] && { echo looked; ls -l $p/fd; }
    done; done 2>/dev/null";
    let mut config = shell("main", look);
    // Enough places to look for a program that is nowhere.
    let path = "/x:".repeat(40_000);
    config.envs.push(KeyValue {
        key: "PATH".to_owned(),
        value: format!("/bin:{path}"),
    });
    let container = test.create(&sandbox, config).await;
    test.start_container(&container).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !test
        .log("main.log")
        .iter()
        .any(|line| line.ends_with("looked"))
    {
        assert!(Instant::now() < deadline);
        let request = ExecSyncRequest {
            container_id: container.clone(),
            cmd: vec!["nowhere".to_owned()],
            timeout: 0,
        };
        test.runtime.exec_sync(request).await.unwrap_err();
    }
    let seen: Vec<String> = test.log("main.log");
    assert!(!seen.iter().any(|line| line.contains("->")), "{seen:#?}");
    test.remove_sandbox(&sandbox).await;
}

/// Records that are empty, as a power failure leaves those that were not synced.
#[tokio::test(flavor = "multi_thread")]
async fn torn_records_are_in_nobodys_way() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("torn");
    let sandbox = test.sandbox(pod).await;
    let container = test.create(&sandbox, shell("main", WAIT)).await;
    let pod = test.pod("whole");
    let whole = test.sandbox(pod).await;
    let unread = test.create(&whole, shell("unread", WAIT)).await;
    test.stop().await;
    let root = test.directory.path().join("runtime");
    let image = fs::read_dir(root.join("images/records")).unwrap();
    let image = image.flatten().next().unwrap().path();
    let calls = test.directory.path().join("cni/bin/calls");
    fs::remove_file(&calls).unwrap();
    for record in [
        root.join("sandboxes").join(&sandbox).join("record.json"),
        root.join("containers").join(&unread).join("record.json"),
        image.clone(),
    ] {
        fs::write(record, "").unwrap();
    }
    test.restart().await;
    // The network was asked to give the address back.
    assert_eq!(fs::read_to_string(&calls).unwrap(), "DEL\n");
    assert!(!root.join("sandboxes").join(&sandbox).exists());
    for id in [&container, &unread] {
        assert!(!root.join("containers").join(id).exists());
    }
    let listed = test
        .runtime
        .list_pod_sandbox(ListPodSandboxRequest { filter: None });
    assert_eq!(listed.await.unwrap().into_inner().items.len(), 1);
    let images = test.images.list_images(ListImagesRequest { filter: None });
    // It was imported anew.
    assert_eq!(images.await.unwrap().into_inner().images.len(), 1);
    assert!(fs::metadata(&image).unwrap().len() > 0);
    test.remove_sandbox(&whole).await;
    assert_nothing_left(&test);
}

/// Pods' annotations are their owners': together they are longer than what a client takes.
#[tokio::test(flavor = "multi_thread")]
async fn pods_of_long_annotations_are_listed() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let mut sandboxes = Vec::new();
    for name in ["one", "two"] {
        let mut pod = test.pod(name);
        let long = "x".repeat(knarr_cri::MAX_MESSAGE_BYTES / 8 * 5);
        pod.annotations.insert("owner".to_owned(), long);
        sandboxes.push(test.sandbox(pod).await);
    }
    let all = ListPodSandboxRequest { filter: None };
    let listed = test.runtime.list_pod_sandbox(all).await.unwrap();
    let ids = listed.into_inner().items.into_iter().map(|item| item.id);
    let mut ids: Vec<String> = ids.collect();
    ids.sort();
    let stats = ListPodSandboxStatsRequest { filter: None };
    let stats = test.runtime.list_pod_sandbox_stats(stats).await.unwrap();
    assert_eq!(stats.into_inner().stats.len(), sandboxes.len());
    for sandbox in &sandboxes {
        test.remove_sandbox(sandbox).await;
    }
    sandboxes.sort();
    assert_eq!(ids, sandboxes);
    assert_nothing_left(&test);
}
