//! Pods whose users are not the host's.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use knarr_cri::v1::*;
use tonic::Code;

use crate::common::{IMAGE, TestRuntime, able, shell};
use crate::{WAIT, assert_nothing_left};

/// Ids of a pod.
const LENGTH: u32 = 65_536;
/// Where the first pod's begin, and the second's.
const FIRST: u32 = 3 * LENGTH;
const SECOND: u32 = 4 * LENGTH;

fn mapping(host_id: u32) -> IdMapping {
    IdMapping {
        host_id,
        container_id: 0,
        length: LENGTH,
    }
}

fn options(host_id: u32) -> NamespaceOption {
    NamespaceOption {
        pid: NamespaceMode::Container.into(),
        userns_options: Some(UserNamespace {
            mode: NamespaceMode::Pod.into(),
            uids: vec![mapping(host_id)],
            gids: vec![mapping(host_id)],
        }),
        ..Default::default()
    }
}

fn pod(test: &TestRuntime, name: &str, options: NamespaceOption) -> PodSandboxConfig {
    let mut pod = test.pod(name);
    let linux = pod.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().namespace_options = Some(options);
    pod
}

fn container(name: &str, command: &str, options: &NamespaceOption) -> ContainerConfig {
    let mut config = shell(name, command);
    let security = config.linux.as_mut().unwrap().security_context.as_mut();
    security.unwrap().namespace_options = Some(options.clone());
    config
}

fn mount(host_path: &Path, container_path: &str, host_id: u32) -> Mount {
    Mount {
        host_path: host_path.display().to_string(),
        container_path: container_path.to_owned(),
        uid_mappings: vec![mapping(host_id)],
        gid_mappings: vec![mapping(host_id)],
        ..Default::default()
    }
}

/// Whether the host has what these tests need; the runtime says so itself.
async fn supported(test: &mut TestRuntime) -> bool {
    let status = test.runtime.status(StatusRequest { verbose: false }).await;
    let handlers = status.unwrap().into_inner().runtime_handlers;
    let features = handlers[0].features.unwrap();
    if !features.user_namespaces {
        eprintln!("skipped: this host has no user namespaces for pods");
    }
    features.user_namespaces
}

/// A directory that nobody but the host's root may pass, with files of several owners.
fn volume(test: &TestRuntime) -> PathBuf {
    let closed = test.directory.path().join("closed");
    let volume = closed.join("volume");
    fs::create_dir_all(&volume).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    let shared = volume.join("of-the-group");
    fs::write(&shared, "shared").unwrap();
    fs::set_permissions(&shared, fs::Permissions::from_mode(0o640)).unwrap();
    chown(&shared, Some(0), Some(2_000)).unwrap();
    volume
}

async fn pid(test: &mut TestRuntime, id: &str) -> u64 {
    let request = ContainerStatusRequest {
        container_id: id.to_owned(),
        verbose: true,
    };
    let status = test.runtime.container_status(request).await.unwrap();
    let info = &status.into_inner().info["info"];
    let info: serde_json::Value = serde_json::from_str(info).unwrap();
    info["pid"].as_u64().unwrap()
}

