use super::*;

#[test]
fn controllers_are_enabled_once() {
    assert_eq!(missing("cpu memory pids\n", "memory\n"), ["cpu", "pids"]);
    assert!(missing("cpu\n", "cpu memory\n").is_empty());
}

#[test]
fn a_group_outside_of_the_mount_is_not_ours() {
    assert_eq!(own_path("1:cpu:/a\n0::/b/c\n"), Some("/b/c"));
    assert_eq!(own_path("0::/\n"), Some("/"));
    assert_eq!(own_path("0::/../b\n"), None);
    assert_eq!(own_path("1:cpu:/a\n"), None);
}

/// A folder stands in for the hierarchy: what is written is seen, and that directories are made.
#[test]
fn parents_hand_down_what_they_have() {
    let mount = tempfile::tempdir().unwrap();
    for dir in ["", "a"] {
        let dir = mount.path().join(dir);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("cgroup.controllers"), "memory").unwrap();
    }
    make(mount.path(), "/a/b").unwrap();
    for dir in ["", "a"] {
        let written = fs::read_to_string(mount.path().join(dir).join("cgroup.subtree_control"));
        assert_eq!(written.unwrap(), "+memory", "{dir:?}");
    }
    assert!(mount.path().join("a/b").is_dir());
    assert!(!mount.path().join("a/b/cgroup.subtree_control").exists());
}

/// Enabling even one controller beside them would make its children unusable.
#[test]
fn a_group_with_processes_of_others_is_left_alone() {
    let mount = tempfile::tempdir().unwrap();
    let group = mount.path().join("theirs");
    fs::create_dir(&group).unwrap();
    for (name, text) in [
        ("cgroup.controllers", "cpu"),
        ("cgroup.type", "domain"),
        ("cgroup.procs", "17"),
    ] {
        fs::write(group.join(name), text).unwrap();
    }
    let error = make(mount.path(), "/theirs/a").unwrap_err();
    assert!(
        error.to_string().contains("has processes of others"),
        "{error}"
    );
    assert!(!group.join("cgroup.subtree_control").exists());
    assert!(!group.join("a").exists());
}

#[test]
fn processes_are_moved_to_a_leaf() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("cgroup.procs"), "0\n").unwrap();
    evacuate(dir.path()).unwrap();
    assert!(dir.path().join(LEAF).is_dir());
    // Nothing is taken off a plain file's list, so that the rounds end.
    fs::write(dir.path().join("cgroup.procs"), "17\n").unwrap();
    assert!(evacuate(dir.path()).is_err());
    let moved = fs::read_to_string(dir.path().join(LEAF).join("cgroup.procs"));
    assert_eq!(moved.unwrap(), "17");
}
