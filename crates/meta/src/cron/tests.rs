use expect_test::expect;
use jiff::{Timestamp, tz::TimeZone};

use super::{Schedule, zone};

fn at(text: &str) -> Timestamp {
    text.parse().expect("an instant")
}

fn schedule(text: &str) -> Schedule {
    Schedule::parse(text, TimeZone::UTC).expect(text)
}

#[test]
fn next_times() {
    for (text, after, expected) in [
        // robfig's own table, moved to whole minutes.
        (
            "0/15 * * * *",
            "2012-07-09T14:45:00Z",
            "2012-07-09T15:00:00Z",
        ),
        (
            "0/15 * * * *",
            "2012-07-09T14:59:59.5Z",
            "2012-07-09T15:00:00Z",
        ),
        (
            "20-35/15 * * * *",
            "2012-07-09T15:45:00Z",
            "2012-07-09T16:20:00Z",
        ),
        (
            "*/15 * * * *",
            "2012-12-31T23:59:45Z",
            "2013-01-01T00:00:00Z",
        ),
        (
            "0 0 9 Apr-Oct ?",
            "2012-07-09T23:35:00Z",
            "2012-08-09T00:00:00Z",
        ),
        (
            "0 0 */5 Apr,Aug,Oct Mon",
            "2012-07-09T23:35:00Z",
            "2012-08-01T00:00:00Z",
        ),
        (
            "0 0 */5 Oct Mon",
            "2012-07-09T23:35:00Z",
            "2012-10-01T00:00:00Z",
        ),
        (
            "0 0 * Feb Mon",
            "2012-07-09T23:35:00Z",
            "2013-02-04T00:00:00Z",
        ),
        (
            "0 0 * Feb Mon/2",
            "2012-07-09T23:35:00Z",
            "2013-02-01T00:00:00Z",
        ),
        ("5 10 1 * *", "2012-07-09T23:35:00Z", "2012-08-01T10:05:00Z"),
        (
            "0 0 29 Feb ?",
            "2012-07-09T23:35:00Z",
            "2016-02-29T00:00:00Z",
        ),
        // Either day suffices where neither has a star, and both are asked where one has.
        (
            "0 0 1,15 * Sun",
            "2012-07-09T00:00:00Z",
            "2012-07-15T00:00:00Z",
        ),
        (
            "0 0 1 * Sun",
            "2012-07-02T00:00:00Z",
            "2012-07-08T00:00:00Z",
        ),
        ("0 0 * * 7/1,0", "2012-07-02T00:00:00Z", "-"),
        (
            "@every 90m",
            "2012-07-09T23:35:51.5Z",
            "2012-07-10T01:05:51Z",
        ),
        (
            "@every 10ms",
            "2012-07-09T23:35:51Z",
            "2012-07-09T23:35:52Z",
        ),
        ("@yearly", "2012-07-09T23:35:00Z", "2013-01-01T00:00:00Z"),
        ("@monthly", "2012-07-09T23:35:00Z", "2012-08-01T00:00:00Z"),
        ("@weekly", "2012-07-09T23:35:00Z", "2012-07-15T00:00:00Z"),
        ("@midnight", "2012-07-09T23:35:00Z", "2012-07-10T00:00:00Z"),
        ("@hourly", "2012-07-09T23:00:00Z", "2012-07-10T00:00:00Z"),
        // These days never come.
        ("0 0 30 2 *", "2012-07-09T23:35:00Z", "-"),
        ("59 23 31 4 ?", "2012-07-09T23:35:00Z", "-"),
        (", * * * *", "2012-07-09T23:35:00Z", "-"),
        ("* * * * *", "9999-12-30T21:59:59Z", "-"),
        ("0 0 1 1 *", "9999-06-30T00:00:00Z", "-"),
        ("@every 999999h", "9999-06-30T00:00:00Z", "-"),
        (
            "* * * * *",
            "1969-12-31T23:59:59.5Z",
            "1970-01-01T00:00:00Z",
        ),
        (
            "* * * * *",
            "1969-12-31T23:58:59.5Z",
            "1969-12-31T23:59:00Z",
        ),
    ] {
        let next = Schedule::parse(text, TimeZone::UTC).map(|s| s.next(at(after)));
        let next = match next {
            Ok(Some(next)) => next.to_string(),
            _ => "-".to_owned(),
        };
        assert_eq!(next, expected, "{text} after {after}");
    }
}

