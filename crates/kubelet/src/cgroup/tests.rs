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

fn sizes() -> Vec<PageSize> {
    ["hugepages-2048kB", "hugepages-1048576kB"]
        .map(|name| PageSize::of_directory(name).unwrap())
        .into()
}

#[test]
fn paths_go_by_class() {
    let cgroups = Cgroups {
        pids_of_pod: None,
        page_sizes: sizes(),
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

/// Groups whose files are those of a directory.
fn of(hierarchies: Hierarchies) -> Cgroups {
    Cgroups {
        pids_of_pod: None,
        page_sizes: sizes(),
        hierarchies: Arc::new(hierarchies),
        root: "/knarr".into(),
    }
}

#[test]
fn all_pods_are_held_to_their_share_and_let_go_of_again() {
    let dir = tempfile::tempdir().unwrap();
    let mount = |name: &str| dir.path().join(name);
    let v1 = ["cpu", "memory", "pids", "hugetlb"].map(|name| (name.to_owned(), mount(name)));
    std::fs::create_dir(mount("v2")).unwrap();
    let read = |path: &str| std::fs::read_to_string(mount(path)).ok();
    let [held_weight, free_weight] = [1_536, 1_024].map(|shares| cpu::weight(shares).to_string());
    let share = Share {
        cpu_milli: Some(1_500),
        memory_bytes: Some(1 << 30),
        pids: Some(1_000),
        huge_pages: vec![PageLimit {
            size: sizes()[0],
            bytes: Some(4 << 20),
        }],
    };
    for (groups, files) in [
        (
            of(Hierarchies::V1(v1.into())),
            [
                ("cpu/knarr/kubepods/cpu.shares", "1536", "1024"),
                (
                    "memory/knarr/kubepods/memory.limit_in_bytes",
                    "1073741824",
                    "-1",
                ),
                ("pids/knarr/kubepods/pids.max", "1000", "max"),
                (
                    "hugetlb/knarr/kubepods/hugetlb.2MB.limit_in_bytes",
                    "4194304",
                    "4611686018427387904",
                ),
                (
                    "hugetlb/knarr/kubepods/hugetlb.1GB.rsvd.limit_in_bytes",
                    "4611686018427387904",
                    "4611686018427387904",
                ),
            ],
        ),
        (
            of(Hierarchies::V2(mount("v2"))),
            [
                ("v2/knarr/kubepods/cpu.weight", &held_weight, &free_weight),
                ("v2/knarr/kubepods/memory.max", "1073741824", "max"),
                ("v2/knarr/kubepods/pids.max", "1000", "max"),
                ("v2/knarr/kubepods/hugetlb.2MB.rsvd.max", "4194304", "max"),
                ("v2/knarr/kubepods/hugetlb.1GB.max", "max", "max"),
            ],
        ),
    ] {
        groups.share(&Share::default()).unwrap();
        assert!(files.iter().all(|(file, ..)| read(file).is_none()));
        groups.share(&share).unwrap();
        for (file, held, _) in files {
            assert_eq!(read(file).as_deref(), Some(held), "{file}");
        }
        groups.share(&Share::default()).unwrap();
        for (file, _, free) in files {
            assert_eq!(read(file).as_deref(), Some(free), "{file}");
        }
    }
}

#[test]
fn a_pods_threads_are_limited() {
    let dir = tempfile::tempdir().unwrap();
    let v1 = Hierarchies::V1(vec![("pids".to_owned(), dir.path().to_owned())]);
    let pod = crate::testing::pod(serde_json::json!({ "containers": [{ "name": "a" }] }));
    let file = dir.path().join("knarr/kubepods/besteffort/podu1/pids.max");
    let groups = of(v1);
    groups.create(&pod).unwrap();
    assert!(!file.exists());
    groups.with_pids_of_pod(100).create(&pod).unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), "100");
}

#[test]
fn a_pod_has_the_huge_pages_that_it_asks_for_and_no_others() {
    let dir = tempfile::tempdir().unwrap();
    let amounts = serde_json::json!({ "hugepages-2Mi": "4Mi", "memory": "1Mi" });
    let resources = serde_json::json!({ "requests": amounts, "limits": amounts });
    let container = serde_json::json!({ "name": "a", "resources": resources });
    let pod = crate::testing::pod(serde_json::json!({ "containers": [container] }));
    let (v1, v2) = (dir.path().join("v1"), dir.path().join("v2"));
    std::fs::create_dir(&v2).unwrap();
    let legacy = vec![("hugetlb".to_owned(), v1.clone())];
    let unbounded = (1_i64 << 62).to_string();
    for (groups, mount, file, any) in [
        (
            of(Hierarchies::V1(legacy)),
            v1,
            "limit_in_bytes",
            unbounded.as_str(),
        ),
        (of(Hierarchies::V2(v2.clone())), v2, "max", "max"),
    ] {
        groups.create(&pod).unwrap();
        let class = mount.join("knarr/kubepods/burstable");
        for (group, small, large) in [
            (class.join("podu1"), "4194304", "0"),
            (class.clone(), any, any),
        ] {
            for (size, wanted) in [("2MB", small), ("1GB", large)] {
                for kind in ["", "rsvd."] {
                    let file = group.join(format!("hugetlb.{size}.{kind}{file}"));
                    let written = std::fs::read_to_string(&file).unwrap();
                    assert_eq!(written, wanted, "{}", file.display());
                }
            }
        }
    }
}
