use expect_test::expect;

use super::*;

fn record(rows: &[(&str, State, f64, &str)]) -> Record<1> {
    let mut record = Record::default();
    for (name, state, seconds, reason) in rows {
        let outcome = Outcome {
            state: *state,
            seconds: *seconds,
            reason: (*reason).to_owned(),
        };
        record.add([(*name).to_owned()], outcome);
    }
    record
}

#[test]
fn the_page_tells_what_passes_and_why_not() {
    let ours = record(&[
        ("[sig-apps] Job", State::Fail, 1.0, "no Jobs"),
        ("[sig-node] Pods", State::Pass, 9.0, ""),
        (
            "[sig-node] Two",
            State::Fail,
            1.0,
            "not on one machine: wants two nodes",
        ),
    ]);
    let upstream = record(&[("[sig-node] Pods", State::Pass, 3.0, "")]);
    let text = page(&ours, &upstream);
    let tables = text.split_once(" pass.\n\n").unwrap().1;
    expect![[r#"
        | group | passed | of | seconds | upstream passed | upstream seconds |
        |---|---:|---:|---:|---:|---:|
        | sig-apps | 0 | 1 | 1 | - | - |
        | sig-node | 1 | 2 | 10 | 1 | 3 |

        ## What fails

        | spec | reason |
        |---|---|
        | [sig-apps] Job | no Jobs |

        ## What cannot pass on one machine

        | spec | reason |
        |---|---|
        | [sig-node] Two | wants two nodes |

        ## Where upstream is faster

        | spec | seconds | upstream |
        |---|---:|---:|
        | [sig-node] Pods | 9.0 | 3.0 |
    "#]]
    .assert_eq(tables);
}

#[test]
fn the_readme_keeps_one_line() {
    let ours = record(&[("[sig-node] Pods", State::Pass, 9.0, "")]);
    let readme = "# knarr\n\nConformance: none yet.\n\nMore.\n";
    let line = line(&ours);
    assert!(line.contains("1 of the 1 specs"), "{line}");
    assert_eq!(
        with_line(readme, &line),
        format!("# knarr\n\n{line}\n\nMore.\n")
    );
}