#[test]
fn clocks_change() {
    let zoned = |zone: &str, text: &str, after: &str| {
        let schedule = schedule(&format!("TZ={zone} {text}"));
        let mut times = Vec::new();
        let mut after = at(after);
        for _ in 0..3 {
            after = schedule.next(after).expect("a time");
            times.push(after.to_string());
        }
        times.join(" ")
    };
    let table = [
        // Half past two is left out on 11 March, and comes twice on 4 November as half past one does.
        ("America/New_York", "30 2 * * *", "2012-03-10T00:00:00Z"),
        ("America/New_York", "30 1 * * *", "2012-11-03T00:00:00Z"),
        ("America/New_York", "0 * * * *", "2012-03-11T06:00:00Z"),
        // Midnight does not exist on 4 November: no run by its hour, one by the hour after.
        ("America/Sao_Paulo", "0 0 * * *", "2018-11-02T12:00:00Z"),
        ("America/Sao_Paulo", "0 1 * * *", "2018-11-02T12:00:00Z"),
        ("Australia/Lord_Howe", "15 * * * *", "2024-04-06T13:30:00Z"),
        ("Asia/Kathmandu", "0 5 * * Mon", "2024-04-06T13:30:00Z"),
    ]
    .map(|(zone, text, after)| format!("{zone} {text}: {}", zoned(zone, text, after)))
    .join("\n");
    expect![[r#"
        America/New_York 30 2 * * *: 2012-03-10T07:30:00Z 2012-03-12T06:30:00Z 2012-03-13T06:30:00Z
        America/New_York 30 1 * * *: 2012-11-03T05:30:00Z 2012-11-04T05:30:00Z 2012-11-04T06:30:00Z
        America/New_York 0 * * * *: 2012-03-11T07:00:00Z 2012-03-11T08:00:00Z 2012-03-11T09:00:00Z
        America/Sao_Paulo 0 0 * * *: 2018-11-03T03:00:00Z 2018-11-05T02:00:00Z 2018-11-06T02:00:00Z
        America/Sao_Paulo 0 1 * * *: 2018-11-03T04:00:00Z 2018-11-04T03:00:00Z 2018-11-05T03:00:00Z
        Australia/Lord_Howe 15 * * * *: 2024-04-06T14:15:00Z 2024-04-06T15:45:00Z 2024-04-06T16:45:00Z
        Asia/Kathmandu 0 5 * * Mon: 2024-04-07T23:15:00Z 2024-04-14T23:15:00Z 2024-04-21T23:15:00Z"#]]
    .assert_eq(&table);
}

#[test]
fn last_times() {
    for (text, after, until, expected) in [
        (
            "* * * * *",
            "2012-07-09T10:00:00Z",
            "2022-07-09T10:00:30Z",
            "2022-07-09T10:00:00Z",
        ),
        (
            "* * * * *",
            "2012-07-09T10:00:00Z",
            "2012-07-09T10:00:59Z",
            "-",
        ),
        (
            "* * * * *",
            "2012-07-09T10:00:00Z",
            "2012-07-09T10:01:00Z",
            "2012-07-09T10:01:00Z",
        ),
        (
            "* * 1 1 *",
            "2012-07-09T10:00:00Z",
            "2022-07-09T10:00:30Z",
            "2022-01-01T23:59:00Z",
        ),
        (
            "30 6-16/4 * * 1-5",
            "2012-07-09T10:00:00Z",
            "2012-07-15T10:00:30Z",
            "2012-07-13T14:30:00Z",
        ),
        (
            "@every 7s",
            "2012-07-09T10:00:00.5Z",
            "2012-07-09T10:00:15Z",
            "2012-07-09T10:00:14Z",
        ),
        (
            "@every 7s",
            "2012-07-09T10:00:00Z",
            "2012-07-09T10:00:06Z",
            "-",
        ),
        (
            "0 0 30 2 *",
            "2012-07-09T10:00:00Z",
            "2042-07-09T10:00:00Z",
            "-",
        ),
    ] {
        let last = schedule(text).last(at(after), at(until));
        let last = last.map_or_else(|| "-".to_owned(), |last| last.to_string());
        assert_eq!(last, expected, "{text} from {after} to {until}");
    }
}

#[test]
fn refusals() {
    let errors = [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 7",
        "5-2 * * * *",
        "*/0 * * * *",
        "1-2-3 * * * *",
        "1/2/3 * * * *",
        "x/2/3 * * * *",
        "a * * * *",
        "99999999999999999999 * * * *",
        "5/-2 * * * *",
        "5,, * * funday *",
        "@reboot",
        "@every",
        "@every x",
        "@every 5",
        "@every 5parsec",
        "@every 99999999999h",
        "TZ=UTC",
        "TZ=Mars/Olympus * * * * *",
        "CRON_TZ=../x * * * * *",
        "TZ=europe/oslo @daily",
        "TZ=UTC * * *",
    ]
    .map(|text| match Schedule::parse(text, TimeZone::UTC) {
        Ok(_) => format!("{text}: read"),
        Err(error) => format!("{text}: {error}"),
    })
    .join("\n");
    expect![[r#"
        : empty spec string
        * * * *: expected exactly 5 fields, found 4: [* * * *]
        * * * * * *: expected exactly 5 fields, found 6: [* * * * * *]
        60 * * * *: end of range (60) above maximum (59): 60
        * 24 * * *: end of range (24) above maximum (23): 24
        * * 0 * *: beginning of range (0) below minimum (1): 0
        * * * 13 *: end of range (13) above maximum (12): 13
        * * * * 7: end of range (7) above maximum (6): 7
        5-2 * * * *: beginning of range (5) beyond end of range (2): 5-2
        */0 * * * *: step of range should be a positive number: */0
        1-2-3 * * * *: too many hyphens: 1-2-3
        1/2/3 * * * *: too many slashes: 1/2/3
        x/2/3 * * * *: failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax
        a * * * *: failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax
        99999999999999999999 * * * *: failed to parse int from 99999999999999999999: strconv.Atoi: parsing "99999999999999999999": value out of range
        5/-2 * * * *: negative number (-2) not allowed: -2
        5,, * * funday *: failed to parse int from funday: strconv.Atoi: parsing "funday": invalid syntax
        @reboot: unrecognized descriptor: @reboot
        @every: unrecognized descriptor: @every
        @every x: failed to parse duration @every x: time: invalid duration "x"
        @every 5: failed to parse duration @every 5: time: missing unit in duration "5"
        @every 5parsec: failed to parse duration @every 5parsec: time: unknown unit "parsec" in duration "5parsec"
        @every 99999999999h: failed to parse duration @every 99999999999h: time: invalid duration "99999999999h"
        TZ=UTC: invalid schedule format: runtime error: slice bounds out of range [:-1]
        TZ=Mars/Olympus * * * * *: provided bad location Mars/Olympus: unknown time zone Mars/Olympus
        CRON_TZ=../x * * * * *: provided bad location ../x: time: invalid location name
        TZ=europe/oslo @daily: provided bad location europe/oslo: unknown time zone europe/oslo
        TZ=UTC * * *: expected exactly 5 fields, found 3: [* * *]"#]].assert_eq(&errors);
}

#[test]
fn zones_by_name() {
    for name in ["", "UTC", "Local", "Etc/UTC", "Europe/Oslo", "EST5EDT"] {
        assert!(zone(name).is_ok(), "{name}");
    }
    for name in [
        "utc",
        "Europe",
        "Europe/oslo",
        "/etc/localtime",
        "Asia/..",
        "\0",
    ] {
        assert!(zone(name).is_err(), "{name}");
    }
}
