//! Every controller, killed before and after each of its writes, fed with what was, and not told what happened: in the end everything is
//! as it would have been, nothing is there twice and nothing is left over.
//!
//! A scenario runs once without faults, which counts what its controller writes and hears; then once for each fault: killed before a
//! write reaches the server, killed after it was committed and before it was answered, started anew on a state that was, with a watch
//! that comes late, and with a watch that leaves events out until it has to list again. Each end is compared with the first one.
//!
//! What was tried is printed. By default at most [`WRITES`] writes and [`READS`] reads of a controller are tried; `KNARR_FAULTS=all` tries
//! all of them. `KNARR_CONTROLLER` runs one controller, `KNARR_FAULT` (`after:3`) one of its faults.

mod hands;
mod process;
mod scenario;
mod scenarios;
mod stage;
mod world;

use std::collections::BTreeSet;
use std::env;

use process::{Counts, Fault};
use scenario::Scenario;

/// Writes of a controller before and after which it is killed.
const WRITES: usize = 8;
/// Of each way to be told what was.
const READS: usize = 2;

/// Wrong ends of a controller after which no more of it is tried: each takes its time.
const WRONG: usize = 3;

/// What was tried.
#[derive(Default)]
struct Tally {
    runs: usize,
    crashes: usize,
    stale: usize,
    swallowed: usize,
    ends: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn add(&mut self, counts: Counts) {
        self.crashes += counts.crashes;
        self.stale += counts.stale;
        self.swallowed += counts.swallowed;
    }

    fn fails(&mut self, what: &str, why: &str) {
        println!("{what}: {why}");
        self.wrong.push(format!("{what}: {why}"));
    }

    fn join(&mut self, other: Tally) {
        self.runs += other.runs;
        self.crashes += other.crashes;
        self.stale += other.stale;
        self.swallowed += other.swallowed;
        self.ends += other.ends;
        self.wrong.extend(other.wrong);
    }

    fn print(&self, what: &str) {
        let Tally {
            runs,
            crashes,
            stale,
            swallowed,
            ends,
            ..
        } = self;
        println!(
            "{what}: {runs} runs, {crashes} crashes tried, {stale} stale reads served, {swallowed} events swallowed, {ends} end states checked"
        );
    }
}

/// At most so many of the numbers from one on, from all over.
fn some(count: usize, most: usize) -> Vec<usize> {
    if count <= most || env::var("KNARR_FAULTS").is_ok_and(|text| text == "all") {
        return (1..=count).collect();
    }
    (0..most)
        .map(|n| 1 + n * (count - 1) / (most - 1))
        .collect()
}

fn faults(scenario: &Scenario, counts: Counts) -> Vec<Fault> {
    let mut faults = Vec::new();
    for number in some(counts.writes, WRITES) {
        faults.extend([Fault::Before(number), Fault::After(number)]);
    }
    if scenario.not_stale.is_empty() {
        faults.extend(some(counts.writes, READS).into_iter().map(Fault::Stale));
    } else {
        println!(
            "{}: no stale list is tried: {}",
            scenario.controller, scenario.not_stale
        );
    }
    for number in some(counts.events, READS) {
        faults.extend([Fault::Late(number), Fault::Swallowed(number)]);
    }
    faults
}

/// As `KNARR_FAULT` names it.
fn name(fault: Fault) -> String {
    match fault {
        Fault::None => "none".to_owned(),
        Fault::Before(n) => format!("before:{n}"),
        Fault::After(n) => format!("after:{n}"),
        Fault::Stale(n) => format!("stale:{n}"),
        Fault::Late(n) => format!("late:{n}"),
        Fault::Swallowed(n) => format!("swallowed:{n}"),
    }
}

fn sweep(scenario: &Scenario) -> Tally {
    let controller = scenario.controller;
    let mut tally = Tally {
        runs: 1,
        ..Tally::default()
    };
    let first = match stage::run(scenario, Fault::None, None) {
        Ok(first) => first,
        Err(why) => {
            tally.fails(controller, &why);
            return tally;
        }
    };
    tally.ends += 1;
    let Counts { writes, events, .. } = first.counts;
    if writes == 0 {
        tally.fails(controller, "it writes nothing");
    }
    let only = env::var("KNARR_FAULT").ok();
    let is_asked_for = |fault: &Fault| only.as_ref().is_none_or(|only| *only == name(*fault));
    for fault in faults(scenario, first.counts)
        .into_iter()
        .filter(is_asked_for)
    {
        tally.runs += 1;
        match stage::run(scenario, fault, Some(&first.digest)) {
            Ok(outcome) => {
                tally.ends += 1;
                tally.add(outcome.counts);
            }
            Err(why) => tally.fails(&format!("{controller}, {}", name(fault)), &why),
        }
        if tally.wrong.len() >= WRONG {
            break;
        }
    }
    tally.print(&format!("{controller} ({writes} writes, {events} events)"));
    tally
}

#[test]
fn work_resumes_wherever_it_was_cut_off() {
    let only = env::var("KNARR_CONTROLLER").ok();
    let is_asked_for =
        |scenario: &&Scenario| only.as_ref().is_none_or(|only| scenario.controller == only);
    let mut all = Tally::default();
    for scenario in scenarios::all().iter().filter(is_asked_for) {
        all.join(sweep(scenario));
    }
    all.print("all");
    assert!(all.wrong.is_empty(), "{:#?}", all.wrong);
}

#[test]
fn every_controller_has_a_scenario() {
    let known: BTreeSet<&str> = scenarios::all().iter().map(|s| s.controller).collect();
    let registered: BTreeSet<&str> = knarr_controllers::Selection::default().names().collect();
    assert_eq!(known, registered);
}
