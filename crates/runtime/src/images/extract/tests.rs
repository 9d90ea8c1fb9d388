use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use tar::{Builder, EntryType, Header};

use super::layer;

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o640);
    header.set_mtime(1_000);
    header.set_uid(fs::metadata("/proc/self").map_or(0, |metadata| u64::from(metadata.uid())));
    header.set_gid(fs::metadata("/proc/self").map_or(0, |metadata| u64::from(metadata.gid())));
    header
}

struct Tar(Builder<Vec<u8>>);

impl Tar {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Writes the name as it is: the builder itself would refuse the bad ones.
    fn entry(mut self, kind: EntryType, name: &str, link: &str, data: &[u8]) -> Self {
        let mut header = header(kind, data.len() as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, name, "", data)
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

#[test]
fn files_keep_mode_and_time_and_may_be_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let tar = Tar::new()
        .file("a/b", b"one")
        .file("./a/b", b"two")
        .entry(EntryType::Link, "a/c", "a/b", b"")
        .entry(EntryType::Symlink, "a/d", "/a/b", b"");
    assert_eq!(layer(&*tar.bytes(), directory.path()).unwrap().size, 6);
    let file = directory.path().join("a/b");
    assert_eq!(fs::read(&file).unwrap(), b"two");
    let metadata = fs::metadata(&file).unwrap();
    assert_eq!(
        (metadata.permissions().mode() & 0o7777, metadata.mtime()),
        (0o640, 1_000)
    );
    assert_eq!(
        fs::metadata(directory.path().join("a/c")).unwrap().ino(),
        metadata.ino()
    );
    assert_eq!(
        fs::read_link(directory.path().join("a/d"))
            .unwrap()
            .to_str(),
        Some("/a/b")
    );
}

#[test]
fn nothing_is_written_outside() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let tar = Tar::new()
        .entry(EntryType::Symlink, "escape", target, b"")
        .file("../../up", b"x")
        .file("/absolute", b"x")
        .entry(
            EntryType::Symlink,
            "dots",
            "../../../../../../../../tmp",
            b"",
        );
    layer(&*tar.bytes(), directory.path()).unwrap();
    assert!(directory.path().join("up").exists());
    assert!(directory.path().join("absolute").exists());
    let through = Tar::new()
        .entry(EntryType::Symlink, "escape", target, b"")
        .file("escape/x", b"x");
    // The link leads to a directory of the layer, which is made.
    layer(&*through.bytes(), directory.path()).unwrap();
    let inside = directory.path().join(target.trim_start_matches('/'));
    assert!(inside.join("x").exists());
    let linked = Tar::new().entry(EntryType::Link, "passwd", "/etc/passwd", b"");
    assert!(layer(&*linked.bytes(), directory.path()).is_err());
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn whiteouts_become_the_overlays_own() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: device nodes need root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let tar = Tar::new()
        .file("etc/.wh.gone", b"")
        .file("etc/.wh.", b"")
        .file("opaque/.wh..wh..opq", b"");
    layer(&*tar.bytes(), directory.path()).unwrap();
    let gone = fs::symlink_metadata(directory.path().join("etc/gone")).unwrap();
    assert!(gone.file_type().is_char_device());
    assert_eq!(gone.rdev(), 0);
    assert_eq!(
        fs::read_dir(directory.path().join("etc")).unwrap().count(),
        1
    );
    assert_eq!(
        fs::read_dir(directory.path().join("opaque"))
            .unwrap()
            .count(),
        0
    );
}

/// What a directory has, as an overlay sees it: `name/` for a directory, `name/ only` where nothing below shows through,
/// `name -` where what is below is hidden.
fn shown(root: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            let opaque = is_opaque(&path);
            found.push(format!("{name}/{}", if opaque { " only" } else { "" }));
            found.extend(shown(&path).iter().map(|below| format!("{name}/{below}")));
        } else if metadata.file_type().is_char_device() && metadata.rdev() == 0 {
            found.push(format!("{name} -"));
        } else {
            found.push(name);
        }
    }
    found.sort();
    found
}

