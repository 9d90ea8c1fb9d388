use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use super::*;

fn files(list: &[(&str, &str, u32)]) -> Files {
    let file = |content: &str, mode| File {
        content: content.into(),
        mode,
        owner: None,
    };
    list.iter()
        .map(|(path, content, mode)| ((*path).to_owned(), file(content, *mode)))
        .collect()
}

fn read(dir: &Path, path: &str) -> Option<String> {
    fs::read_to_string(dir.join(path)).ok()
}

#[test]
fn files_appear_change_and_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write(dir, &files(&[("a", "1", 0o640), ("d/e", "2", 0o400)]), None).unwrap();
    assert_eq!(
        (read(dir, "a").as_deref(), read(dir, "d/e").as_deref()),
        (Some("1"), Some("2"))
    );
    assert_eq!(
        fs::metadata(dir.join("a")).unwrap().permissions().mode() & 0o777,
        0o640
    );
    assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
    let first = fs::read_link(dir.join("..data")).unwrap();

    write(dir, &files(&[("a", "1", 0o640), ("d/e", "2", 0o400)]), None).unwrap();
    assert_eq!(
        fs::read_link(dir.join("..data")).unwrap(),
        first,
        "nothing changed"
    );

    write(dir, &files(&[("a", "3", 0o644), ("f", "4", 0o644)]), None).unwrap();
    assert_eq!(
        (read(dir, "a").as_deref(), read(dir, "f").as_deref()),
        (Some("3"), Some("4"))
    );
    assert!(!dir.join("d").exists() && dir.join("d").symlink_metadata().is_err());
    assert!(!dir.join(first).exists());
}

#[test]
fn paths_stay_inside() {
    let dir = tempfile::tempdir().unwrap();
    for path in ["../x", "/x", "a/../b", "..data", ""] {
        assert!(
            write(dir.path(), &files(&[(path, "", 0o644)]), None).is_err(),
            "{path}"
        );
    }
}

#[test]
fn the_group_may_read() {
    let dir = tempfile::tempdir().unwrap();
    let group = i64::from(nix::unistd::getegid().as_raw());
    write(dir.path(), &files(&[("a", "1", 0o400)]), Some(group)).unwrap();
    assert_eq!(
        fs::metadata(dir.path().join("a"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o440
    );
}

#[test]
fn a_link_belongs_to_whom_its_file_does() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("skipped: other owners need root");
    }
    let dir = tempfile::tempdir().unwrap();
    let mut shown = files(&[("ca.crt", "c", 0o644), ("token", "t", 0o600)]);
    shown.get_mut("token").unwrap().owner = Some(1000);
    write(dir.path(), &shown, None).unwrap();
    let owner = |name: &str| fs::symlink_metadata(dir.path().join(name)).unwrap().uid();
    let owners = ["ca.crt", "token", "..data/ca.crt", "..data/token"].map(owner);
    assert_eq!(owners, [0, 1000, 0, 1000]);
}
