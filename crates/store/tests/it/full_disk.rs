//! A store on a file system that fills up: writes are refused, nothing that was acknowledged is lost, reads go on, and
//! writes return when there is room.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use knarr_store::{Embedded, Error, Op, Options, Outcome, Store};

const DEADLINE: Duration = Duration::from_secs(30);
const SIZE: &str = "4m";

/// A file system of a few megabytes.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    /// `None`, with the reason printed, for whom may not mount.
    fn mount() -> Option<Small> {
        let dir = tempfile::tempdir().expect("directory");
        let options = format!("size={SIZE},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "knarr-full-disk"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Small { dir }),
            other => {
                println!("skipped: a small file system cannot be mounted: {other:?}");
                None
            }
        }
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    fn ballast(&self) -> PathBuf {
        self.dir.path().join("ballast")
    }

    /// Somebody else takes all that is left, to the last byte.
    fn fill(&self) {
        use std::io::Write;
        let mut file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .expect("ballast");
        while file.write_all(&[0; 4096]).is_ok() {}
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount")
            .arg("-l")
            .arg(self.dir.path())
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).expect("opens")
}

async fn put(store: &Embedded, key: &str, bytes: usize) -> Result<u64, Error> {
    let commit = store.commit(Op::put(key, vec![b'v'; bytes]));
    let outcome = tokio::time::timeout(DEADLINE, commit).await;
    match outcome.expect("an answer in time")? {
        Outcome::Committed { revision, .. } => Ok(revision),
        Outcome::Conflict { .. } => panic!("a put cannot conflict"),
    }
}

/// Writes until the store refuses; what was acknowledged.
async fn write_until_refused(store: &Embedded, prefix: &str) -> Vec<(String, u64)> {
    let mut acknowledged = Vec::new();
    for n in 0..100_000 {
        let key = format!("/{prefix}/{n}");
        match put(store, &key, fastrand::usize(1..3000)).await {
            Ok(revision) => acknowledged.push((key, revision)),
            Err(Error::NoSpace) => return acknowledged,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("a file system of {SIZE} holds no 100 000 writes");
}

async fn check(store: &Embedded, acknowledged: &[(String, u64)]) {
    let last = acknowledged.last().map_or(1, |(_, revision)| *revision);
    assert_eq!(store.published(), last, "a refused write takes no revision");
    for (key, revision) in acknowledged {
        let (_, found) = store.get(key, None).await.expect("reads go on");
        assert_eq!(found.map(|kv| kv.mod_revision), Some(*revision), "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_writes_and_loses_nothing() {
    let Some(small) = Small::mount() else { return };
    let store = open(&small.store());
    let mut acknowledged = write_until_refused(&store, "a").await;
    small.fill();
    // What compaction gave back is written to until it is used up too.
    acknowledged.extend(write_until_refused(&store, "c").await);
    for n in 0..20 {
        let refused = put(&store, &format!("/refused/{n}"), 200_000).await;
        assert!(matches!(refused, Err(Error::NoSpace)), "{refused:?}");
    }
    check(&store, &acknowledged).await;
    let mut watch = store.watch("/a/", 2).await.expect("watch");
    let first = tokio::time::timeout(DEADLINE, watch.next()).await;
    assert_eq!(first.expect("in time").expect("history").revision, 2);

    // Many readers at once, more than ever before: each takes a slot of LMDB's lock file, a page of it for 64.
    let reads = (0..500).map(|_| store.range("", None, 0, None));
    for page in futures::future::join_all(reads).await {
        assert_eq!(page.expect("reads go on").kvs.len(), acknowledged.len());
    }

    // It starts on a full disk too.
    drop(watch);
    drop(store);
    let store = open(&small.store());
    check(&store, &acknowledged).await;
    assert!(matches!(
        put(&store, "/refused", 200_000).await,
        Err(Error::NoSpace)
    ));

    // Room again: writes go on where they were.
    std::fs::remove_file(small.ballast()).expect("ballast");
    let (ballast, next) = (small.ballast(), acknowledged.len());
    std::fs::write(&ballast, []).expect("there is room");
    Command::new("mount")
        .args(["-o", "remount,size=8m"])
        .arg(small.dir.path())
        .status()
        .expect("remounted");
    acknowledged.extend(write_until_refused(&store, "b").await);
    assert!(acknowledged.len() > next, "writes returned");
    check(&store, &acknowledged).await;
    drop(store);
    check(&open(&small.store()), &acknowledged).await;
}

#[tokio::test]
async fn a_store_that_cannot_be_made_for_want_of_room_is_made_later() {
    let Some(small) = Small::mount() else { return };
    std::fs::create_dir(small.store()).expect("directory");
    small.fill();
    assert!(matches!(
        Embedded::open(small.store(), Options::default()),
        Err(Error::NoSpace)
    ));
    std::fs::remove_file(small.ballast()).expect("ballast");
    let store = open(&small.store());
    assert_eq!(put(&store, "/a", 1).await.expect("written"), 2);
}
