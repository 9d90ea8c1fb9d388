use std::{os::unix::fs::symlink, path::Path};

use rustix::fs::mkdirat;

use super::*;

const DEEP: usize = 3_000;
/// More entries than fit a batch.
const WIDE: usize = 1_000;

fn count(top: &Path) -> io::Result<[usize; 3]> {
    let mut counts = [0; 3];
    walk(&Directory::open(top)?, |found| {
        counts[match found.kind() {
            FileType::Directory => 0,
            FileType::RegularFile => 1,
            _ => 2,
        }] += 1;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(counts)
}

#[test]
fn every_entry_is_seen_once() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    for index in 0..WIDE {
        let directory = home.path().join(format!("directory-{index}"));
        std::fs::create_dir(&directory)?;
        std::fs::write(directory.join("file"), "")?;
        symlink("/", directory.join("link"))?;
    }
    assert_eq!(count(home.path())?, [WIDE; 3]);
    Ok(())
}

#[test]
fn depth_does_not_matter() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let tree = home.path().join("tree");
    std::fs::create_dir(&tree)?;
    let mut at = std::os::fd::OwnedFd::from(std::fs::File::open(&tree)?);
    for _ in 0..DEEP {
        mkdirat(&at, "d", Mode::RWXU)?;
        at = open(&at, c"d")?;
    }
    let counted = std::thread::Builder::new()
        .stack_size(128 << 10)
        .spawn({
            let tree = tree.clone();
            move || count(&tree)
        })?
        .join();
    // Before the assertion: what tempfile would remove it with is recursive.
    crate::remove(&tree)?;
    let counted = counted.map_err(|_| io::Error::other("it panicked"))??;
    assert_eq!(counted, [DEEP, 0, 0]);
    Ok(())
}
