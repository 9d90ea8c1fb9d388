//! What `knarr sim` prints.

use std::time::Duration;

use knarr_sim::{
    Config, Figures,
    report::{self, Report, Row},
};

use crate::text::table;

/// What is about to be simulated.
pub fn title(config: &Config, server: &str) -> String {
    let Config {
        name, count, seed, ..
    } = config;
    format!("{count} simulated nodes {name}-* at {server}  (seed {seed}; Ctrl-C ends it)")
}

/// How far it is, and what it does a second.
pub fn line(now: &Figures, before: &Figures, passed: Duration) -> String {
    let seconds = passed.as_secs_f64().max(f64::MIN_POSITIVE);
    let rate = |now: u64, before: u64| {
        let count = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        format!("{:.0}/s", f64::from(count) / seconds)
    };
    let mut text = format!("nodes {}/{}", now.registered, now.nodes);
    if now.down > 0 {
        text += &format!(" ({} down)", now.down);
    }
    text += &format!(
        "  pods {} ready, {} starting, {} ended",
        now.ready, now.pending, now.ended
    );
    if now.deleting > 0 {
        text += &format!(", {} leaving", now.deleting);
    }
    text += &format!(
        "  leases {}  statuses {}  pod writes {}",
        rate(now.leases, before.leases),
        rate(now.reports, before.reports),
        rate(now.pod_writes, before.pod_writes)
    );
    if now.failures > 0 {
        text += &format!("  failed {}", now.failures);
    }
    if now.lacks_addresses {
        text += "  no address is left for pods: a larger --pod-cidr";
    }
    text
}

/// A table of what was measured, and whether that is fast enough.
pub fn report(report: &Report, color: bool) -> String {
    let header = ["", "answers", "failed", "p50", "p99", "longest", "size", ""];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(report.rows.iter().map(cells));
    let all = report.rows.iter().all(Row::is_within_goal);
    let verdict = match all {
        true => "all within the goals",
        false => "not all within the goals",
    };
    let verdict = match (color, all) {
        (false, _) => verdict.to_owned(),
        (true, true) => format!("\x1b[32m{verdict}\x1b[0m"),
        (true, false) => format!("\x1b[31m{verdict}\x1b[0m"),
    };
    format!(
        "{} nodes, {} pods\n\n{}\n{verdict} (p99 of single objects below {}, of lists below {})\n",
        report.nodes,
        report.pods,
        table(&rows),
        millis(report::SINGLE_GOAL),
        millis(report::LIST_GOAL)
    )
}

fn cells(row: &Row) -> [String; 8] {
    let mark = if row.is_within_goal() { "" } else { "too slow" };
    [
        row.kind.name().to_owned(),
        row.answered.to_string(),
        row.failed.to_string(),
        millis(row.p50),
        millis(row.p99),
        millis(row.longest),
        bytes(row.bytes),
        mark.to_owned(),
    ]
}

fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    match millis < 100.0 {
        true => format!("{millis:.1} ms"),
        false => format!("{millis:.0} ms"),
    }
}

fn bytes(count: usize) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count / 1024),
        _ => format!("{} MiB", count / (1024 * 1024)),
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use knarr_sim::report::Kind;

    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is() {
        let before = Figures {
            leases: 100,
            ..Figures::default()
        };
        let mut now = Figures {
            nodes: 500,
            registered: 500,
            ready: 4_000,
            pending: 30,
            leases: 200,
            pod_writes: 60,
            ..Figures::default()
        };
        expect!["nodes 500/500  pods 4000 ready, 30 starting, 0 ended  leases 50/s  statuses 0/s  pod writes 30/s"]
            .assert_eq(&line(&now, &before, Duration::from_secs(2)));
        now.down = 3;
        now.deleting = 2;
        now.failures = 1;
        now.lacks_addresses = true;
        expect!["nodes 500/500 (3 down)  pods 4000 ready, 30 starting, 0 ended, 2 leaving  leases 50/s  statuses 0/s  pod writes 30/s  failed 1  no address is left for pods: a larger --pod-cidr"]
            .assert_eq(&line(&now, &before, Duration::from_secs(2)));
    }

    #[test]
    fn a_report_says_what_is_too_slow() {
        let row = |kind, millis, bytes| Row {
            kind,
            answered: 100,
            failed: 0,
            p50: Duration::from_millis(millis / 2),
            p99: Duration::from_millis(millis),
            longest: Duration::from_millis(millis * 2),
            bytes,
        };
        let measured = Report {
            nodes: 500,
            pods: 5_000,
            rows: vec![
                row(Kind::GetPod, 8, 3_000),
                row(Kind::ListPodsAll, 1_200, 20 << 20),
            ],
        };
        expect![[r#"
            500 nodes, 5000 pods

                            answers   failed   p50      p99       longest   size
            get a pod       100       0        4.0 ms   8.0 ms    16.0 ms   3000 B
            list all pods   100       0        600 ms   1200 ms   2400 ms   20 MiB   too slow

            not all within the goals (p99 of single objects below 100 ms, of lists below 1000 ms)
        "#]]
        .assert_eq(&report(&measured, false));
    }
}
