use std::path::Path;

use knarr_cri::v1::{
    Capability, ContainerConfig, KeyValue, LinuxContainerConfig, LinuxContainerSecurityContext,
    Mount, PodSandboxConfig,
};

use super::{HostLimits, Input, Namespaces, args, capabilities, environment, mounts};
use crate::image_volume::Sources;
use crate::images::user::User;
use crate::images::{ImageConfig, ProcessConfig};

const EVERYTHING: u64 = (1 << 41) - 1;

fn check<T>(
    config: ContainerConfig,
    process: ProcessConfig,
    look: impl FnOnce(&Input<'_>) -> T,
) -> T {
    check_as(&User::default(), config, process, look)
}

fn check_as<T>(
    user: &User,
    config: ContainerConfig,
    process: ProcessConfig,
    look: impl FnOnce(&Input<'_>) -> T,
) -> T {
    let image = ImageConfig {
        config: Some(process),
        ..Default::default()
    };
    look(&Input {
        sandbox_id: "sandbox",
        sandbox: &PodSandboxConfig {
            hostname: "pod".to_owned(),
            ..Default::default()
        },
        config: &config,
        image: &image,
        user,
        namespaces: &Namespaces::default(),
        users: None,
        rootfs: Path::new("/r"),
        volumes: &Sources::new(),
        declared: &[],
        sandbox_dir: Path::new("/s"),
        cgroup: Path::new("/c"),
        limits: &HostLimits::of(EVERYTHING, 0, false),
    })
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn a_command_replaces_entrypoint_and_arguments() {
    let image = || ProcessConfig {
        entrypoint: Some(strings(&["entry"])),
        cmd: Some(strings(&["default"])),
        ..Default::default()
    };
    let cases: [(&[&str], &[&str], &[&str]); 4] = [
        (&[], &[], &["entry", "default"]),
        (&[], &["a"], &["entry", "a"]),
        (&["c"], &[], &["c"]),
        (&["c"], &["a"], &["c", "a"]),
    ];
    for (command, arguments, wanted) in cases {
        let config = ContainerConfig {
            command: strings(command),
            args: strings(arguments),
            ..Default::default()
        };
        assert_eq!(check(config, image(), args).unwrap(), strings(wanted));
    }
    assert!(check(ContainerConfig::default(), ProcessConfig::default(), args).is_err());
}

#[test]
fn the_pod_has_the_last_word_on_the_environment() {
    let config = ContainerConfig {
        envs: vec![KeyValue {
            key: "A".to_owned(),
            value: "pod=1".to_owned(),
        }],
        ..Default::default()
    };
    let image = ProcessConfig {
        env: Some(strings(&["A=image", "PATH=/p", "B", "", "=c"])),
        ..Default::default()
    };
    assert_eq!(
        check(config, image, environment),
        ["PATH=/p", "HOSTNAME=pod", "A=pod=1", "HOME=/"]
    );
}

#[test]
fn everybody_has_a_home_directory() {
    let cases: [(&str, Option<&str>, Option<&str>, &str); 6] = [
        ("", None, None, "HOME=/"),
        ("/home/web", None, None, "HOME=/home/web"),
        ("/home/web", Some("HOME="), None, "HOME=/home/web"),
        ("/home/web", Some("HOME=/i"), None, "HOME=/i"),
        ("/home/web", Some("HOME=/i"), Some("/p"), "HOME=/p"),
        ("", None, Some(""), "HOME=/"),
    ];
    for (passwd, image, pod, wanted) in cases {
        let user = User {
            home: passwd.to_owned(),
            ..Default::default()
        };
        let config = ContainerConfig {
            envs: pod.map_or_else(Vec::new, |value| {
                vec![KeyValue {
                    key: "HOME".to_owned(),
                    value: value.to_owned(),
                }]
            }),
            ..Default::default()
        };
        let image = ProcessConfig {
            env: image.map(|entry| strings(&[entry])),
            ..Default::default()
        };
        let mut all = check_as(&user, config, image, environment);
        all.retain(|entry| entry.starts_with("HOME="));
        assert_eq!(all, [wanted]);
    }
}

#[test]
fn a_volume_hides_no_file_of_the_sandbox_below_it() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["hostname", "resolv.conf"] {
        std::fs::write(directory.path().join(name), "").unwrap();
    }
    let volume = |path: &str| Mount {
        container_path: path.to_owned(),
        host_path: directory.path().display().to_string(),
        ..Default::default()
    };
    let config = ContainerConfig {
        mounts: vec![volume("/etc/hosts"), volume("/etc")],
        ..Default::default()
    };
    let mounts = check(config, ProcessConfig::default(), |input| {
        let sandbox_dir = directory.path();
        mounts::generate(&Input {
            sandbox_dir,
            ..*input
        })
        .unwrap()
        .mounts
    });
    let destinations = mounts.iter().map(|mount| mount["destination"].as_str());
    let below: Vec<&str> = destinations
        .flatten()
        .filter(|path| path.starts_with("/etc"))
        .collect();
    let expected = ["/etc", "/etc/hostname", "/etc/resolv.conf", "/etc/hosts"];
    assert_eq!(below, expected);
}

fn capability_config(add: &[&str], drop: &[&str], privileged: bool) -> ContainerConfig {
    let security = LinuxContainerSecurityContext {
        privileged,
        capabilities: Some(Capability {
            add_capabilities: strings(add),
            drop_capabilities: strings(drop),
            ..Default::default()
        }),
        ..Default::default()
    };
    ContainerConfig {
        linux: Some(LinuxContainerConfig {
            resources: None,
            security_context: Some(security),
        }),
        ..Default::default()
    }
}

#[test]
fn capabilities_are_added_and_dropped() {
    let of = |add: &[&str], drop: &[&str], privileged| {
        check(
            capability_config(add, drop, privileged),
            ProcessConfig::default(),
            capabilities,
        )
    };
    assert_eq!(of(&[], &[], false).len(), 14);
    assert_eq!(of(&["NET_ADMIN"], &["ALL"], false), ["CAP_NET_ADMIN"]);
    assert_eq!(of(&["ALL"], &["CAP_SYS_ADMIN"], false).len(), 40);
    assert_eq!(of(&["NO_SUCH"], &["ALL"], false), Vec::<String>::new());
    assert_eq!(of(&[], &[], true).len(), 41);
}

#[test]
fn a_host_without_sys_resource_clamps() {
    let without = HostLimits::of(EVERYTHING & !(1 << 24), 5, false);
    assert_eq!(without.clamp_oom_score_adj(-997), 5);
    assert_eq!(without.clamp_oom_score_adj(900), 900);
    assert_eq!(
        HostLimits::of(EVERYTHING, 5, false).clamp_oom_score_adj(-997),
        -997
    );
}
