use super::first_three;
use crate::now::{Now, human_duration};

#[test]
fn ages() {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let cases = [
        (-2, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (10 * MINUTE - 1, "9m59s"),
        (10 * MINUTE, "10m"),
        (3 * HOUR - 1, "179m"),
        (3 * HOUR, "3h"),
        (3 * HOUR + 5 * MINUTE, "3h5m"),
        (8 * HOUR, "8h"),
        (47 * HOUR, "47h"),
        (48 * HOUR, "2d"),
        (5 * DAY + 3 * HOUR, "5d3h"),
        (8 * DAY + 3 * HOUR, "8d"),
        (2 * 365 * DAY, "2y"),
        (3 * 365 * DAY + 30 * DAY, "3y30d"),
        (9 * 365 * DAY + 30 * DAY, "9y"),
    ];
    for (seconds, expected) in cases {
        assert_eq!(human_duration(seconds), expected, "{seconds}");
    }
}

#[test]
fn instants() {
    let now = 1_767_225_600; // 2026-01-01T00:00:00Z
    assert_eq!(Now::new(now).since("2025-12-31T23:59:00Z"), "60s");
    assert_eq!(Now::new(now).since("2026-01-01T00:59:30+01:00"), "30s");
    assert_eq!(Now::new(now).since("2025-12-31T23:59:00.250000Z"), "60s");
    assert_eq!(Now::new(now).since(""), "<unknown>");
    assert_eq!(Now::new(now).since("soon"), "<unknown>");
}

#[test]
fn lists_are_cut() {
    let list: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
    assert_eq!(first_three(&list[..3], "-"), "a,b,c");
    assert_eq!(first_three(&list, "-"), "a,b,c + 2 more...");
    assert_eq!(first_three(&[], "-"), "-");
}
