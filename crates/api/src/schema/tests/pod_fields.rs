//! `docs/pod-fields.tsv`: every field that a pod may have, with the test that would fail if it were ignored.
//!
//! The third column is one of these: `FILE::NAME`, a test, or one of the checks of an end-to-end suite; `[sig-…`, a spec of upstream's
//! that passes (`docs/conformance.tsv`); `gate NAME`, of a feature that is switched off, whose fields are dropped. A field that has no
//! test says in the fourth column what lacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::*;

/// Fields without a test. It may only fall.
const LACKING: usize = 74;

const POD_SPEC: &str = "io.k8s.api.core.v1.PodSpec";
/// What is of other packages (selectors, quantities, metadata) has tests of its own.
const PACKAGE: &str = "io.k8s.api.core.v1.";

/// The gate of each field that a pod may have, by type and name.
fn fields() -> BTreeMap<(&'static str, &'static str), Option<&'static str>> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut left = vec![schema(POD_SPEC).definition().unwrap()];
    while let Some(definition) = left.pop() {
        if !definition.name.starts_with(PACKAGE) || !seen.insert(definition.name) {
            continue;
        }
        for field in definition.fields() {
            let gate = field.schema.marks.as_ref().and_then(|marks| marks.gate);
            found.insert((definition.short_name(), field.name), gate);
            if gate.is_none() {
                left.extend(inner(&field.schema));
            }
        }
    }
    found
}

fn inner(schema: &'static Schema) -> Option<&'static Definition> {
    match &schema.ty {
        Type::List(element) | Type::Map(element) => inner(element),
        _ => schema.definition(),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

/// Files are read once each.
#[derive(Default)]
struct Files(BTreeMap<String, String>);

impl Files {
    fn of(&mut self, path: &str) -> &str {
        let read = || read(path);
        self.0.entry(path.to_owned()).or_insert_with(read)
    }

    /// Whether a file has a test of this name. Checks of the end-to-end suites are plain functions.
    fn has(&mut self, path: &str, name: &str) -> bool {
        let lines: Vec<&str> = self.of(path).lines().map(str::trim_start).collect();
        let plain = path.starts_with("tests/tests/");
        let defines = |line: &str| {
            let line = line.strip_prefix("async ").unwrap_or(line);
            line.strip_prefix("fn ")
                .and_then(|rest| rest.strip_prefix(name))
                .is_some_and(|rest| rest.starts_with('('))
        };
        let is_test = |index: usize| {
            let mut above = lines[..index].iter().rev();
            above
                .by_ref()
                .take_while(|line| line.starts_with('#'))
                .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
        };
        let mut found = lines.iter().enumerate().filter(|(_, line)| defines(line));
        found.any(|(index, _)| plain || is_test(index))
    }
}

/// Whether a row's test is one.
fn exists(test: &str, gate: Option<&str>, specs: &BTreeSet<&str>, files: &mut Files) -> bool {
    if let Some(named) = test.strip_prefix("gate ") {
        return gate == Some(named);
    }
    if test.starts_with('[') {
        return specs.contains(test);
    }
    test.split_once("::")
        .is_some_and(|(path, name)| files.has(path, name))
}

#[test]
fn every_field_of_a_pod_has_a_test_or_says_what_lacks() {
    let (table, recorded) = (read("docs/pod-fields.tsv"), read("docs/conformance.tsv"));
    let passing = recorded.lines().filter_map(|line| {
        let (name, rest) = line.split_once('\t')?;
        (rest.split('\t').next() == Some("pass")).then_some(name)
    });
    let specs: BTreeSet<&str> = passing.collect();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("type\tfield\ttest\tlacks"));
    let fields = fields();
    let (mut files, mut rows, mut lacking) = (Files::default(), Vec::new(), 0);
    for line in lines {
        let columns: Vec<&str> = line.split('\t').collect();
        let [ty, field, test, lacks] = columns[..] else {
            panic!("not four columns: {line:?}");
        };
        assert!(
            test.is_empty() != lacks.is_empty(),
            "a test or what lacks: {line:?}"
        );
        let gate = fields.get(&(ty, field)).copied().flatten();
        if lacks.is_empty() {
            assert!(
                exists(test, gate, &specs, &mut files),
                "no such test: {line:?}"
            );
        } else {
            lacking += 1;
        }
        rows.push((ty, field));
    }
    let known: Vec<_> = fields.keys().copied().collect();
    let missing: Vec<_> = known.iter().filter(|key| !rows.contains(key)).collect();
    assert!(missing.is_empty(), "without a row: {missing:?}");
    assert_eq!(
        rows, known,
        "rows are sorted, each field has one, and no other has any"
    );
    assert_eq!(
        lacking, LACKING,
        "fields without a test: the number may only fall"
    );
}

#[test]
fn a_test_that_is_none_is_noticed() {
    let mut files = Files::default();
    let own = "crates/api/src/schema/tests/pod_fields.rs";
    let specs = BTreeSet::from(["[sig-x] passes"]);
    for (test, gate, wanted) in [
        (
            &*format!("{own}::a_test_that_is_none_is_noticed"),
            None,
            true,
        ),
        (&format!("{own}::a_test_that_is_none"), None, false),
        // No test.
        (&format!("{own}::exists"), None, false),
        ("crates/api/src/nowhere.rs::a", None, false),
        ("[sig-x] passes", None, true),
        ("[sig-x] fails", None, false),
        ("gate A", Some("A"), true),
        ("gate A", Some("B"), false),
        ("gate A", None, false),
        ("", None, false),
    ] {
        assert_eq!(exists(test, gate, &specs, &mut files), wanted, "{test}");
    }
}
