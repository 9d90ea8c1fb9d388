//! Power failures: every write and sync of the store's data file is recorded, and the store is opened on what a disk may hold
//! that lost power in between.
//!
//! The model is that of a disk with a volatile cache. What was written before a sync that returned is there. Of what was
//! written since, each sector of 512 bytes is there or not, whatever its neighbours or older writes (torn and reordered
//! writes); a file that grew may have its old length, its new one or one in between. A write through a descriptor with
//! `O_DSYNC` is there once it has returned. Sectors are atomic. Directory entries are not modelled: the file is made and renamed
//! before the recording begins.
//!
//! LMDB is linked statically and calls `pwrite`, `writev` and `fdatasync` by name, so that functions of those names in this
//! binary are called instead of libc's: no tracing, no file system of its own.
//!
//! `KNARR_CRASH_POINTS` sets the number of images (300 by default, 10 000 with `./x test --soak`).

#![allow(clippy::print_stdout)]

#[path = "crash_images/image.rs"]
mod image;
#[path = "crash_images/record.rs"]
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::Disk;
use knarr_store::{Embedded, Op, Options, Outcome, Store};
use record::Step;

const POINTS: &str = "KNARR_CRASH_POINTS";
const DEFAULT_POINTS: usize = 300;
const WRITERS: usize = 4;
const KEYS_PER_WRITER: usize = 8;
const WRITES_PER_WRITER: usize = 120;
/// The store is closed and opened again so often during the load.
const SESSIONS: usize = 3;

/// Keys and their values.
type State = BTreeMap<String, Vec<u8>>;
/// What each revision did: a key, and its value unless it was deleted.
type History = BTreeMap<u64, (String, Option<Vec<u8>>)>;

#[test]
fn a_crash_at_any_point_loses_nothing_that_was_acknowledged() {
    let points = std::env::var(POINTS).map_or(DEFAULT_POINTS, |n| n.parse().expect("a number"));
    let seed = std::env::var("KNARR_CRASH_SEED")
        .map_or_else(|_| fastrand::u64(..), |n| n.parse().expect("a number"));
    println!("{points} crash points, KNARR_CRASH_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir_in(memory()).expect("directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("runtime");
    let (before, steps, history) = runtime.block_on(load(&dir.path().join("live"), random.fork()));
    let states = states(&history);
    let mut disk = Disk::new(before);
    let mut acknowledged = 1;
    let writes = steps.len();
    let mut images = 0;
    for (n, step) in steps.into_iter().enumerate() {
        if let Step::Acknowledged(revision) = step {
            acknowledged = acknowledged.max(revision);
            continue;
        }
        // Spread evenly, whatever the ratio.
        while images * writes < points * (n + 1) {
            images += 1;
            let place = dir.path().join(format!("image-{images}"));
            std::fs::create_dir(&place).expect("directory");
            let bytes = disk.image(&step, &mut random);
            std::fs::write(place.join("data.mdb"), bytes).expect("an image");
            let what = format!("image {images} at step {n} of {writes}");
            runtime.block_on(verify(&place, acknowledged, &states, &what));
            std::fs::remove_dir_all(&place).expect("removed");
        }
        disk.apply(step);
    }
    assert!(images >= points, "{images} images");
    println!("{images} images of {writes} steps, {acknowledged} revisions: nothing lost");
}

/// Where syncs cost nothing.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => memory.to_owned(),
        false => std::env::temp_dir(),
    }
}

/// The data file before the load, what happened to it, and what the store was told meanwhile.
async fn load(dir: &Path, mut random: fastrand::Rng) -> (Vec<u8>, Vec<Step>, History) {
    drop(open(dir));
    let data = dir.join("data.mdb");
    let before = std::fs::read(&data).expect("the data file");
    let recording = record::start(&data);
    let mut history = History::new();
    for _ in 0..SESSIONS {
        let store = Arc::new(open(dir));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| tokio::spawn(write(store.clone(), writer, random.fork())))
            .collect();
        for writer in writers {
            history.extend(writer.await.expect("a writer"));
        }
        // Old pages are freed and used again.
        let revision = store.published();
        store.compact(revision - 10).await.expect("compacts");
    }
    (before, recording.stop(), history)
}

async fn write(store: Arc<Embedded>, writer: usize, mut random: fastrand::Rng) -> History {
    let mut history = History::new();
    for n in 0..WRITES_PER_WRITER {
        let key = format!("/{writer}/{}", random.usize(..KEYS_PER_WRITER));
        let value = vec![b'a' + (n % 26) as u8; random.usize(..6000)];
        let there = store.get(&key, None).await.expect("get").1.is_some();
        let (op, value) = match there && random.u8(..5) == 0 {
            true => (Op::delete(&*key), None),
            false => (Op::put(&*key, value.clone()), Some(value)),
        };
        let Outcome::Committed { revision, .. } = store.commit(op).await.expect("committed") else {
            panic!("nothing is expected of {key}")
        };
        record::acknowledged(revision);
        history.insert(revision, (key, value));
    }
    history
}

fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, Options::default()).expect("opens")
}

/// The state after each revision; of an empty store it is 1.
fn states(history: &History) -> Vec<State> {
    let mut states = vec![State::new(), State::new()];
    for (revision, (key, value)) in history {
        assert_eq!(*revision as usize, states.len(), "no revision is missing");
        let mut state = states[states.len() - 1].clone();
        match value {
            Some(value) => state.insert(key.clone(), value.clone()),
            None => state.remove(key),
        };
        states.push(state);
    }
    states
}

/// What a server finds after the power came back.
async fn verify(dir: &Path, acknowledged: u64, states: &[State], what: &str) {
    let store = match Embedded::open(dir, Options::default()) {
        Ok(store) => store,
        Err(error) => panic!("{what}: does not open: {error}"),
    };
    let revision = store.published();
    assert!(
        revision >= acknowledged,
        "{what}: {revision} of {acknowledged} acknowledged revisions"
    );
    let page = store.range("", None, 0, None).await.expect("range");
    let found: State = page
        .kvs
        .into_iter()
        .map(|kv| (kv.key.to_string(), kv.value.to_vec()))
        .collect();
    assert!(
        found == states[revision as usize],
        "{what}: not the state of revision {revision}"
    );
    let next = store.commit(Op::put("/after", "the crash")).await;
    assert!(
        matches!(next, Ok(Outcome::Committed { revision: at, .. }) if at == revision + 1),
        "{what}: takes no writes: {next:?}"
    );
}