fn is_opaque(path: &std::path::Path) -> bool {
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let mut value = [0_u8; 8];
    let name = c"trusted.overlay.opaque";
    // SAFETY: all pointers outlive the call and the length is the buffer's.
    let length =
        unsafe { libc::lgetxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), 8) };
    length == 1 && value[0] == b'y'
}

#[test]
fn a_whiteout_hides_what_is_below_and_nothing_of_its_own_layer() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: device nodes need root");
        return;
    }
    let directory = |tar: Tar, name| tar.entry(EntryType::Directory, name, "", b"");
    let hide = |tar: Tar| tar.file("w/.wh.e", b"");
    let cases: [(Tar, &[&str], &[&str]); 6] = [
        (hide(Tar::new()), &["w/", "w/e -"], &["w"]),
        (
            hide(Tar::new()).file("w/e/n", b""),
            &["w/", "w/e/ only", "w/e/n"],
            &["w"],
        ),
        (
            directory(hide(Tar::new()), "w/e").file("w/e/d/n", b""),
            &["w/", "w/e/ only", "w/e/d/", "w/e/d/n"],
            &["w"],
        ),
        (
            hide(Tar::new().file("w/e/d/n", b"")),
            &["w/", "w/e/ only", "w/e/d/", "w/e/d/n"],
            &["w"],
        ),
        (hide(Tar::new()).file("w/e", b""), &["w/", "w/e"], &["w"]),
        (hide(Tar::new().file("w/e", b"")), &["w/", "w/e"], &["w"]),
    ];
    for (tar, wanted, implied) in cases {
        let directory = tempfile::tempdir().unwrap();
        let unpacked = layer(&*tar.bytes(), directory.path()).unwrap();
        assert_eq!(shown(directory.path()), wanted);
        assert_eq!(unpacked.implied, implied);
    }
}

#[test]
fn empty_numbers_of_devices_are_zero() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: device nodes need root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    // As Python's tarfile leaves them.
    let mut tar = Tar::new();
    for (kind, name, major) in [
        (EntryType::Fifo, "fifo", None),
        (EntryType::Char, "null", Some(1)),
        (EntryType::Block, "block", None),
    ] {
        let mut header = header(kind, 0);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        let fields = header.as_gnu_mut().unwrap();
        (fields.dev_major, fields.dev_minor) = ([0; 8], [0; 8]);
        if let Some(major) = major {
            header.set_device_major(major).unwrap();
        }
        header.set_cksum();
        tar.0.append(&header, &b""[..]).unwrap();
    }
    layer(&*tar.bytes(), directory.path()).unwrap();
    let made = |name| fs::symlink_metadata(directory.path().join(name)).unwrap();
    assert!(made("fifo").file_type().is_fifo());
    assert_eq!(made("null").rdev(), nix::sys::stat::makedev(1, 0));
    assert_eq!(made("block").rdev(), 0);
}

#[test]
fn a_hard_link_into_another_layer_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for target in ["w/a", "nowhere/a"] {
        let tar = Tar::new().entry(EntryType::Link, "w/b", target, b"");
        let error = layer(&*tar.bytes(), directory.path()).unwrap_err();
        let text = format!("w/b: hard link to {target}, which this layer does not have");
        assert!(error.to_string().starts_with(&text), "{error}");
    }
}

/// Fails the test when more than its bytes are asked for.
struct Endless {
    begin: std::io::Cursor<Vec<u8>>,
    left: u64,
}

impl std::io::Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.begin.read(buffer)?;
        if count > 0 {
            return Ok(count);
        }
        self.left = self.left.checked_sub(buffer.len() as u64).unwrap();
        buffer.fill(b'1');
        Ok(buffer.len())
    }
}

#[test]
fn headers_of_any_length_cost_little() {
    for kind in [
        EntryType::XHeader,
        EntryType::GNULongName,
        EntryType::GNULongLink,
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut long = header(kind, 1 << 40);
        long.as_old_mut().name[..4].copy_from_slice(b"long");
        long.set_cksum();
        let endless = Endless {
            begin: std::io::Cursor::new(long.as_bytes().to_vec()),
            left: 4 << 20,
        };
        let error = layer(endless, directory.path()).unwrap_err().to_string();
        assert!(error.contains("bytes of headers"), "{kind:?}: {error}");
    }
}

