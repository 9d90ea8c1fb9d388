//! Scenarios whose outcome is written down.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use knarr_scheduler::{
    Config,
    simulation::{Object, Placement, Simulation},
};
use serde_json::Value;

use crate::{
    objects,
    scenario::{self, Outcome},
};

/// Pods that one takes the room of, and how long it may take to find that out.
const VICTIMS: usize = 1000;
const PREEMPTION_MAX: Duration = Duration::from_secs(2);
/// There are never to be fewer.
const SCENARIOS_MIN: usize = 200;

/// What our scheduler does with a pod.
pub fn place(config: &str, objects: &[Value], pod: &Value) -> Result<Outcome> {
    let mut simulation = simulation(config, objects)?;
    let pod = serde_json::from_value(pod.clone()).context("the pod")?;
    let mut outcome = outcome(simulation.schedule(pod));
    if let Some((_, victims)) = &mut outcome.preempts {
        // What ends already is not ended again.
        victims.retain(|victim| !objects.iter().any(|object| ends(object, victim)));
    }
    outcome.preempts.take_if(|(_, victims)| victims.is_empty());
    Ok(outcome)
}

/// Whether the object is a pod of this name that is on its way out.
fn ends(object: &Value, name: &str) -> bool {
    let meta = &object["metadata"];
    let texts = (meta["namespace"].as_str(), meta["name"].as_str());
    let (Some(namespace), Some(pod)) = texts else {
        return false;
    };
    !meta["deletionTimestamp"].is_null() && format!("{namespace}/{pod}") == name
}

/// What it says of each node.
pub fn explain(config: &str, objects: &[Value], pod: &Value) -> Result<String> {
    let pod = serde_json::from_value(pod.clone()).context("the pod")?;
    Ok(format!("{:?}", simulation(config, objects)?.explain(pod)))
}

fn simulation(config: &str, objects: &[Value]) -> Result<Simulation> {
    let config = match config {
        "" => Config::default(),
        text => Config::parse(text.as_bytes()).map_err(anyhow::Error::msg)?,
    };
    let mut simulation = Simulation::new(&config);
    for object in objects {
        simulation.add(read(object)?);
    }
    Ok(simulation)
}

fn outcome(placement: Placement) -> Outcome {
    match placement {
        Placement::Nodes(nodes) => Outcome {
            nodes,
            ..Outcome::default()
        },
        Placement::Waits {
            message,
            nominated,
            mut victims,
        } => {
            victims.sort();
            Outcome {
                nodes: Vec::new(),
                message,
                preempts: nominated
                    .filter(|_| !victims.is_empty())
                    .map(|node| (node, victims)),
            }
        }
    }
}

fn read(object: &Value) -> Result<Object> {
    let kind = object["kind"].as_str().unwrap_or_default();
    let read = Object::read(object.clone())?;
    read.with_context(|| format!("a simulation knows no {kind}"))
}

/// One pod that takes the room of a thousand, and has all of them ended.
#[test]
fn a_thousand_pods_are_preempted_in_time() -> Result<()> {
    let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let mut cluster = vec![objects::node("a", &words("cpu=1000 mem=8Ti pods=2000"))?];
    for number in 0..VICTIMS {
        let name = format!("low{number}");
        cluster.push(objects::pod(&name, &words("on a cpu=1 prio=1"))?);
    }
    let pod = objects::pod("p", &words("cpu=1000 prio=2"))?;
    let mut simulation = simulation("", &cluster)?;
    let pod = serde_json::from_value(pod)?;
    let started = Instant::now();
    let outcome = outcome(simulation.schedule(pod));
    let took = started.elapsed();
    eprintln!("{VICTIMS} victims in {took:?}");
    let victims = outcome.preempts.map_or(0, |(_, victims)| victims.len());
    ensure!(victims == VICTIMS, "{victims} victims");
    ensure!(took < PREEMPTION_MAX, "it took {took:?}");
    Ok(())
}

#[test]
fn every_scenario_comes_out_as_written() -> Result<()> {
    let scenarios = scenario::all()?;
    let mut wrong = Vec::new();
    for scenario in &scenarios {
        let found = place(&scenario.config, &scenario.objects, &scenario.pod);
        let about = format!("{}: {}", scenario.file, scenario.title);
        match found {
            Ok(found) if found == scenario.expected => {}
            Ok(found) => wrong.push(format!(
                "{about}\nexpected: {:?}\n   found: {found:?}",
                scenario.expected
            )),
            Err(error) => wrong.push(format!("{about}\n{error:#}")),
        }
    }
    eprintln!("{} scenarios, {} wrong", scenarios.len(), wrong.len());
    ensure!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    let count = scenarios.len();
    ensure!(count >= SCENARIOS_MIN, "only {count} scenarios");
    Ok(())
}
