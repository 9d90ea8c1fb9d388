use super::*;

#[test]
fn a_disk_at_the_root_directory_is_not_taken_for_the_kubelets_own_mount() {
    let root = "22 1 254:0 / / rw - ext4 /dev/vda rw\n";
    for (line, wanted) in [
        ("", false),
        (
            "40 22 254:0 /var/lib/kubelet /var/lib/kubelet rw - ext4 /dev/vda rw",
            true,
        ),
        (
            "40 22 254:1 / /var/lib/kubelet rw - ext4 /dev/vdb rw",
            false,
        ),
        (
            "40 22 254:0 /@kubelet /var/lib/kubelet rw - btrfs /dev/vda rw",
            false,
        ),
    ] {
        let table = parse(&format!("{root}{line}"));
        let found = is_bound_onto_itself(&table, Path::new("/var/lib/kubelet"));
        assert_eq!(found, wanted, "{line}");
    }
}

#[test]
fn names_are_read_as_the_kernel_escapes_them() {
    let table = "40 22 254:0 /a\\134b\\040c /d\\011e\\134b\\040c rw - ext4 /dev/vda rw\n";
    let found = parse(table);
    assert_eq!(found[0].within, Path::new("/a\\b c"));
    assert_eq!(found[0].point, Path::new("/d\te\\b c"));
}

#[test]
fn what_an_administrator_has_mounted_in_the_data_directory_stays() {
    for (place, wanted) in [
        ("", false),
        ("storage", false),
        ("storage/pvc-1", false),
        ("store", false),
        ("runtime", false),
        ("runtime/containers/a/rootfs", true),
        ("run/netns/a", true),
        ("kubelet/pods/a/volumes/b", true),
        ("nodes", false),
        ("nodes/b", false),
        ("nodes/b/storage", false),
        ("nodes/b/runtime", false),
        ("nodes/b/run/netns/a", true),
    ] {
        assert_eq!(is_of_a_node(Path::new(place)), wanted, "{place}");
    }
}
