use std::{io::Write as _, sync::Arc};

use super::*;
use crate::record::{Owned, Source, Stream};

const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    age: Duration::from_secs(3_600),
    free_percent: 0,
};

fn source(pod: &str) -> Arc<Source> {
    Arc::new(Source {
        namespace: "default".to_owned(),
        pod: pod.to_owned(),
        ..Source::default()
    })
}

fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap()
}

/// Adds numbered lines, which do not compress well; one commit each `step`.
fn fill(store: &Store, source: &Arc<Source>, numbers: std::ops::Range<u64>, step: usize) {
    let numbers: Vec<u64> = numbers.collect();
    for some in numbers.chunks(step) {
        let mut writer = store.writer();
        for number in some {
            let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let text = format!(
                "line {number} {noise:016x}{:016x}",
                noise.rotate_left(17) ^ number
            );
            writer.push(&Record {
                source: source.clone(),
                stream: Stream::Stdout,
                time: now(),
                text: text.as_bytes(),
            });
        }
        writer.commit(None);
    }
}

fn number(record: &Owned) -> u64 {
    let text = String::from_utf8_lossy(&record.text);
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

fn drain(tail: &mut Tail) -> Vec<u64> {
    std::iter::from_fn(|| tail.next().unwrap().as_ref().map(number)).collect()
}

#[test]
fn tails_see_everything_once_whatever_becomes_of_blocks_and_processes() {
    let home = tempfile::tempdir().unwrap();
    let source = source("web");
    let (mut place, mut seen) = (Place::default(), Vec::new());
    for round in 0..6_u64 {
        let (store, _) = Store::open(home.path(), LIMITS).unwrap();
        let store = Arc::new(store);
        let mut tail = Tail::new(store.clone(), place);
        for part in 0..4 {
            let from = round * 40_000 + part * 10_000;
            fill(&store, &source, from..from + 10_000, 997);
            seen.extend(drain(&mut tail));
        }
        assert_eq!(tail.take_missed(), 0, "round {round}");
        place = tail.place();
        // Not synced, not closed: as after a kill.
    }
    let wanted: Vec<u64> = (0..240_000).collect();
    assert!(seen == wanted, "{} records", seen.len());
    let (store, _) = Store::open(home.path(), LIMITS).unwrap();
    assert!(store.snapshot().0.segments.len() > 1 || store.snapshot().0.segments[0].blocks > 5);
}

#[test]
fn what_was_removed_before_it_was_read_is_counted() {
    let home = tempfile::tempdir().unwrap();
    let limits = Limits {
        bytes: MIN_BYTES,
        ..LIMITS
    };
    let (store, _) = Store::open(home.path(), limits).unwrap();
    let store = Arc::new(store);
    let source = source("web");
    let mut tail = Tail::new(store.clone(), Place::default());
    fill(&store, &source, 0..1_000, 1_000);
    let mut seen = drain(&mut tail).len() as u64;
    fill(&store, &source, 1_000..600_000, 5_000);
    assert!(store.bytes() <= MIN_BYTES + (2 << 20), "{}", store.bytes());
    let rest = drain(&mut tail);
    seen += rest.len() as u64;
    assert_eq!(rest.last(), Some(&599_999));
    assert!(
        rest.windows(2)
            .filter(|pair| pair[1] != pair[0] + 1)
            .count()
            <= 1
    );
    let missed = tail.take_missed();
    assert!(missed > 0);
    assert_eq!(seen + missed, 600_000);
}

#[test]
fn old_segments_go() {
    let home = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(home.path(), LIMITS).unwrap();
    fill(&store, &source("web"), 0..200_000, 5_000);
    let is_empty = || store.snapshot().0.segments.is_empty();
    assert!(!is_empty());
    store.trim(jiff::Timestamp::now());
    assert!(!is_empty());
    store.trim(jiff::Timestamp::now() + jiff::SignedDuration::from_secs(3_700));
    assert!(is_empty());
    fill(&store, &source("web"), 200_000..200_001, 1);
    let (snapshot, place) = store.snapshot();
    assert_eq!((snapshot.segments.len(), place.record), (0, 200_001));
}

#[test]
fn whoever_fills_the_disk_does_not_take_all_logs() {
    let home = tempfile::tempdir().unwrap();
    let limits = Limits {
        bytes: MIN_BYTES,
        // Never free.
        free_percent: 101,
        ..LIMITS
    };
    let (store, _) = Store::open(home.path(), limits).unwrap();
    fill(&store, &source("web"), 0..500_000, 5_000);
    for _ in 0..8 {
        store.trim(jiff::Timestamp::now());
    }
    let after = store.bytes();
    let least = MIN_BYTES / RESERVE - 2 * MIN_BYTES / SEGMENTS_MIN;
    assert!((least..=MIN_BYTES / RESERVE).contains(&after), "{after}");
}

#[test]
fn a_torn_end_is_cut_off_and_gone_on_from() {
    let source = source("web");
    for torn in ["head", "blocks", "index"] {
        let home = tempfile::tempdir().unwrap();
        let (store, _) = Store::open(home.path(), LIMITS).unwrap();
        fill(&store, &source, 0..20_000, 1_000);
        drop(store);
        let files = fs::read_dir(home.path())
            .unwrap()
            .map(|file| file.unwrap().path());
        let file = files
            .into_iter()
            .find(|path| path.to_string_lossy().ends_with(torn));
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(file.unwrap())
            .unwrap();
        file.write_all(&[7; 5_000]).unwrap();
        let (store, _) = Store::open(home.path(), LIMITS).unwrap();
        let store = Arc::new(store);
        fill(&store, &source, 20_000..40_000, 1_000);
        let seen = drain(&mut Tail::new(store.clone(), Place::default()));
        assert!(
            seen == (0..40_000).collect::<Vec<_>>(),
            "{torn}: {}",
            seen.len()
        );
    }
}

#[test]
fn positions_go_with_the_records_that_they_are_of() {
    let home = tempfile::tempdir().unwrap();
    let log = home.path().join("0.log");
    fs::write(&log, [b'x'; 100]).unwrap();
    let file = crate::positions::FileId::of(&fs::File::open(&log).unwrap())
        .unwrap()
        .unwrap();
    let kept = home.path().join("kept");
    let (store, before) = Store::open(&kept, LIMITS).unwrap();
    assert!(before.is_empty());
    for offset in [10, 20] {
        let mut writer = store.writer();
        writer.push(&Record {
            source: source("web"),
            stream: Stream::Stderr,
            time: 1,
            text: b"text",
        });
        assert!(!writer.commit(Some(&Position { file, offset })));
    }
    drop(store);
    let (_, positions) = Store::open(&kept, LIMITS).unwrap();
    assert_eq!(positions.last(), Some(&Position { file, offset: 20 }));
}
