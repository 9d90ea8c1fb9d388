use std::os::unix::fs::symlink;

use rustix::fs::mkdirat;

use super::*;

/// Many more than a stack has room for that is as small as the one below.
const DEEP: usize = 3_000;

/// Nested directories with a file in each.
fn nest(top: &Path, depth: usize) -> io::Result<()> {
    let mut at = OwnedFd::from(std::fs::File::open(top)?);
    for _ in 0..depth {
        mkdirat(&at, "d", Mode::RWXU)?;
        let flags = OFlags::WRONLY | OFlags::CREATE;
        rustix::fs::openat(&at, "f", flags, Mode::RUSR)?;
        at = open(at.as_fd(), OsStr::new("d"))?;
    }
    Ok(())
}

#[test]
fn depth_does_not_matter() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let tree = home.path().join("tree");
    std::fs::create_dir(&tree)?;
    nest(Path::new(&tree), DEEP)?;
    // A small stack makes recursion show at once.
    let removing = std::thread::Builder::new().stack_size(128 << 10).spawn({
        let tree = tree.clone();
        move || remove(&tree)
    })?;
    removing
        .join()
        .map_err(|_| io::Error::other("it panicked"))??;
    assert!(!tree.exists());
    Ok(())
}

#[test]
fn what_links_lead_to_stays() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let (tree, outside) = (home.path().join("tree"), home.path().join("outside"));
    std::fs::create_dir_all(tree.join("a/b"))?;
    std::fs::create_dir(&outside)?;
    std::fs::write(outside.join("file"), "")?;
    symlink(&outside, tree.join("a/link"))?;
    remove(&tree)?;
    assert!(!tree.exists());
    symlink(&outside, &tree)?;
    remove(&tree)?;
    assert!(tree.symlink_metadata().is_err());
    assert!(outside.join("file").exists());
    remove(&tree)?;
    remove(&tree.join("nothing/below"))
}

#[test]
fn a_removal_that_was_cut_short_is_gone_on_with() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let tree = home.path().join("tree");
    std::fs::create_dir_all(tree.join(format!("{MOVED}0/inner")))?;
    std::fs::write(tree.join(format!("{MOVED}1")), "")?;
    nest(&tree, 3 * MAX_OPEN_DIRECTORIES)?;
    remove(&tree)?;
    assert!(!tree.exists());
    Ok(())
}
