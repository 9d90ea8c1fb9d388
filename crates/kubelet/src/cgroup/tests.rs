use super::*;

#[test]
fn both_versions_are_recognised() {
    let hybrid = "\
cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0
";
    let Hierarchies::V1(mounts) = parse_mounts(hybrid) else {
        panic!("a hybrid host is driven as version 1")
    };
    let names: Vec<&str> = mounts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["cpu", "cpuacct", "memory", UNIFIED]);
    let unified = parse_mounts("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n");
    assert!(matches!(unified, Hierarchies::V2(mount) if mount == Path::new("/sys/fs/cgroup")));
}

#[test]
fn paths_go_by_class() {
    let cgroups = Cgroups {
        pids_of_pod: None,
        hierarchies: Arc::new(Hierarchies::V1(Vec::new())),
        root: "/knarr".into(),
    };
    let pod = |resources| {
        crate::testing::pod(
            serde_json::json!({ "containers": [{ "name": "a", "resources": resources }] }),
        )
    };
    let limits = serde_json::json!({ "limits": { "cpu": "1", "memory": "1Gi" } });
    assert_eq!(
        cgroups.path(&pod(serde_json::json!({}))),
        "/knarr/kubepods/besteffort/podu1"
    );
    assert_eq!(cgroups.path(&pod(limits)), "/knarr/kubepods/podu1");
}
