//! What of a pod the runtime is told: all that it says of its containers and of what they share.

use std::path::PathBuf;

use knarr_cri::v1::{MountPropagation, NamespaceMode, Signal};

use super::*;
use crate::{
    context::Shared,
    image,
    volume::Mounted,
    worker::container::{self, Pieces},
    worker::sandbox,
};

async fn context(dir: &tempfile::TempDir) -> Shared {
    let fake = Fake::default();
    fake.serve(&dir.path().join("cri.sock"));
    let api = Api::new(&testing::pod(json!({ "containers": [] })));
    let mut ctx = testing::context(api.client(), Config::default(), dir.path()).await;
    let features = &mut Arc::get_mut(&mut ctx).unwrap().features;
    features.recursive_read_only_mounts = true;
    ctx
}

/// The first container's, and the sandbox's.
async fn told(spec: Value) -> Result<(v1::ContainerConfig, v1::PodSandboxConfig), String> {
    let dir = tempfile::tempdir().unwrap();
    let ctx = context(&dir).await;
    let pod = testing::pod(spec);
    let mut volumes = Mounted::default();
    for name in ["data", "disk"] {
        volumes
            .paths
            .insert(name.to_owned(), PathBuf::from("/host").join(name));
    }
    volumes.devices.insert("disk".to_owned());
    let pieces = Pieces {
        ctx: &ctx,
        pod: &pod,
        pod_ips: &["10.42.0.7".to_owned()],
        sandbox: "s",
        volumes: &volumes,
        images: &HashMap::new(),
    };
    let image = image::Ready {
        id: "sha256:i".to_owned(),
        uid: Some(0),
        username: String::new(),
        references: Vec::new(),
        was_there: true,
        preloaded: false,
    };
    let first = &pod.spec.as_ref().unwrap().containers[0];
    let container = container::config(&pieces, first, &image, 2).await;
    let container = container.map_err(|error| error.to_string())?;
    Ok((container, sandbox::config(&ctx, &pod, 1)?))
}

/// A pod of one container.
fn pod_of(container: Value, mut more: Value) -> Value {
    let mut own = json!({ "name": "a", "image": "img:1" });
    own.as_object_mut()
        .unwrap()
        .extend(container.as_object().unwrap().clone());
    more["containers"] = json!([own]);
    more
}

fn mount<'a>(config: &'a v1::ContainerConfig, path: &str) -> &'a v1::Mount {
    let mut mounts = config.mounts.iter();
    mounts.find(|mount| mount.container_path == path).unwrap()
}

