use super::*;

/// Destination, source and access of each mount.
fn shown(host: &Hierarchies, access: &str) -> Vec<String> {
    let cgroup = Path::new("/kubepods/pod1/c1");
    control_groups(host, cgroup, access)
        .iter()
        .map(|mount| {
            let text = |key: &str| mount[key].as_str().unwrap().to_owned();
            let last = mount["options"].as_array().unwrap().last().unwrap();
            format!(
                "{} {} {} {}",
                text("type"),
                text("source"),
                text("destination"),
                last.as_str().unwrap()
            )
        })
        .collect()
}

#[test]
fn a_container_sees_its_own_control_group() {
    let legacy = |entries: &[(&str, &str)]| {
        let entries = entries.iter().map(|(name, mount)| {
            let mount = Path::new("/sys/fs/cgroup").join(mount);
            ((*name).to_owned(), mount)
        });
        Hierarchies::Legacy(entries.collect())
    };
    for (host, access, expected) in [
        (
            Hierarchies::Unified("/sys/fs/cgroup".into()),
            "ro",
            vec!["cgroup cgroup /sys/fs/cgroup ro"],
        ),
        (
            legacy(&[("memory", "memory"), ("pids", "pids")]),
            "ro",
            vec![
                "tmpfs tmpfs /sys/fs/cgroup size=64k",
                "bind /sys/fs/cgroup/memory/kubepods/pod1/c1 /sys/fs/cgroup/memory ro",
                "bind /sys/fs/cgroup/pids/kubepods/pod1/c1 /sys/fs/cgroup/pids ro",
            ],
        ),
        (
            legacy(&[("cpu", "cpu,cpuacct"), ("cpuacct", "cpu,cpuacct")]),
            "rw",
            vec![
                "tmpfs tmpfs /sys/fs/cgroup size=64k",
                "bind /sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c1 /sys/fs/cgroup/cpu rw",
                "bind /sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c1 /sys/fs/cgroup/cpu,cpuacct rw",
                "bind /sys/fs/cgroup/cpu,cpuacct/kubepods/pod1/c1 /sys/fs/cgroup/cpuacct rw",
            ],
        ),
    ] {
        assert_eq!(shown(&host, access), expected);
    }
}

#[test]
fn what_is_read_only_all_the_way_down_is_private() {
    let check = |readonly: bool, propagation: MountPropagation| {
        let mount = v1::Mount {
            container_path: "/data".to_owned(),
            host_path: "/".to_owned(),
            readonly,
            recursive_read_only: true,
            propagation: propagation.into(),
            ..v1::Mount::default()
        };
        bind(&mount, &Sources::new(), None).map_err(|error| error.to_string())
    };
    let mount = check(true, MountPropagation::PropagationPrivate).unwrap();
    assert_eq!(mount["options"], json!(["rbind", "rprivate", "rro"]));
    for (readonly, propagation, needs) in [
        (false, MountPropagation::PropagationPrivate, "readonly"),
        (
            true,
            MountPropagation::PropagationHostToContainer,
            "private propagation",
        ),
        (
            true,
            MountPropagation::PropagationBidirectional,
            "private propagation",
        ),
    ] {
        let wanted = format!("mount /data: recursive_read_only needs {needs}");
        assert_eq!(check(readonly, propagation), Err(wanted));
    }
}

#[test]
fn nothing_is_mounted_at_dev() {
    let check = |from: &str, to: &str, privileged| {
        let mount = v1::Mount {
            host_path: from.to_owned(),
            container_path: to.to_owned(),
            ..Default::default()
        };
        is_left_out(&mount, privileged).map_err(|error| error.to_string())
    };
    let refused = "a mount at /dev is supported of the host's /dev in privileged containers only";
    assert_eq!(check("/dev", "/dev", true), Ok(true));
    assert_eq!(check("/dev/", "/dev/", true), Ok(true));
    assert_eq!(check("/dev", "/host/dev", false), Ok(false));
    assert_eq!(check("/x", "/dev/x", false), Ok(false));
    assert_eq!(check("/dev", "/dev", false), Err(refused.to_owned()));
    assert_eq!(check("/x", "/dev", true), Err(refused.to_owned()));
}

#[test]
fn the_root_propagates_as_far_as_any_mount() {
    use MountPropagation::{
        PropagationBidirectional as Both, PropagationHostToContainer as In,
        PropagationPrivate as Private,
    };
    for (asked, wanted) in [
        (vec![], None),
        (vec![Private], None),
        (vec![Private, In], Some("slave")),
        (vec![Both, In], Some("shared")),
    ] {
        let mounts = asked.iter().map(|propagation| v1::Mount {
            propagation: (*propagation).into(),
            ..v1::Mount::default()
        });
        let mounts: Vec<v1::Mount> = mounts.collect();
        assert_eq!(root_propagation(&mounts), wanted, "{asked:?}");
    }
}
