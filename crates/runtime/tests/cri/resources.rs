//! What is changed of a running container, and who may look into it.

use knarr_cri::v1::*;

use crate::common::{TestRuntime, able, shell};

const STAYS: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";
const BEFORE: i64 = 64 << 20;
const AFTER: i64 = 96 << 20;

fn limits(memory: i64, quota: i64) -> LinuxContainerResources {
    LinuxContainerResources {
        cpu_period: 100_000,
        cpu_quota: quota,
        memory_limit_in_bytes: memory,
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_changed_and_told_by_the_next_runtime() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("resized");
    let sandbox = test.sandbox(pod).await;
    let mut config = shell("main", STAYS);
    config.linux.as_mut().unwrap().resources = Some(limits(BEFORE, 30_000));
    let id = test.create(&sandbox, config).await;
    test.start_container(&id).await.unwrap();
    let request = UpdateContainerResourcesRequest {
        container_id: id.clone(),
        linux: Some(LinuxContainerResources {
            cpu_quota: 0,
            ..limits(AFTER, 0)
        }),
        ..Default::default()
    };
    test.runtime
        .update_container_resources(request)
        .await
        .unwrap();
    let command = "cd /sys/fs/cgroup; cat memory.max memory/memory.limit_in_bytes 2>/dev/null";
    assert_eq!(test.output(&id, command).await, AFTER.to_string());
    for _ in 0..2 {
        let told = test.status(&id).await.resources.unwrap().linux.unwrap();
        // What was not asked for stays.
        assert_eq!(
            (told.memory_limit_in_bytes, told.cpu_quota),
            (AFTER, 30_000)
        );
        test.restart().await;
    }
    test.remove_sandbox(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_group_of_a_container_that_has_ended_is_gone() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("ends");
    let sandbox = test.sandbox(pod).await;
    let id = test.create(&sandbox, shell("main", "exit 3")).await;
    test.start_container(&id).await.unwrap();
    assert_eq!(test.exit(&id).await.exit_code, 3);
    let request = ContainerStatusRequest {
        container_id: id.clone(),
        verbose: true,
    };
    let told = test.runtime.container_status(request).await.unwrap();
    let info: serde_json::Value = serde_json::from_str(&told.into_inner().info["info"]).unwrap();
    let group = info["cgroup"].as_str().unwrap().trim_start_matches('/');
    let mounts = std::path::Path::new("/sys/fs/cgroup");
    let controllers = std::fs::read_dir(mounts).unwrap().flatten();
    let mut all = controllers.map(|entry| entry.path()).chain([mounts.into()]);
    let left = all.find(|mount| mount.join(group).exists());
    assert_eq!(left, None, "{group}");
    test.remove_sandbox(&sandbox).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_sees_the_processes_of_its_target() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    let pod = test.pod("target");
    let sandbox = test.sandbox(pod).await;
    let script = format!(": the target; {STAYS}");
    let target = test.create(&sandbox, shell("target", &script)).await;
    let debugger = |name: &str| {
        let mut config = shell(name, STAYS);
        let security = config.linux.as_mut().unwrap().security_context.as_mut();
        security.unwrap().namespace_options = Some(NamespaceOption {
            pid: NamespaceMode::Target.into(),
            target_id: target.clone(),
            ..Default::default()
        });
        config
    };
    let request = |name| CreateContainerRequest {
        pod_sandbox_id: sandbox.clone(),
        config: Some(debugger(name)),
        sandbox_config: None,
    };
    let early = test.runtime.create_container(request("early")).await;
    let error = early.unwrap_err();
    assert!(error.message().contains("is not running"), "{error}");
    test.start_container(&target).await.unwrap();
    let looks = test.create(&sandbox, debugger("looks")).await;
    test.start_container(&looks).await.unwrap();
    let seen = test.output(&looks, "cat /proc/1/cmdline").await;
    assert!(seen.contains(": the target;"), "{seen}");
    // Its end is not the other's.
    test.runtime
        .stop_container(StopContainerRequest {
            container_id: looks.clone(),
            timeout: 10,
        })
        .await
        .unwrap();
    assert_eq!(
        test.status(&target).await.state(),
        ContainerState::ContainerRunning
    );
    test.remove_sandbox(&sandbox).await;
}
