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
