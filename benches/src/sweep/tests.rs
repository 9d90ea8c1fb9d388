use super::*;

#[test]
fn only_mounts_below_are_found() {
    let table = "22 1 254:0 / / rw - ext4 /dev/vda rw\n\
                 40 22 0:40 / /tmp/a/data/x rw - tmpfs tmpfs rw\n\
                 41 22 0:41 / /tmp/a/data2/y rw - tmpfs tmpfs rw\n\
                 42 40 0:42 / /tmp/a/data/x/two\\040words rw - tmpfs tmpfs rw\n";
    let found = below(table, Path::new("/tmp/a/data"));
    assert_eq!(
        found,
        [
            PathBuf::from("/tmp/a/data/x"),
            PathBuf::from("/tmp/a/data/x/two words")
        ]
    );
}

#[test]
fn a_group_that_is_nowhere_has_nothing_to_kill() {
    assert_eq!(
        hierarchies("/knarr-bench-no-such-group"),
        Vec::<PathBuf>::new()
    );
}
