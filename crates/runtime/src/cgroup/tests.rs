use std::path::{Path, PathBuf};

use knarr_cri::v1::{HugepageLimit, LinuxContainerResources};

use super::{Hierarchies, legacy_settings, parse, unified_settings};

const HYBRID: &str = "\
30 20 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup systemd rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

#[test]
fn a_hybrid_host_is_a_legacy_one() {
    let host = parse(HYBRID);
    assert!(!host.is_unified());
    assert_eq!(
        host.procs(Path::new("/a/b")),
        [
            PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/a/b/cgroup.procs"),
            PathBuf::from("/sys/fs/cgroup/memory/a/b/cgroup.procs"),
        ]
    );
    assert_eq!(
        host.oom_file(Path::new("/a")),
        Some(PathBuf::from("/sys/fs/cgroup/memory/a/memory.oom_control"))
    );
}

#[test]
fn a_host_with_one_hierarchy_is_unified() {
    let host = parse("31 30 0:27 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw");
    assert!(matches!(&host, Hierarchies::Unified(path) if path == Path::new("/sys/fs/cgroup")));
    assert_eq!(
        host.oom_file(Path::new("a")),
        Some(PathBuf::from("/sys/fs/cgroup/a/memory.events"))
    );
}

#[test]
fn controllers_are_those_that_the_parent_gives() {
    let legacy = parse(HYBRID);
    let group = Path::new("/kubepods/pod/container");
    assert!(legacy.gives("memory", group) && !legacy.gives("hugetlb", group));
    let mount = tempfile::tempdir().unwrap();
    let unified = Hierarchies::Unified(mount.path().to_path_buf());
    assert!(!unified.gives("memory", group));
    std::fs::write(
        mount.path().join("cgroup.controllers"),
        "cpu memory hugetlb\n",
    )
    .unwrap();
    assert!(unified.gives("memory", group) && !unified.gives("mem", group));
    assert!(unified.gives("hugetlb", group));
    let pods = mount.path().join("kubepods");
    std::fs::create_dir(&pods).unwrap();
    std::fs::write(pods.join("cgroup.controllers"), "cpu memory\n").unwrap();
    assert!(unified.gives("memory", group) && !unified.gives("hugetlb", group));
}

#[test]
fn the_root_is_never_removed() {
    assert!(parse(HYBRID).remove(Path::new("/")).is_err());
}

#[test]
fn updates_touch_only_what_is_set() {
    let resources = LinuxContainerResources {
        cpu_quota: 50_000,
        memory_limit_in_bytes: 1 << 20,
        hugepage_limits: vec![HugepageLimit {
            page_size: "2MB".to_owned(),
            limit: 4 << 20,
        }],
        ..Default::default()
    };
    let legacy: Vec<String> = legacy_settings(&resources)
        .into_iter()
        .map(|(_, file, value)| format!("{file}={value}"))
        .collect();
    assert_eq!(
        legacy,
        [
            "cpu.cfs_quota_us=50000",
            "memory.limit_in_bytes=1048576",
            "hugetlb.2MB.limit_in_bytes=4194304"
        ]
    );
    let unified: Vec<String> = unified_settings(&resources)
        .into_iter()
        .map(|(_, file, value)| format!("{file}={value}"))
        .collect();
    assert_eq!(
        unified,
        [
            "cpu.max=50000 100000",
            "memory.max=1048576",
            "hugetlb.2MB.max=4194304"
        ]
    );
}

#[test]
fn huge_pages_are_limited_where_groups_know_of_them() {
    let mount = tempfile::tempdir().unwrap();
    let group = mount.path().join("a");
    std::fs::create_dir(&group).unwrap();
    let host = Hierarchies::Unified(mount.path().to_path_buf());
    let resources = LinuxContainerResources {
        hugepage_limits: ["2MB", "1GB"]
            .map(|size| HugepageLimit {
                page_size: size.to_owned(),
                limit: 0,
            })
            .into(),
        ..Default::default()
    };
    std::fs::write(group.join("hugetlb.2MB.max"), "max").unwrap();
    host.update(Path::new("/a"), &resources).unwrap();
    let written = std::fs::read_to_string(group.join("hugetlb.2MB.max"));
    assert_eq!(written.unwrap(), "0");
    assert!(!group.join("hugetlb.1GB.max").exists());
}
