use std::collections::HashSet;

use super::{
    images::{self, Image, Known, Policy},
    *,
};

const MINUTE: Duration = Duration::from_secs(60);

fn policy() -> Policy {
    Policy {
        high: 85,
        low: 80,
        least_age: 2 * MINUTE,
        most_age: Duration::ZERO,
    }
}

fn image(id: &str, pinned: bool) -> v1::Image {
    v1::Image {
        id: id.to_owned(),
        repo_tags: vec![format!("{id}:latest")],
        size: 10,
        pinned,
        ..Default::default()
    }
}

fn ids(images: &[Image]) -> Vec<&str> {
    images.iter().map(|image| image.id.as_str()).collect()
}

#[test]
fn disks_that_are_too_full() {
    const GIB: u64 = 1 << 30;
    for (capacity, available, expected) in [
        (100 * GIB, 16 * GIB, None),
        (100 * GIB, 15 * GIB, Some((85, 5 * GIB))),
        (100 * GIB, 0, Some((100, 20 * GIB))),
        (100 * GIB, 200 * GIB, None),
    ] {
        let excess = policy().excess(capacity, available);
        assert_eq!(excess, expected, "{available} of {capacity}");
    }
    let never = Policy {
        high: 100,
        ..policy()
    };
    assert!(never.is_never() && !policy().is_never());
}

#[test]
fn the_least_recently_used_goes_first_and_the_used_and_the_pinned_stay() {
    let start = Instant::now();
    let mut known = Known::default();
    let listed = [
        image("a", false),
        image("b", false),
        image("c", false),
        image("p", true),
    ];
    let used = |names: &[&str]| -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    };
    let unused = known.notice(&listed, &used(&["a:latest", "b"]), start);
    assert_eq!(ids(&unused), ["c"]);
    let unused = known.notice(&listed, &used(&["a"]), start + MINUTE);
    assert_eq!(
        ids(&unused),
        ["c", "b"],
        "never used before used a minute ago"
    );
    let unused = known.notice(&listed, &used(&[]), start + 2 * MINUTE);
    assert_eq!(ids(&unused), ["c", "b", "a"]);
    known.forget("c");
    let unused = known.notice(&listed, &used(&[]), start + 3 * MINUTE);
    let again = unused.iter().find(|image| image.id == "c").unwrap();
    assert!(!policy().may_go(again, start + 4 * MINUTE));
    assert!(policy().may_go(again, start + 5 * MINUTE));
}

#[test]
fn age_counts_from_the_last_use() {
    let start = Instant::now();
    let policy = Policy {
        most_age: 60 * MINUTE,
        ..policy()
    };
    let of = |used: Option<Instant>| Image {
        id: "a".to_owned(),
        size: 1,
        detected: start,
        used,
    };
    for (used, after, expected) in [
        (None, 60, false),
        (None, 61, true),
        (Some(start + 30 * MINUTE), 61, false),
        (Some(start + 30 * MINUTE), 91, true),
    ] {
        assert_eq!(
            policy.is_too_old(&of(used), start + after * MINUTE),
            expected
        );
    }
}

#[test]
fn sizes_are_for_people() {
    for (bytes, text) in [
        (1_023, "1023 B"),
        (1_536, "1.5 KiB"),
        (20 << 20, "20.0 MiB"),
        (5 << 40, "5.0 TiB"),
    ] {
        assert_eq!(images::size(bytes), text);
    }
}