#[tokio::test]
async fn containers_are_described_as_the_pod_says() {
    let spec = pod_of(
        json!({
            "command": ["c", "$(A)"], "args": ["$(A)", "$$(A)", "$(NONE)"], "workingDir": "/w",
            "env": [{ "name": "A", "value": "x" }],
            "stdin": true, "stdinOnce": true, "tty": true, "terminationMessagePath": "/last/words",
            "lifecycle": { "stopSignal": "SIGUSR1" },
            "volumeMounts": [
                { "name": "data", "mountPath": "/plain" },
                { "name": "data", "mountPath": "relative", "readOnly": true, "recursiveReadOnly": "Enabled" },
                { "name": "data", "mountPath": "/slave", "mountPropagation": "HostToContainer" },
                { "name": "data", "mountPath": "/shared", "mountPropagation": "Bidirectional" },
            ],
            "volumeDevices": [{ "name": "disk", "devicePath": "/dev/xvda" }],
            "resources": { "limits": { "cpu": "500m", "memory": "64Mi" } },
        }),
        json!({}),
    );
    let (made, _) = told(spec).await.unwrap();
    assert_eq!(made.metadata.as_ref().unwrap().name, "a");
    assert_eq!(made.metadata.as_ref().unwrap().attempt, 2);
    assert_eq!(made.image.as_ref().unwrap().user_specified_image, "img:1");
    assert_eq!(made.command, ["c", "x"]);
    assert_eq!(made.args, ["x", "$(A)", "$(NONE)"]);
    assert_eq!(made.working_dir, "/w");
    assert!(
        made.envs
            .iter()
            .any(|env| env.key == "A" && env.value == "x")
    );
    assert!(made.stdin && made.stdin_once && made.tty);
    assert_eq!(made.stop_signal(), Signal::Sigusr1);
    mount(&made, "/last/words");
    for (path, read_only, propagation) in [
        ("/plain", false, MountPropagation::PropagationPrivate),
        ("/relative", true, MountPropagation::PropagationPrivate),
        (
            "/slave",
            false,
            MountPropagation::PropagationHostToContainer,
        ),
        ("/shared", false, MountPropagation::PropagationBidirectional),
    ] {
        let mount = mount(&made, path);
        assert_eq!(mount.host_path, "/host/data", "{path}");
        assert_eq!(mount.readonly, read_only, "{path}");
        assert_eq!(mount.recursive_read_only, read_only, "{path}");
        assert_eq!(mount.propagation(), propagation, "{path}");
    }
    let device = &made.devices[0];
    assert_eq!(
        (device.host_path.as_str(), device.container_path.as_str()),
        ("/host/disk", "/dev/xvda")
    );
    let resources = made.linux.unwrap().resources.unwrap();
    assert_eq!(resources.memory_limit_in_bytes, 64 << 20);
    assert_eq!(resources.cpu_quota, 50_000);
    let (plain, _) = told(pod_of(json!({}), json!({}))).await.unwrap();
    assert!(!plain.stdin && !plain.stdin_once && !plain.tty);
    assert_eq!(plain.stop_signal(), Signal::RuntimeDefault);
    mount(&plain, "/dev/termination-log");
}

