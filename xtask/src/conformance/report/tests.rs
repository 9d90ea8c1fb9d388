use expect_test::expect;

use super::*;

const PASSED: &str = "\
Running Suite: Kubernetes e2e suite - /tmp
Will run 1 of 7094 specs
•

Ran 1 of 7094 Specs in 2.500 seconds
SUCCESS! -- 1 Passed | 0 Failed | 0 Pending | 7093 Skipped
PASS
";

const FAILED: &str = "\
Will run 1 of 7094 specs
• [FAILED] [0.107 seconds]
[sig-apps] Job should run [Conformance]
k8s.io/kubernetes/test/e2e/apps/job.go:100

  Timeline >>
  [FAILED] in [It] - k8s.io/kubernetes/test/e2e/apps/job.go:110 @ 11/29/26 09:00:00.000
  << Timeline

  [FAILED] failed to create job: the server could not find the requested resource
  In [It] at: k8s.io/kubernetes/test/e2e/apps/job.go:110 @ 11/29/26 09:00:00.000
------------------------------
Summarizing 1 Failure:
  [FAIL] [sig-apps] Job [It] should run [Conformance]

Ran 1 of 7094 Specs in 0.120 seconds
FAIL! -- 0 Passed | 1 Failed | 0 Pending | 7093 Skipped
";

const SKIPPED: &str = "\
S [SKIPPED] [0.050 seconds]
  [SKIPPED] Requires at least 2 nodes
  In [BeforeEach] at: k8s.io/kubernetes/test/e2e/x.go:1 @ 11/29/26 09:00:00.000
Ran 0 of 7094 Specs in 0.060 seconds
SUCCESS! -- 0 Passed | 0 Failed | 0 Pending | 7094 Skipped
";

#[test]
fn the_output_tells_the_outcome() {
    let passed = read(PASSED).unwrap();
    assert_eq!((passed.state, passed.seconds), (State::Pass, 2.5));
    assert_eq!(passed.reason, "");

    let failed = read(FAILED).unwrap();
    assert_eq!((failed.state, failed.seconds), (State::Fail, 0.12));
    expect!["failed to create job: the server could not find the requested resource"]
        .assert_eq(&failed.reason);

    let skipped = read(SKIPPED).unwrap();
    assert_eq!(skipped.state, State::Fail);
    expect!["skips itself: Requires at least 2 nodes"].assert_eq(&skipped.reason);
}

#[test]
fn an_output_that_says_nothing_is_no_outcome() {
    assert!(read("panic: runtime error\n").is_err());
    let two = PASSED.replace("Ran 1 of", "Ran 2 of");
    assert!(read(&two).is_err());
}

#[test]
fn a_table_counts_by_group() {
    let outcome = |state| Outcome {
        state,
        seconds: 2.0,
        reason: String::new(),
    };
    let (pass, fail) = (outcome(State::Pass), outcome(State::Fail));
    let rows = [
        ("[sig-node] a", &pass),
        ("[sig-node] b", &fail),
        ("[sig-apps] c", &pass),
    ];
    expect![[r#"
        group                  passed       of    seconds
        sig-apps                    1        1          2
        sig-node                    1        2          4
        all                         2        3          6
    "#]]
    .assert_eq(&table(&count(rows.into_iter())));
}
