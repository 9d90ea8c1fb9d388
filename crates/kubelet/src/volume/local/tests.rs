use std::os::unix::fs::PermissionsExt;

use super::*;

struct Node {
    home: tempfile::TempDir,
    own: u32,
}

impl Node {
    fn new() -> io::Result<Self> {
        let home = tempfile::tempdir()?;
        fs::create_dir_all(home.path().join("data"))?;
        fs::create_dir_all(home.path().join("pods"))?;
        fs::write(home.path().join("data/file"), "")?;
        let own = fs::metadata(home.path())?.gid();
        Ok(Self { home, own })
    }

    /// Another group, where the test may give files away.
    fn group(&self, offset: u32) -> u32 {
        match nix::unistd::geteuid().is_root() {
            true => 2_000 + offset,
            false => self.own,
        }
    }

    fn run(
        &self,
        pod: &str,
        group: Option<u32>,
        only_if_root_differs: bool,
    ) -> io::Result<Outcome> {
        let pods = self.home.path().join("pods");
        let work = Work {
            path: self.home.path().join("data"),
            place: pods.join(pod).join("volumes/kubernetes.io~local-volume/pv"),
            pods,
            group: group.map(i64::from),
            only_if_root_differs,
        };
        work.run()
    }

    fn file_group(&self) -> io::Result<u32> {
        Ok(fs::metadata(self.home.path().join("data/file"))?.gid())
    }
}

#[test]
fn the_directory_must_be_there() -> io::Result<()> {
    let node = Node::new()?;
    assert!(matches!(node.run("a", None, false)?, Outcome::Ready));
    fs::remove_dir_all(node.home.path().join("data"))?;
    assert!(matches!(node.run("a", None, false)?, Outcome::Missing));
    fs::write(node.home.path().join("data"), "")?;
    assert!(node.run("a", None, false).is_err());
    Ok(())
}

/// The first pod gives the files to its group, once; the next one only hears that they are another's.
#[test]
fn groups() -> io::Result<()> {
    let node = Node::new()?;
    let (first, second) = (node.group(1), node.group(2));
    assert!(matches!(node.run("a", Some(first), false)?, Outcome::Ready));
    assert_eq!(node.file_group()?, first);
    let top = fs::metadata(node.home.path().join("data"))?;
    assert_eq!(
        top.permissions().mode() & ownership::GROUP_BITS,
        ownership::GROUP_BITS
    );
    if first == second {
        return Ok(());
    }
    assert!(matches!(
        node.run("a", Some(second), false)?,
        Outcome::Ready
    ));
    assert_eq!(node.file_group()?, first, "this pod has it already");
    let other = node.run("b", Some(second), false)?;
    assert!(matches!(other, Outcome::Shared(has) if has == first));
    assert_eq!(node.file_group()?, first);
    // Alone again.
    fs::remove_dir_all(node.home.path().join("pods/a"))?;
    fs::remove_dir_all(node.home.path().join("pods/b"))?;
    assert!(matches!(
        node.run("c", Some(second), false)?,
        Outcome::Ready
    ));
    assert_eq!(node.file_group()?, second);
    Ok(())
}

#[test]
fn a_right_top_spares_the_walk() -> io::Result<()> {
    let node = Node::new()?;
    let group = node.group(1);
    node.run("a", Some(group), true)?;
    assert_eq!(node.file_group()?, group);
    fs::remove_dir_all(node.home.path().join("pods/a"))?;
    let file = node.home.path().join("data/file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    node.run("b", Some(group), true)?;
    assert_eq!(fs::metadata(&file)?.mode() & 0o777, 0o600);
    fs::remove_dir_all(node.home.path().join("pods/b"))?;
    node.run("c", Some(group), false)?;
    assert_eq!(fs::metadata(&file)?.mode() & 0o777, 0o660);
    Ok(())
}
