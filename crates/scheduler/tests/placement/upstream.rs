//! Our scheduler beside upstream's.

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::{
    cases::Cases,
    golden,
    oracle::{self, agree},
    scenario,
};

/// Generated clusters; `KNARR_CASES` says another number, `KNARR_SEED` other ones.
const CASES: usize = 2_000;
/// Differences that are shown.
const SHOWN: usize = 5;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn pods_go_where_upstream_puts_them() -> Result<()> {
    let Some(program) = oracle::program()? else {
        return Ok(());
    };
    let mut cases = Cases::new(number("KNARR_SEED").unwrap_or(1));
    let count = number("KNARR_CASES").and_then(|count| count.try_into().ok());
    let questions: Vec<Value> = (0..count.unwrap_or(CASES)).map(|_| cases.next()).collect();
    let answers = oracle::ask(program, &questions)?;
    let (mut placed, mut preempted, mut wrong) = (0_usize, 0_usize, Vec::new());
    for (index, (question, answer)) in questions.iter().zip(&answers).enumerate() {
        let objects = question["objects"].as_array().cloned().unwrap_or_default();
        let config = question["config"].as_str().unwrap_or_default();
        let theirs = oracle::outcome(answer)?;
        let ours = golden::place(config, &objects, &question["pod"])?;
        placed += usize::from(!theirs.nodes.is_empty());
        preempted += usize::from(theirs.preempts.is_some());
        if !agree(&theirs, &ours) {
            wrong.push(format!(
                "case {index}: {question}\nupstream: {theirs:?}\n    ours: {ours:?}\nupstream's of each node: {}\n\
                 ours: {}",
                answer["nodes"],
                golden::explain(config, &objects, &question["pod"])?
            ));
        }
    }
    let (count, different) = (questions.len(), wrong.len());
    eprintln!(
        "{count} clusters: {placed} pods placed, {preempted} preempt, {different} otherwise than upstream"
    );
    wrong.truncate(SHOWN);
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    // The clusters must be worth asking about.
    ensure!(placed > count / 4, "{placed} pods were placed");
    ensure!(count - placed > count / 8, "{placed} pods were placed");
    ensure!(preempted > count / 50, "{preempted} pods preempted others");
    Ok(())
}

#[test]
fn scenarios_are_upstreams() -> Result<()> {
    let Some(program) = oracle::program()? else {
        return Ok(());
    };
    let scenarios = scenario::all()?;
    let questions: Vec<Value> = scenarios.iter().map(|s| s.question()).collect();
    let answers = oracle::ask(program, &questions)?;
    let mut wrong = Vec::new();
    for (scenario, answer) in scenarios.iter().zip(&answers) {
        let upstream = oracle::outcome(answer)?;
        if !agree(&upstream, &scenario.expected) {
            let (file, title) = (&scenario.file, &scenario.title);
            let written = &scenario.expected;
            wrong.push(format!(
                "{file}: {title}\n written: {written:?}\nupstream: {upstream:?}"
            ));
        }
    }
    eprintln!("{} scenarios asked of upstream", scenarios.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    Ok(())
}
