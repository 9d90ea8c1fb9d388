use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::{Op, Store};

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).expect("a store")
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_are_whole_while_the_store_is_written_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Arc::new(open(&dir.path().join("store")));
    for at in 0..50 {
        let op = Op::create(format!("/first/{at}"), vec![7; 2_000]);
        store.commit(op).await.expect("a commit");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (writing, until) = (store.clone(), stop.clone());
    let writer = tokio::spawn(async move {
        let mut at = 0;
        while !until.load(Ordering::Relaxed) {
            let op = Op::create(format!("/more/{at}"), vec![1; 100]);
            writing.commit(op).await.expect("a commit");
            at += 1;
        }
    });
    let file = dir.path().join("copy");
    let (from, to) = (store.clone(), file.clone());
    let copied = tokio::task::spawn_blocking(move || from.copy_to(&to)).await;
    let copied = copied.expect("no panic").expect("a copy");
    stop.store(true, Ordering::Relaxed);
    writer.await.expect("no panic");
    assert!(copied.keys >= 50, "{copied:?}");
    assert_eq!(read_copy(&file).expect("a trailer"), copied);
    assert!(!dir.path().join("copy.partial").exists());
    // Nothing is overwritten.
    assert!(store.copy_to(&file).is_err());

    let place = dir.path().join("restored");
    assert_eq!(restore_copy(&file, &place, None).expect("a store"), copied);
    assert!(restore_copy(&file, &place, None).is_err(), "there is one");
    let restored = open(&place);
    assert_eq!(restored.published(), copied.revision + LEAP_REVISIONS);
    let (_, found) = restored.get("/first/49", None).await.expect("an answer");
    assert_eq!(found.expect("a value").value, vec![7; 2_000]);
    let all = restored.range("/", None, 0, None).await.expect("an answer");
    assert_eq!(all.kvs.len() as u64, copied.keys);
}

/// Who watched the store that is replaced has seen revisions that the copy never had: they must not mean something else now.
#[tokio::test]
async fn revisions_that_were_seen_after_the_copy_are_compacted_ones() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("store"));
    for op in [
        Op::put("/a", "1"),
        Op::put("/a", "2"),
        Op::put("/b", "1"),
        Op::delete("/b"),
    ] {
        store.commit(op).await.expect("a commit");
    }
    let file = dir.path().join("copy");
    let copied = store.copy_to(&file).expect("a copy");
    store.commit(Op::put("/a", "3")).await.expect("a commit");
    store.commit(Op::put("/c", "1")).await.expect("a commit");
    let seen = store.published();

    let place = dir.path().join("restored");
    restore_copy(&file, &place, None).expect("a store");
    let restored = open(&place);
    for revision in [copied.revision, seen] {
        let watched = restored.watch("/", revision).await.map(|_| ());
        assert!(
            matches!(watched, Err(Error::Compacted { .. })),
            "{watched:?}"
        );
    }
    let all = restored.range("/", None, 0, None).await.expect("an answer");
    let found: Vec<_> = all.kvs.iter().map(|kv| (&*kv.key, &*kv.value)).collect();
    assert_eq!(found, [("/a", b"2".as_slice())]);
    restored.commit(Op::put("/d", "1")).await.expect("a commit");
    let last = restored.published();
    assert_eq!(last, copied.revision + LEAP_REVISIONS + 1);
    restored.close();
    drop(restored);
    assert_eq!(open(&place).published(), last, "it opens again");
    // The same copy once more: what was committed since it was restored has been seen as well.
    let again = dir.path().join("again");
    restore_copy(&file, &again, Some(&place)).expect("a store");
    assert_eq!(open(&again).published(), last + LEAP_REVISIONS);
}

#[tokio::test]
async fn damaged_copies_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(&dir.path().join("store"));
    let op = Op::create("/a", vec![1; 10_000]);
    store.commit(op).await.expect("a commit");
    let file = dir.path().join("copy");
    store.copy_to(&file).expect("a copy");
    let good = fs::read(&file).expect("a file");
    let changed = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    for (bytes, what) in [
        (Vec::new(), "nothing"),
        (good[..good.len() - 1].to_vec(), "cut off"),
        (good[..100].to_vec(), "cut off early"),
        (good[1..].to_vec(), "its begin is missing"),
        (changed(0), "its first byte"),
        (changed(good.len() / 2), "a byte of its middle"),
        (changed(good.len() - 1), "its last byte"),
        (
            b"a file of somebody else's, of any length".to_vec(),
            "another",
        ),
    ] {
        fs::write(&file, &bytes).expect("a file");
        let place = dir.path().join("restored");
        let error = restore_copy(&file, &place, None).expect_err(what);
        assert!(matches!(error, Error::Corrupt(_)), "{what}: {error}");
        assert!(!place.join(DATA_FILE).exists(), "{what}");
    }
}

/// At the other end of a pipe there may be nobody for ever.
#[test]
fn what_is_no_file_is_no_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    let pipe = dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let device = PathBuf::from("/dev/zero");
    for file in [pipe, device, dir.path().to_owned()] {
        let (sender, answer) = std::sync::mpsc::channel();
        let place = dir.path().join("restored");
        let shown = file.display().to_string();
        std::thread::spawn(move || {
            let read = read_copy(&file).err();
            let restored = restore_copy(&file, &place, None).err();
            let _ = sender.send([read, restored].map(|error| error.map(|e| e.to_string())));
        });
        let told = answer.recv_timeout(std::time::Duration::from_secs(20));
        for error in told.unwrap_or_else(|_| panic!("{shown}: it hangs")) {
            let error = error.unwrap_or_default();
            assert!(error.contains("it is no file"), "{shown}: {error}");
        }
    }
}
