use super::*;

fn index(entries: &[(&str, u64, bool)]) -> Index {
    let mut index = Index::default();
    for (key, revision, deleted) in entries {
        index.push(Arc::from(*key), Stamp::new(*revision, *deleted));
    }
    index
}

fn keys(
    index: &Index,
    prefix: &str,
    start_after: Option<&str>,
    limit: usize,
    at: u64,
) -> (Vec<(String, u64)>, u64) {
    let (found, remaining) = index.range(prefix, start_after, limit, at);
    (
        found
            .into_iter()
            .map(|(key, revision)| (key.to_string(), revision))
            .collect(),
        remaining,
    )
}

#[test]
fn a_revision_shows_what_was_newest_then() {
    let index = index(&[
        ("a", 2, false),
        ("a", 4, false),
        ("a", 6, true),
        ("a", 8, false),
    ]);
    let at = |revision| {
        index
            .at("a", revision)
            .map(|(_, stamp)| (stamp.revision(), stamp.deleted()))
    };
    let seen: Vec<_> = (1..=9).map(at).collect();
    let (two, four, six, eight) = (
        Some((2, false)),
        Some((4, false)),
        Some((6, true)),
        Some((8, false)),
    );
    assert_eq!(seen, [None, two, two, four, four, six, six, eight, eight]);
    assert_eq!(index.before("a", 8).map(Stamp::revision), Some(6));
    assert_eq!(index.before("a", 2), None);
}

#[test]
fn ranges_page_and_count() {
    let index = index(&[
        ("/a/1", 2, false),
        ("/a/2", 3, false),
        ("/a/3", 4, false),
        ("/b/1", 5, false),
        ("/a/2", 6, true),
    ]);
    let one = ("/a/1".to_owned(), 2);
    let two = ("/a/2".to_owned(), 3);
    let three = ("/a/3".to_owned(), 4);
    assert_eq!(
        keys(&index, "/a/", None, 0, 9),
        (vec![one.clone(), three.clone()], 0)
    );
    assert_eq!(keys(&index, "/a/", None, 1, 5), (vec![one], 2));
    assert_eq!(keys(&index, "/a/", Some("/a/1"), 1, 5), (vec![two], 1));
    assert_eq!(keys(&index, "/a/", Some("/a/2"), 1, 5), (vec![three], 0));
    assert_eq!(keys(&index, "/a/", Some("/a/3"), 1, 5), (vec![], 0));
    assert_eq!(
        keys(&index, "/b/", Some("/a/9"), 0, 9).0.len(),
        1,
        "a start before the prefix starts at the prefix"
    );
    assert_eq!(keys(&index, "", None, 0, 9).0.len(), 3);
}

#[test]
fn removal_leaves_the_rest_and_forgets_empty_keys() {
    let mut index = index(&[("a", 2, false), ("a", 3, false), ("a", 4, true)]);
    index.remove("a", 2);
    assert_eq!(index.at("a", 2), None);
    assert_eq!(index.at("a", 3).map(|(_, stamp)| stamp.revision()), Some(3));
    index.remove("a", 3);
    index.remove("a", 4);
    assert_eq!(index.last("a"), None);
    assert!(index.keys.is_empty());
}
