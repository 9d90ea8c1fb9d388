use super::*;

const NAMES: [&str; 2] = ["client", "step"];
const FILE: &str = "\
client\tstep\tstate\tseconds\treason
helm\tinstall\tpass\t1.5
helm\ttest\tfail\t0.2\tno Jobs
k9s\tpods\tskip\t0.0\tno tmux
";

fn key(client: &str, step: &str) -> Key<2> {
    [client.to_owned(), step.to_owned()]
}

fn outcome(state: State, seconds: f64, reason: &str) -> Outcome {
    Outcome {
        state,
        seconds,
        reason: reason.to_owned(),
    }
}

fn record(rows: &[(&str, &str, State)]) -> Record<2> {
    let mut record = Record::default();
    for (client, step, state) in rows {
        record.add(key(client, step), outcome(*state, 1.0, ""));
    }
    record
}

#[test]
fn files_survive_a_round_trip() {
    let record: Record<2> = Record::parse(FILE).unwrap();
    assert_eq!(record.text(NAMES), FILE);
    assert_eq!(record.get(&key("helm", "test")).unwrap().reason, "no Jobs");
    assert_eq!(record.count(State::Fail), 1);
}

#[test]
fn faulty_files_are_refused_with_the_line() {
    let cases = [
        ("h\na\tb\tpass\t1.0\nhelm\n", "line 3"),
        (
            "h\na\tb\twell\t1.0\n",
            "line 2: no state is called \"well\"",
        ),
        ("h\na\tb\tpass\tlong\n", "line 2: \"long\" is no duration"),
        (
            "h\na\tb\tfail\t1.0\tr\tx\n",
            "line 2: more columns than names",
        ),
        (
            "h\na\tb\tpass\t1.0\na\tb\tpass\t1.0\n",
            "line 3 repeats a key",
        ),
    ];
    for (text, wanted) in cases {
        let error = format!("{:#}", Record::<2>::parse(text).unwrap_err());
        assert!(error.starts_with(wanted), "{text:?}: {error}");
    }
}

#[test]
fn a_missing_file_is_an_empty_record() {
    let record = Record::<1>::load(Path::new("/nonexistent/record.tsv")).unwrap();
    assert_eq!(record.iter().count(), 0);
}

#[test]
fn outcomes_fit_in_a_row_and_the_worse_of_two_stands() {
    let mut record = Record::<2>::default();
    let long = format!("first\tline\nsecond {}", "x".repeat(1_000));
    record.add(key("a\tb", "c\n"), outcome(State::Fail, 1.0, &long));
    record.add(key("a b", "c"), outcome(State::Pass, 1.0, ""));
    let kept = record.get(&key("a b", "c")).unwrap();
    assert_eq!(kept.state, State::Fail);
    assert!(kept.reason.starts_with("first line second xxx"));
    assert_eq!(kept.reason.chars().count(), REASON_CHARS);
}

#[test]
fn what_is_worse_than_the_record_is_a_regression() {
    use State::{Fail, Pass, Skip};
    let known = record(&[
        ("a", "passes still", Pass),
        ("a", "fails now", Fail),
        ("a", "failed", Pass),
        ("a", "cannot be tried now", Pass),
        ("a", "is silent", Pass),
        ("a", "failed and is silent", Fail),
        ("b", "was not run", Pass),
    ]);
    let run = record(&[
        ("a", "passes still", Pass),
        ("a", "fails now", Pass),
        ("a", "failed", Fail),
        ("a", "cannot be tried now", Skip),
        ("a", "new and passes", Pass),
        ("a", "new and fails", Fail),
        ("a", "new and cannot be tried", Skip),
    ]);
    let changes = known.changes(&run, |[client, _]| client == "a");
    let steps = |keys: &[Key<2>]| -> Vec<String> { keys.iter().map(|k| k[1].clone()).collect() };
    assert_eq!(
        steps(&changes.regressions),
        [
            "cannot be tried now",
            "failed",
            "is silent",
            "new and fails"
        ]
    );
    assert_eq!(steps(&changes.passes), ["fails now", "new and passes"]);
}

#[test]
fn a_new_record_keeps_what_was_looked_at_and_what_was_not_run() {
    let mut record = Record::parse(FILE).unwrap();
    record.add(key("helm", "gone"), outcome(State::Pass, 1.0, ""));
    let mut run = Record::default();
    run.add(key("helm", "install"), outcome(State::Pass, 2.0, ""));
    run.add(
        key("helm", "test"),
        outcome(State::Fail, 9.0, "exit code 1"),
    );
    run.add(key("helm", "lint"), outcome(State::Fail, 1.0, "new"));
    record.update(run, |[client, _]| client == "helm");
    assert_eq!(
        record.text(NAMES),
        "\
client\tstep\tstate\tseconds\treason
helm\tinstall\tpass\t1.5
helm\tlint\tfail\t1.0\tnew
helm\ttest\tfail\t9.0\tno Jobs
k9s\tpods\tskip\t0.0\tno tmux
"
    );
}