#[test]
fn a_sparse_file_of_any_size_fills_no_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut sparse = header(EntryType::GNUSparse, 0);
    sparse.as_old_mut().name[..6].copy_from_slice(b"sparse");
    let gnu = sparse.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 40);
    gnu.sparse[0].set_offset(1 << 40);
    gnu.sparse[0].set_length(0);
    sparse.set_cksum();
    let mut bytes = sparse.as_bytes().to_vec();
    bytes.extend([0; 1024]);
    let error = layer(&*bytes, directory.path()).unwrap_err().to_string();
    assert!(error.contains("bytes of files"), "{error}");
    let written = fs::metadata(directory.path().join("sparse")).map_or(0, |m| m.len());
    assert_eq!(written, 0);
}

#[test]
fn directories_that_an_archive_leaves_out_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let tar = Tar::new()
        .entry(EntryType::Directory, "a", "", b"")
        .file("a/b/c/file", b"")
        .file("d/file", b"")
        .entry(EntryType::Directory, "d", "", b"");
    let unpacked = layer(&*tar.bytes(), directory.path()).unwrap();
    assert_eq!(unpacked.implied, ["a/b", "a/b/c"]);
}

#[test]
fn what_is_behind_a_link_is_made_where_it_leads() {
    let directory = tempfile::tempdir().unwrap();
    let tar = Tar::new()
        .entry(EntryType::Symlink, "lib", "usr/lib", b"")
        .file("lib/a", b"a")
        .entry(EntryType::Symlink, "usr/bin", "/opt/./x/../bin", b"")
        .file("usr/bin/sub/b", b"b")
        .entry(EntryType::Symlink, "up", "../../../../top", b"")
        .file("up/c", b"c");
    let unpacked = layer(&*tar.bytes(), directory.path()).unwrap();
    for (path, wanted) in [("usr/lib/a", "a"), ("opt/bin/sub/b", "b"), ("top/c", "c")] {
        let found = fs::read_to_string(directory.path().join(path));
        assert_eq!(found.ok().as_deref(), Some(wanted), "{path}");
    }
    assert!(unpacked.implied.contains(&"usr/lib".to_owned()));
    let endless = Tar::new()
        .entry(EntryType::Symlink, "a", "b", b"")
        .entry(EntryType::Symlink, "b", "a", b"")
        .file("a/c", b"c");
    let error = layer(&*endless.bytes(), directory.path()).unwrap_err();
    assert!(error.to_string().contains("ymbolic link"), "{error}");
}

#[test]
fn short_paths_that_lead_far_have_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let mut tar = Tar::new();
    let mut long = header(EntryType::Symlink, 0);
    long.set_uid(0);
    let far = ["d"; 1_900].join("/");
    tar.0.append_link(&mut long, "l", &far).unwrap();
    for entry in 0..200 {
        tar = tar.file(&format!("l/{entry}/f"), b"");
    }
    let error = layer(&*tar.bytes(), directory.path()).unwrap_err();
    assert!(error.to_string().contains("ways to directories"), "{error}");
}

#[test]
fn names_that_are_no_text_are_hidden_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut header = header(EntryType::Regular, 0);
    header.as_old_mut().name[..8].copy_from_slice(b"a/.wh.b\xff");
    header.set_cksum();
    let mut tar = Tar::new();
    tar.0.append(&header, &b""[..]).unwrap();
    layer(&*tar.bytes(), directory.path()).unwrap();
    let hidden = std::ffi::OsStr::from_bytes(b"a/b\xff");
    let kind = fs::symlink_metadata(directory.path().join(hidden)).unwrap();
    assert!(kind.file_type().is_char_device());
    assert_eq!(fs::read_dir(directory.path().join("a")).unwrap().count(), 1);
}

#[test]
fn attributes_that_links_cannot_have_are_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions([("SCHILY.xattr.user.a", &b"b"[..])])
        .unwrap();
    let mut link = header(EntryType::Symlink, 0);
    tar.append_link(&mut link, "link", "nowhere").unwrap();
    layer(&*tar.into_inner().unwrap(), directory.path()).unwrap();
    assert!(directory.path().join("link").is_symlink());
}
