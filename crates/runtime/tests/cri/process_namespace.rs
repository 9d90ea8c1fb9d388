//! Containers of a shared process namespace, whose process ids say nothing about the host's.

use knarr_cri::v1::*;

use crate::common::{TestRuntime, able, shell};

/// Containers in the namespace. Their process ids are ones that the host does not have, or hardly.
const CONTAINERS: usize = 12;
const STAYS: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
const MEMORY_BYTES: i64 = 64 << 20;

fn shared() -> NamespaceOption {
    NamespaceOption {
        pid: NamespaceMode::Pod.into(),
        ..Default::default()
    }
}

fn container(name: &str, privileged: bool) -> ContainerConfig {
    let mut config = shell(name, STAYS);
    let linux = config.linux.as_mut().unwrap();
    linux.resources = Some(LinuxContainerResources {
        memory_limit_in_bytes: MEMORY_BYTES,
        ..Default::default()
    });
    let security = linux.security_context.as_mut().unwrap();
    security.namespace_options = Some(shared());
    security.privileged = privileged;
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn process_ids_the_host_does_not_have() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let mut pod = test.pod("shared");
    let linux = pod.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().namespace_options = Some(shared());
    let sandbox = test.sandbox(pod).await;
    let first = test.create(&sandbox, container("first", true)).await;
    test.start_container(&first).await.unwrap();
    // The last ids there are, which the host reaches only after many thousand processes.
    let far =
        "echo $(($(cat /proc/sys/kernel/pid_max) - 2000)) > /proc/sys/kernel/ns_last_pid; echo $?";
    assert_eq!(test.output(&first, far).await, "0");
    for number in 0..CONTAINERS {
        let name = format!("c{number}");
        let id = test.create(&sandbox, container(&name, false)).await;
        let started = test.start_container(&id).await;
        assert!(started.is_ok(), "{name}: {started:?}");
        check_control_group(&mut test, &id, false).await;
    }
    check_control_group(&mut test, &first, true).await;
    test.remove_sandbox(&sandbox).await;
}

/// Whoever may trace the namespace's first process could become what it is.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_process_has_nothing_and_may_nothing() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let mut pod = test.pod("traced");
    let linux = pod.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().namespace_options = Some(shared());
    let sandbox = test.sandbox(pod).await;
    let id = test.create(&sandbox, container("tracer", true)).await;
    test.start_container(&id).await.unwrap();
    let command = "cat /proc/1/comm; ls -A /proc/1/root/ | wc -l; wc -l < /proc/1/mountinfo
        ls -A /proc/1/fd | wc -l; grep -c '^Cap[A-Z][a-z]*:.0*$' /proc/1/status
        sed -n 's/^Uid:.//p; s/^NoNewPrivs:.//p' /proc/1/status
        (echo x > /proc/1/root/x) 2>/dev/null || echo read-only";
    let shown = test.output(&id, command).await;
    let shown: Vec<&str> = shown.split_whitespace().collect();
    // Inheritable, permitted, effective and ambient ones; the bounding set gives nothing to who executes nothing.
    let wanted = "pause 0 1 0 4 65535 65535 65535 65535 1 read-only";
    assert_eq!(shown.join(" "), wanted);
    test.remove_sandbox(&sandbox).await;
}

/// The container's own group is the root of what it sees of them, and for its limits to be changed it must be privileged.
async fn check_control_group(test: &mut TestRuntime, id: &str, writable: bool) {
    let command = "cd /sys/fs/cgroup/memory 2>/dev/null || cd /sys/fs/cgroup
        cat memory.max memory.limit_in_bytes 2>/dev/null
        (echo 0 > cgroup.procs) 2>/dev/null && echo writable || echo read-only
        ls -d /sys/fs/cgroup/systemd 2>/dev/null";
    let access = if writable { "writable" } else { "read-only" };
    assert_eq!(
        test.output(id, command).await,
        format!("{MEMORY_BYTES}\n{access}")
    );
}
