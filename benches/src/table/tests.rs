use super::*;
use crate::{
    machine::Machine,
    rows::{Measured, Row},
};

fn report() -> Report {
    let machine = Machine {
        cores: 2,
        cpu: "test".into(),
        memory_mib: 24_000,
        kernel: "6.1".into(),
        date: "2030-01-01T00:00:00Z".into(),
    };
    let mut report = Report::new(machine, "h1", false);
    let found = Measured {
        values: vec![("gets", 36_000.0), ("gets-p99", 1.5), ("start", 412.0)],
        limits: vec![("gets", 52_800.4)],
        notes: vec!["gets: a note".into()],
        missing: vec![],
    };
    report.add(Row::Gets, "knarr", true, Ok(found));
    report.add(
        Row::Pods,
        "knarr",
        true,
        Err(anyhow::anyhow!("the cluster has no node")),
    );
    report
}

#[test]
fn the_table_is_aligned_and_judged() {
    assert_eq!(
        render(&report()).split_once("\n\n").unwrap().1,
        "| what                |    knarr |  limit |   budget |      |\n\
         | ------------------- | -------: | -----: | -------: | ---: |\n\
         | start to /readyz    |   412 ms |        |    < 300 | MISS |\n\
         | GET, 32 connections | 36 000/s | 52 800 | > 35 000 |   ok |\n\
         | - p99               |  1.50 ms |        |          |      |\n\
         \nNotes:\n- knarr, gets: a note\n\
         \nNot measured:\n- knarr, pods: the cluster has no node\n"
    );
}

#[test]
fn a_second_cluster_adds_ratios() {
    let mut report = report();
    let found = Measured {
        values: vec![("gets", 4_000.0)],
        ..Measured::default()
    };
    report.add(Row::Gets, "against", false, Ok(found));
    let table = render(&report);
    assert!(
        table.contains("|      |   against | ratio |") || table.contains("| against | ratio |"),
        "{table}"
    );
    assert!(table.contains("|   4 000 | x9.00 |"), "{table}");
    let json = report.json();
    assert_eq!(json["figures"][1]["ratio"], 9.0);
    assert_eq!(json["figures"][1]["kept"], true);
    assert_eq!(json["figures"][0]["kept"], false);
    assert_eq!(json["missing"][0], "knarr, pods: the cluster has no node");
}