/// User on the host of a process, and the map of its ids.
fn on_host(pid: u64) -> (u32, Vec<u32>) {
    let uid = fs::metadata(format!("/proc/{pid}/cwd/.")).is_ok();
    assert!(uid, "the process is there");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = uid.unwrap().split_whitespace().next().unwrap();
    let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
    let map = map.split_whitespace().map(|number| number.parse().unwrap());
    (uid.parse().unwrap(), map.collect())
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

#[tokio::test(flavor = "multi_thread")]
async fn root_inside_is_nobody_outside() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    if !supported(&mut test).await {
        return;
    }
    let volume = volume(&test);
    let mut running = Vec::new();
    for (name, base) in [("first", FIRST), ("second", SECOND)] {
        let options = options(base);
        let config = pod(&test, name, options.clone());
        let sandbox = test.sandbox(config).await;
        let mut config = container(name, WAIT, &options);
        config.mounts = vec![mount(&volume, "/volume", base)];
        let id = test.create(&sandbox, config).await;
        test.start_container(&id).await.unwrap();
        let pid = pid(&mut test, &id).await;
        assert_eq!(on_host(pid), (base, vec![0, base, LENGTH]), "{name}");
        running.push((sandbox, id, name, pid));
    }
    for (_, id, name, _) in &running {
        let command = format!(
            "id -u; id -g; stat -c %u:%g /bin/sh / /tmp/.. /volume/of-the-group /etc/resolv.conf /dev/shm
             mkdir /volume/{name}; echo x > /volume/{name}/file; chown 5:7 /volume/{name}/file
             stat -c %u:%g /volume/{name} /volume/{name}/file
             echo y > /written && stat -c %u:%g /written
             echo z > /dev/null && cat /dev/shm/none 2>/dev/null; grep -c ' /sys sysfs' /proc/mounts
             hostname; ls /sys/class/net | head -n 1; kill -0 1 && echo alive"
        );
        let wanted = format!("0 0 0:0 0:0 0:0 0:2000 0:0 0:0 0:0 5:7 0:0 1 {name} lo alive");
        let shown = test.output(id, &command).await;
        assert_eq!(
            shown.split_whitespace().collect::<Vec<_>>().join(" "),
            wanted
        );
        assert_eq!(owner(&volume.join(name)), (0, 0));
        assert_eq!(owner(&volume.join(name).join("file")), (5, 7));
    }
    // What runs, runs on, and new ones start beside it.
    test.restart().await;
    for ((sandbox, id, name, old), base) in running.into_iter().zip([FIRST, SECOND]) {
        assert_eq!(pid(&mut test, &id).await, old);
        assert_eq!(test.output(&id, "id -u").await, "0");
        let config = container(&format!("{name}-more"), WAIT, &options(base));
        let more = test.create(&sandbox, config).await;
        test.start_container(&more).await.unwrap();
        let more = pid(&mut test, &more).await;
        assert_eq!(on_host(more), (base, vec![0, base, LENGTH]));
        test.remove_sandbox(&sandbox).await;
    }
    assert_nothing_left(&test);
}

