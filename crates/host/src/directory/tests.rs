use std::{
    os::unix::fs::{PermissionsExt, symlink},
    sync::mpsc,
    thread,
    time::Duration,
};

use super::*;

/// Longest that anything here may take.
const LIMIT: Duration = Duration::from_secs(10);

fn fifo(path: &Path) -> rustix::io::Result<()> {
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
}

/// What comes of `work`, which must not block.
fn in_time<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(work()));
    receiver.recv_timeout(LIMIT).ok()
}

#[test]
fn only_regular_files_are_read() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let (inside, outside) = (home.path().join("inside"), home.path().join("outside"));
    std::fs::create_dir(&inside)?;
    std::fs::write(&outside, "secret")?;
    std::fs::write(inside.join("file"), "0123456789")?;
    std::fs::create_dir(inside.join("directory"))?;
    symlink(&outside, inside.join("link"))?;
    symlink("file", inside.join("near"))?;
    fifo(&inside.join("fifo"))?;
    let directory = Directory::open(&inside)?;
    assert_eq!(directory.read_head(Path::new("file"), 4)?, b"0123");
    let answers = in_time(move || {
        [
            "link",
            "near",
            "fifo",
            "directory",
            "../outside",
            "none",
            "/etc/passwd",
        ]
        .map(|name| directory.read_head(Path::new(name), 4).is_err())
    });
    assert_eq!(answers, Some([true; 7]));
    Ok(())
}

#[test]
fn only_regular_files_are_written() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let (inside, outside) = (home.path().join("inside"), home.path().join("outside"));
    std::fs::create_dir(&inside)?;
    std::fs::write(&outside, "kept")?;
    symlink(&outside, inside.join("link"))?;
    symlink(home.path().join("new"), inside.join("dangling"))?;
    fifo(&inside.join("fifo"))?;
    let directory = Directory::open(&inside)?;
    directory.write_in_place(Path::new("file"), b"one and more", 0o640)?;
    directory.write_in_place(Path::new("file"), b"two", 0o644)?;
    let answers = in_time(move || {
        ["link", "dangling", "fifo", "../outside"].map(|name| {
            directory
                .write_in_place(Path::new(name), b"x", 0o644)
                .is_err()
        })
    });
    assert_eq!(answers, Some([true; 4]));
    assert_eq!(std::fs::read(&outside)?, b"kept");
    assert!(!home.path().join("new").exists());
    let file = inside.join("file");
    assert_eq!(std::fs::read(&file)?, b"two");
    assert_eq!(
        std::fs::metadata(&file)?.permissions().mode() & 0o777,
        0o644
    );
    Ok(())
}

#[test]
fn links_of_an_image_stay_in_it() -> io::Result<()> {
    let home = tempfile::tempdir()?;
    let root = home.path().join("root");
    std::fs::create_dir_all(root.join("etc"))?;
    std::fs::write(home.path().join("passwd"), "the host's")?;
    std::fs::write(root.join("real"), "the image's")?;
    symlink("/real", root.join("etc/passwd"))?;
    symlink("../../../../passwd", root.join("etc/group"))?;
    symlink("/elsewhere", root.join("work"))?;
    let image = Directory::open(&root)?;
    assert_eq!(
        image.read_head_in_root(Path::new("etc/passwd"), 64)?,
        b"the image's"
    );
    assert!(
        image
            .read_head_in_root(Path::new("/etc/group"), 64)
            .is_err()
    );
    image.make_directories_in_root(Path::new("/a/b/../c"), 0o755)?;
    assert!(root.join("a/b").is_dir());
    // A link to nothing is as good as what it names.
    image.make_directories_in_root(Path::new("work/x"), 0o755)?;
    assert!(root.join("elsewhere/x").is_dir());
    symlink("../../../../outside/./deep", root.join("up"))?;
    image.make_directories_in_root(Path::new("/up/y"), 0o755)?;
    assert!(root.join("outside/deep/y").is_dir());
    assert!(!home.path().join("outside").exists());
    symlink("round", root.join("round"))?;
    assert!(
        image
            .make_directories_in_root(Path::new("round/x"), 0o755)
            .is_err()
    );
    Ok(())
}
