use serde_json::json;

use super::*;
use crate::testing::object;

/// What a container of some age is like.
struct Case {
    kind: Kind,
    probe: Probe,
    /// Its age when probing begins, in milliseconds.
    age: u64,
    known: bool,
    /// When it begins to answer, after its start; never, if there is none.
    up: Option<u64>,
}

fn case(kind: Kind, delay: i32, period: i32) -> Case {
    Case {
        kind,
        probe: object(json!({ "initialDelaySeconds": delay, "periodSeconds": period })),
        age: 0,
        known: false,
        up: None,
    }
}

/// The first probes as milliseconds since the container's start: `+` a success, `-` a failure, `.` one that is early.
async fn shown(case: &Case, count: usize) -> String {
    let begun = Instant::now();
    tokio::time::advance(Duration::from_millis(case.age)).await;
    let mut ticks = Ticks::start(begun, &case.probe, case.kind, case.known).await;
    let mut found = Vec::new();
    for _ in 0..count {
        let at = begun.elapsed();
        let is_up = case.up.is_some_and(|up| at >= Duration::from_millis(up));
        let (outcome, mark) = match (is_up, ticks.early()) {
            (true, _) => (Outcome::Success, '+'),
            (false, true) => (Outcome::Failure(String::new()), '.'),
            (false, false) => (Outcome::Failure(String::new()), '-'),
        };
        found.push(format!("{}{mark}", at.as_millis()));
        ticks.next(&outcome).await;
    }
    found.join(" ")
}

#[tokio::test(start_paused = true)]
async fn a_liveness_probe_comes_a_period_after_the_start() {
    for (delay, period, age, expected) in [
        (0, 10, 0, "10000- 20000- 30000-"),
        (0, 1, 0, "1000- 2000- 3000-"),
        (3, 10, 0, "10000- 20000- 30000-"),
        (30, 10, 0, "30000- 40000- 50000-"),
        // The startup probe has succeeded after a while, or the kubelet has been started again.
        (0, 10, 4_000, "10000- 20000- 30000-"),
        (0, 10, 25_000, "25000- 35000- 45000-"),
        (30, 10, 25_000, "30000- 40000- 50000-"),
    ] {
        let case = Case {
            age,
            ..case(Kind::Liveness, delay, period)
        };
        let what = format!("delay {delay}, period {period}, age {age}");
        assert_eq!(shown(&case, 3).await, expected, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn early_failures_are_silent_until_a_period_after_the_start() {
    let early = "0. 10. 30. 70. 150. 310. 630.";
    for (delay, period, expected) in [
        (0, 10, format!("{early} 1270. 10000- 20000-")),
        (0, 2, format!("{early} 1270. 2000- 4000-")),
        (0, 1, format!("{early} 1000- 2000- 3000-")),
        (5, 20, "5000- 25000- 45000-".to_owned()),
    ] {
        for kind in [Kind::Readiness, Kind::Startup] {
            let count = expected.split(' ').count();
            let found = shown(&case(kind, delay, period), count).await;
            assert_eq!(found, expected, "{kind:?}, delay {delay}, period {period}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_answers_soon_is_ready_soon() {
    for (up, age, known, expected) in [
        (0, 0, false, "0+ 10000+ 20000+"),
        (5, 0, false, "0. 10+ 10010+"),
        (200, 0, false, "0. 10. 30. 70. 150. 310+ 10310+"),
        (
            1_200,
            0,
            false,
            "0. 10. 30. 70. 150. 310. 630. 1270+ 11270+",
        ),
        // The kubelet has been started again.
        (0, 25_000, false, "25000+ 35000+"),
        (0, 3_000, true, "3000+ 13000+"),
        (90_000, 3_000, true, "3000- 13000-"),
        (90_000, 3_000, false, "3000. 10000- 20000-"),
        (90_000, 25_000, false, "25000- 35000-"),
    ] {
        let case = Case {
            up: Some(up),
            age,
            known,
            ..case(Kind::Readiness, 0, 10)
        };
        let count = expected.split(' ').count();
        let what = format!("up at {up}, age {age}, known {known}");
        assert_eq!(shown(&case, count).await, expected, "{what}");
    }
}