fn run_as_others(config: &mut ContainerConfig) {
    let linux = config.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    security.run_as_user = Some(Int64Value { value: 1_000 });
    security.run_as_group = Some(Int64Value { value: 1_001 });
    security.supplemental_groups = vec![2_000];
    security.readonly_rootfs = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_users_inside_have_their_groups_and_their_output() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    if !supported(&mut test).await {
        return;
    }
    let volume = volume(&test);
    // One process namespace for all, with sysctls that only the pod's root can set.
    let options = NamespaceOption {
        pid: NamespaceMode::Pod.into(),
        ..options(FIRST)
    };
    let mut config = pod(&test, "users", options.clone());
    let sysctls = [
        ("kernel.shm_rmid_forced", "1"),
        ("net.ipv4.ip_unprivileged_port_start", "80"),
    ];
    let linux = config.linux.as_mut().unwrap();
    linux.sysctls = sysctls
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let sandbox = test.sandbox(config).await;
    let command = format!("echo err > /dev/stderr; echo out > /dev/stdout; {WAIT}");
    let mut config = container("main", &command, &options);
    config.mounts = vec![mount(&volume, "/volume", FIRST)];
    config.mounts[0].readonly = true;
    config.mounts.push(Mount {
        container_path: "/image".to_owned(),
        readonly: true,
        image: Some(ImageSpec {
            image: IMAGE.to_owned(),
            ..Default::default()
        }),
        ..mount(Path::new(""), "", FIRST)
    });
    run_as_others(&mut config);
    let id = test.create(&sandbox, config).await;
    test.start_container(&id).await.unwrap();
    let shown = test
        .output(
            &id,
            "id -u; id -g; id -G; cat /volume/of-the-group; echo
             cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start
             stat -c %u:%g /image /image/bin/sh; (echo x > /x) 2>/dev/null || echo read-only
             echo again > /dev/stdout",
        )
        .await;
    let shown: Vec<&str> = shown.split_whitespace().collect();
    assert_eq!(
        shown.join(" "),
        "1000 1001 1001 2000 shared 1 80 0:0 0:0 read-only again"
    );
    let mut log = test.log("main.log");
    log.sort();
    log.retain(|line| !line.ends_with("ready"));
    assert_eq!(log, ["stderr F err", "stdout F out"]);
    let (uid, map) = on_host(pid(&mut test, &id).await);
    assert_eq!((uid, map), (FIRST + 1_000, vec![0, FIRST, LENGTH]));
    // Another container sees the processes of the first, whose namespace it joins.
    let second = container("second", WAIT, &options);
    let second = test.create(&sandbox, second).await;
    test.start_container(&second).await.unwrap();
    let names = test.output(&second, "cat /proc/1/comm").await;
    assert_eq!(names, "pause");
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_mapped_is_refused() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    if !supported(&mut test).await {
        return;
    }
    let request = RunPodSandboxRequest {
        config: Some(pod(&test, "host", {
            let network = NamespaceMode::Node.into();
            NamespaceOption {
                network,
                ..options(FIRST)
            }
        })),
        runtime_handler: String::new(),
    };
    let refused = test.runtime.run_pod_sandbox(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    let config = pod(&test, "one", options(FIRST));
    let sandbox = test.sandbox(config).await;
    let other = container("other", WAIT, &options(SECOND));
    let mut elsewhere = container("elsewhere", WAIT, &options(FIRST));
    elsewhere.mounts = vec![mount(Path::new("/tmp"), "/x", SECOND)];
    let mut unmapped = container("unmapped", WAIT, &options(FIRST));
    let linux = unmapped.linux.as_mut().unwrap();
    let security = linux.security_context.as_mut().unwrap();
    security.run_as_user = Some(Int64Value { value: 70_000 });
    for (config, code, why) in [
        (other, Code::InvalidArgument, "is different from container"),
        (
            elsewhere,
            Code::Unimplemented,
            "owners are mapped as the pod's",
        ),
        (unmapped, Code::InvalidArgument, "user 70000"),
    ] {
        let request = CreateContainerRequest {
            pod_sandbox_id: sandbox.clone(),
            config: Some(config),
            sandbox_config: None,
        };
        let refused = test.runtime.create_container(request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{refused}");
        assert!(refused.message().contains(why), "{refused}");
    }
    // The kernel has no mapped owners for this file system.
    let mut config = container("main", WAIT, &options(FIRST));
    config.mounts = vec![mount(Path::new("/proc/sys"), "/x", FIRST)];
    let id = test.create(&sandbox, config).await;
    let failed = test.start_container(&id).await.unwrap_err();
    assert!(failed.message().contains("map its owners"), "{failed}");
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}

/// Its devices are the host's, as far as its users may open them.
#[tokio::test(flavor = "multi_thread")]
async fn a_privileged_container_of_other_users_runs() {
    if !able() {
        return;
    }
    let mut test = TestRuntime::start().await;
    if !supported(&mut test).await {
        return;
    }
    let options = options(FIRST);
    let mut config = pod(&test, "privileged", options.clone());
    let linux = config.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().privileged = true;
    let sandbox = test.sandbox(config).await;
    let mut config = container("main", WAIT, &options);
    let linux = config.linux.as_mut().unwrap();
    linux.security_context.as_mut().unwrap().privileged = true;
    let id = test.create(&sandbox, config).await;
    test.start_container(&id).await.unwrap();
    let command = "echo x > /dev/null; head -c 1 /dev/zero | wc -c; test -c /dev/tty; echo $?";
    let shown = test.output(&id, command).await;
    assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["1", "0"]);
    test.remove_sandbox(&sandbox).await;
    assert_nothing_left(&test);
}
