use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use super::*;

#[test]
fn a_tree_is_the_groups_and_what_links_lead_to_is_not() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let (tree, outside) = (home.path().join("tree"), home.path().join("outside"));
    fs::create_dir_all(tree.join("a/b"))?;
    fs::write(tree.join("a/b/file"), "")?;
    fs::set_permissions(tree.join("a/b/file"), fs::Permissions::from_mode(0o600))?;
    fs::write(&outside, "")?;
    symlink(&outside, tree.join("a/link"))?;
    let own = fs::metadata(&outside)?.gid();
    let group = if nix::unistd::geteuid().is_root() {
        2_000
    } else {
        own
    };
    let before = fs::metadata(&outside)?.mode();
    apply(&tree, group.into(), true)?;
    let file = fs::metadata(tree.join("a/b/file"))?;
    assert_eq!((file.gid(), file.mode() & MODE), (group, 0o660));
    let directory = fs::metadata(tree.join("a/b"))?;
    assert_eq!(directory.gid(), group);
    assert_eq!(directory.mode() & 0o2770, 0o2770);
    let outside = fs::metadata(&outside)?;
    assert_eq!((outside.gid(), outside.mode()), (own, before));
    Ok(())
}
