use std::os::unix::fs::symlink;

use super::*;

#[test]
fn paths_open_below_the_volume_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    fs::create_dir_all(root.join("in/deep")).unwrap();
    symlink("in", root.join("link")).unwrap();
    symlink("/etc", root.join("out")).unwrap();
    symlink("../../..", root.join("in/up")).unwrap();
    let real = |fd: &OwnedFd| fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    let base = root.canonicalize().unwrap();
    assert_eq!(
        real(&open_inside(root, "in/deep").unwrap()),
        base.join("in/deep")
    );
    assert_eq!(
        real(&open_inside(root, "link/deep").unwrap()),
        base.join("in/deep")
    );
    assert_eq!(
        real(&open_inside(root, "new/dir").unwrap()),
        base.join("new/dir")
    );
    for bad in ["out", "out/passwd", "in/up/etc", "../x", "/etc"] {
        assert!(open_inside(root, bad).is_err(), "{bad}");
    }
}
