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

#[test]
fn new_directories_are_as_writable_as_their_volume() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for mode in [0o777, 0o2775, 0o755] {
        fs::set_permissions(root, fs::Permissions::from_mode(mode)).unwrap();
        let name = format!("m{mode}");
        open_inside(root, &format!("{name}/deep")).unwrap();
        for path in [root.join(&name), root.join(&name).join("deep")] {
            let made = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(made, mode, "{}", path.display());
        }
    }
    // What was there keeps its mode.
    fs::set_permissions(root.join("m511"), fs::Permissions::from_mode(0o700)).unwrap();
    open_inside(root, "m511/deep").unwrap();
    let kept = fs::metadata(root.join("m511"))
        .unwrap()
        .permissions()
        .mode()
        & 0o7777;
    assert_eq!(kept, 0o700);
}
