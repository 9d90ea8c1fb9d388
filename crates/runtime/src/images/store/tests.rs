//! Power failures: what they leave of an image is whole or it is gone.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::*;
use crate::images::platform::architecture;

/// A layer of these files.
fn layer(files: &BTreeMap<String, Vec<u8>>) -> (String, Vec<u8>) {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    let tar = tar.into_inner().unwrap();
    (format!("sha256:{}", id::hex(&Sha256::digest(&tar))), tar)
}

/// One file in a layer, by what is in it.
fn short(content: &str) -> BTreeMap<String, Vec<u8>> {
    BTreeMap::from([("file".to_owned(), content.as_bytes().to_vec())])
}

/// As a pull: what is there already is not unpacked again. The image's id.
fn pull(
    store: &ImageStore,
    name: &str,
    layers: &[BTreeMap<String, Vec<u8>>],
) -> Result<String, StoreError> {
    let layers: Vec<_> = layers.iter().map(layer).collect();
    let diff_ids: Vec<String> = layers.iter().map(|(id, _)| id.clone()).collect();
    let _held = store.hold(&diff_ids)?;
    for (diff_id, tar) in &layers {
        store.unpack_layer(diff_id, &tar[..])?;
    }
    let config = serde_json::json!({
        "architecture": architecture(), "os": "linux", "rootfs": {"diff_ids": diff_ids},
    });
    store.commit(&NewImage {
        config: config.to_string().as_bytes(),
        references: &[Reference::parse(name).unwrap()],
        manifest_digests: &[],
        pinned: false,
    })
}

/// What a container of an image would start from.
fn assert_whole(store: &ImageStore, id: &str, layers: &[BTreeMap<String, Vec<u8>>]) {
    let image = store.find(id).expect("the image is there");
    let directories = store.layers(&image).expect("its layers are there");
    assert_eq!(directories.len(), layers.len());
    for (directory, files) in directories.iter().zip(layers) {
        for (name, content) in files {
            let found = fs::read(directory.join(name)).expect("a file");
            assert!(found == *content, "{name} has {} bytes", found.len());
        }
    }
}

/// Two images share their first layer; the second one's other layer is torn.
#[test]
fn what_is_torn_is_removed_and_pulled_anew() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let (one, two) = ([short("shared")], [short("shared"), short("own")]);
    let own = layer_name(&layer(&two[1]).0).unwrap().to_owned();
    let path = root.join("layers").join(&own);
    let record = root.join("layers").join(format!("{own}.json"));
    let image_record = |id: &str| root.join("records").join(format!("{}.json", &id[7..]));
    for torn in [
        "the record was never written",
        "the record was never written, and a file not whole",
        "the record is empty",
        "the record is there, and the layer is not",
        "the image's record is empty",
        "the image's record was never written",
    ] {
        let store = ImageStore::open(root.to_owned()).unwrap();
        let whole = pull(&store, "whole", &one).unwrap();
        let id = pull(&store, "torn", &two).unwrap();
        drop(store);
        match torn {
            "the record was never written" => fs::remove_file(&record).unwrap(),
            "the record was never written, and a file not whole" => {
                fs::remove_file(&record).unwrap();
                fs::write(path.join("file"), "").unwrap();
            }
            "the record is empty" => fs::write(&record, "").unwrap(),
            "the record is there, and the layer is not" => fs::remove_dir_all(&path).unwrap(),
            "the image's record is empty" => fs::write(image_record(&id), "").unwrap(),
            _ => fs::remove_file(image_record(&id)).unwrap(),
        }
        let store = ImageStore::open(root.to_owned()).unwrap();
        assert!(store.find(&id).is_none(), "{torn}");
        assert!(!path.exists() && !record.exists(), "{torn}");
        assert_whole(&store, &whole, &one);
        assert_eq!(pull(&store, "torn", &two).unwrap(), id, "{torn}");
        assert_whole(&store, &id, &two);
    }
}

/// A disk that loses what was not synced, as a power failure does; it is seen by the thread that made it, and goes with it.
struct Disk {
    directory: tempfile::TempDir,
}

impl Disk {
    /// `None` where there is no way to have one, which is said.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let disk = Self { directory };
        File::create(disk.image())
            .unwrap()
            .set_len(64 << 20)
            .unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F"])
            .arg(disk.image())
            .status();
        if !nix::unistd::geteuid().is_root() || !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: a disk needs root and mkfs.ext4");
            return None;
        }
        fs::create_dir(disk.root()).unwrap();
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).unwrap();
        disk.mount().then_some(disk)
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn mount(&self) -> bool {
        let mut mount = Command::new("mount");
        mount
            .args(["-o", "loop"])
            .arg(self.image())
            .arg(self.root());
        let mounted = mount.status().is_ok_and(|status| status.success());
        if !mounted {
            eprintln!("skipped: there is no loop device");
        }
        mounted
    }

    /// Nothing more reaches the disk, the journal's end among it (ext4's `EXT4_IOC_SHUTDOWN`).
    fn lose_power(root: &File) {
        const EXT4_IOC_SHUTDOWN: libc::c_ulong = 0x8004_587d;
        const NO_LOG_FLUSH: u32 = 2;
        // SAFETY: the kernel reads a number where it is told to, which outlives the call.
        let done = unsafe { libc::ioctl(root.as_raw_fd(), EXT4_IOC_SHUTDOWN, &NO_LOG_FLUSH) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }

    fn start_again(&self) {
        let unmounted = Command::new("umount").arg(self.root()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
        assert!(self.mount());
    }
}

/// Layers of a megabyte in many files. The power goes at some time during the pull of the second image, or after it.
#[test]
fn a_power_failure_leaves_whole_images() {
    let Some(disk) = Disk::new() else {
        return;
    };
    let mut random = fastrand::Rng::with_seed(6);
    let mut files = |round: usize| {
        let file = |n: usize| (format!("{round}-{n}"), vec![round as u8 + 1; 16 << 10]);
        let mut files: BTreeMap<_, _> = (0..64).map(file).collect();
        files.insert("random".to_owned(), random.u64(..).to_ne_bytes().to_vec());
        files
    };
    let mut times = fastrand::Rng::with_seed(7);
    let shared = files(200);
    for round in 0..12 {
        let images = [
            [shared.clone(), files(2 * round)],
            [shared.clone(), files(2 * round + 1)],
        ];
        let store = ImageStore::open(disk.root().join("images")).unwrap();
        let first = pull(&store, "first", &images[0]).unwrap();
        let handle = File::open(disk.root()).unwrap();
        // The first round's failure is after all was acknowledged.
        let wait = Duration::from_micros(times.u64(..100_000));
        let second = std::thread::scope(|scope| {
            let pulling = scope.spawn(|| pull(&store, "second", &images[1]));
            match round {
                0 => {}
                _ => std::thread::sleep(wait),
            }
            let early = (round == 0).then(|| pulling.join().unwrap());
            Disk::lose_power(&handle);
            early.unwrap_or(Err(StoreError::Padding))
        });
        drop((handle, store));
        disk.start_again();
        let store = ImageStore::open(disk.root().join("images")).unwrap();
        assert_whole(&store, &first, &images[0]);
        if let Ok(second) = &second {
            assert_whole(&store, second, &images[1]);
        }
        // Whatever there is of the other one is whole, too; then it is pulled anew.
        if let Some(found) = store.find("second") {
            assert_whole(&store, &found.id, &images[1]);
        }
        let second = pull(&store, "second", &images[1]).unwrap();
        assert_whole(&store, &second, &images[1]);
        for id in [&first, &second] {
            store.remove(id).unwrap();
        }
    }
}