#[tokio::test]
async fn security_contexts_are_passed_on() {
    let context = json!({
        "privileged": false, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
        "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
        "runAsUser": 7, "runAsGroup": 8, "procMount": "Unmasked",
        "seccompProfile": { "type": "Localhost", "localhostProfile": "p.json" },
        "seLinuxOptions": { "user": "u", "role": "r", "type": "t", "level": "l" },
    });
    let (made, _) = told(pod_of(json!({ "securityContext": context }), json!({})))
        .await
        .unwrap();
    let security = made.linux.unwrap().security_context.unwrap();
    let capabilities = security.capabilities.unwrap();
    assert_eq!(capabilities.add_capabilities, ["NET_ADMIN"]);
    assert_eq!(capabilities.drop_capabilities, ["ALL"]);
    assert!(security.readonly_rootfs && security.no_new_privs && !security.privileged);
    assert_eq!(security.run_as_user.unwrap().value, 7);
    assert_eq!(security.run_as_group.unwrap().value, 8);
    assert!(security.masked_paths.is_empty() && security.readonly_paths.is_empty());
    assert!(
        security
            .seccomp
            .unwrap()
            .localhost_ref
            .ends_with("seccomp/p.json")
    );
    let label = security.selinux_options.unwrap();
    assert_eq!(
        [label.user, label.role, label.r#type, label.level],
        ["u", "r", "t", "l"]
    );
    let privileged = json!({ "securityContext": { "privileged": true } });
    let (made, sandbox) = told(pod_of(privileged, json!({}))).await.unwrap();
    let security = made.linux.unwrap().security_context.unwrap();
    assert!(security.privileged && security.masked_paths.is_empty());
    let linux = sandbox.linux.unwrap();
    assert!(linux.security_context.unwrap().privileged);
}

/// What the runtime is told of a pod's namespaces.
fn namespaces(sandbox: &v1::PodSandboxConfig) -> v1::NamespaceOption {
    let linux = sandbox.linux.as_ref().unwrap();
    let security = linux.security_context.as_ref().unwrap();
    security.namespace_options.clone().unwrap()
}

#[tokio::test]
async fn pods_share_with_the_node_what_they_say() {
    use NamespaceMode::{Container, Node, Pod};
    for (spec, network, pid, ipc) in [
        (json!({}), Pod, Container, Pod),
        (json!({ "hostNetwork": true }), Node, Container, Pod),
        (json!({ "hostPID": true }), Pod, Node, Pod),
        (json!({ "hostIPC": true }), Pod, Container, Node),
        (json!({ "shareProcessNamespace": true }), Pod, Pod, Pod),
    ] {
        let (_, sandbox) = told(pod_of(json!({}), spec.clone())).await.unwrap();
        let own = namespaces(&sandbox);
        assert_eq!(own.network(), network, "{spec}");
        assert_eq!(own.pid(), pid, "{spec}");
        assert_eq!(own.ipc(), ipc, "{spec}");
    }
}

#[tokio::test]
async fn users_of_a_pods_own_are_the_same_for_all_of_it() {
    let mounts = json!({ "volumeMounts": [{ "name": "data", "mountPath": "/data" }] });
    let spec = pod_of(mounts.clone(), json!({ "hostUsers": false }));
    let (made, sandbox) = told(spec).await.unwrap();
    let users = namespaces(&sandbox).userns_options.unwrap();
    assert_eq!(users.mode(), NamespaceMode::Pod);
    assert_eq!(users.uids[0].length, 65_536);
    let security = made.linux.as_ref().unwrap().security_context.as_ref();
    let options = security.unwrap().namespace_options.as_ref().unwrap();
    assert_eq!(options.userns_options.as_ref(), Some(&users));
    // The hosts file and the place of last words, too.
    assert!(made.mounts.len() > 1);
    for mount in &made.mounts {
        assert_eq!(mount.uid_mappings, users.uids, "{}", mount.container_path);
        assert_eq!(mount.gid_mappings, users.gids, "{}", mount.container_path);
    }
    let (made, sandbox) = told(pod_of(mounts, json!({}))).await.unwrap();
    let users = namespaces(&sandbox).userns_options.unwrap();
    assert_eq!(users.mode(), NamespaceMode::Node);
    assert!(
        made.mounts
            .iter()
            .all(|mount| mount.uid_mappings.is_empty())
    );
}

#[tokio::test]
async fn sandboxes_have_names_ports_and_sysctls() {
    let named = |spec: Value| async {
        let (_, sandbox) = told(pod_of(json!({}), spec)).await.unwrap();
        sandbox.hostname
    };
    assert_eq!(named(json!({})).await, "web");
    assert_eq!(
        named(json!({ "hostname": "h", "subdomain": "s" })).await,
        "h"
    );
    let full = json!({ "hostname": "h", "subdomain": "s", "setHostnameAsFQDN": true });
    assert_eq!(named(full).await, "h.s.shop.svc.cluster.local");
    assert_eq!(named(json!({ "hostnameOverride": "o" })).await, "o");
    let ports = json!({ "ports": [
        { "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "UDP" },
        { "containerPort": 81 },
    ] });
    let context = json!({ "securityContext": {
        "sysctls": [{ "name": "kernel.shm_rmid_forced", "value": "1" }],
        "supplementalGroups": [5], "fsGroup": 6, "supplementalGroupsPolicy": "Strict",
    } });
    let (_, sandbox) = told(pod_of(ports, context)).await.unwrap();
    let mapped: Vec<_> = sandbox.port_mappings.iter().collect();
    let first = mapped.iter().find(|port| port.host_port == 8080).unwrap();
    assert_eq!((first.container_port, &*first.host_ip), (80, "127.0.0.1"));
    assert_eq!(first.protocol(), v1::Protocol::Udp);
    let linux = sandbox.linux.unwrap();
    assert_eq!(linux.sysctls["kernel.shm_rmid_forced"], "1");
    let security = linux.security_context.unwrap();
    assert_eq!(security.supplemental_groups, [5, 6]);
}
