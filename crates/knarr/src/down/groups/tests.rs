use super::*;

#[test]
fn hierarchies_of_both_versions_are_found() {
    let table = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                 32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                 40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                 41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
    let expected = ["cpu", "systemd", "unified"].map(|n| Path::new("/sys/fs/cgroup").join(n));
    assert_eq!(hierarchies(table), expected);
}

#[test]
fn only_empty_groups_go() {
    let group = std::env::temp_dir().join(format!("knarr-groups-{}", std::process::id()));
    let pod = group.join("burstable/pod1");
    fs::create_dir_all(&pod).unwrap();
    let busy = pod.join("cgroup.procs");
    fs::write(&busy, "1").unwrap();
    remove_tree(&group).unwrap_err();
    assert!(pod.exists());
    fs::remove_file(&busy).unwrap();
    remove_tree(&group).unwrap();
    assert!(!group.exists());
    remove_tree(&group).unwrap();
}

#[test]
fn whose_a_shim_is_follows_from_its_group() {
    let sandbox = Path::new("/var/lib/knarr/nodes/a-2/runtime/sandboxes/5f");
    for (groups, wanted) in [
        (
            "9:name=systemd:/\n8:pids:/knarr/k7c2xmpa/shims/5f\n7:memory:/knarr/k7c2xmpa/shims/5f\n",
            &["/knarr/k7c2xmpa", "/knarr/k7c2xmpa"][..],
        ),
        (
            "0::/slice/knarr/k7c2xmpa/shims/5f\n",
            &["/slice/knarr/k7c2xmpa"],
        ),
        ("0::/knarr/k7c2xmpa/shims/60\n", &[]),
        ("0::/kubepods/pod1/5f\n", &[]),
        ("0::/shims/5f\n", &[]),
        ("0::/\n", &[]),
        ("", &[]),
    ] {
        let wanted: Vec<_> = wanted.iter().map(PathBuf::from).collect();
        assert_eq!(parents_of_shim(groups, sandbox), wanted, "{groups}");
    }
}
