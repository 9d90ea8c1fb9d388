//! Scenarios whose outcome is written down.

use anyhow::{Context, Result, bail, ensure};
use knarr_scheduler::{
    Config,
    simulation::{Object, Placement, Simulation},
};
use serde_json::Value;

use crate::scenario::{self, Outcome};

/// There are never to be fewer.
const SCENARIOS_MIN: usize = 200;

/// What our scheduler does with a pod.
pub fn place(config: &str, objects: &[Value], pod: &Value) -> Result<Outcome> {
    let mut simulation = simulation(config, objects)?;
    let pod = serde_json::from_value(pod.clone()).context("the pod")?;
    Ok(outcome(simulation.schedule(pod)))
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
    let tree = object.clone();
    let object = match kind {
        "Node" => Object::Node(serde_json::from_value(tree)?),
        "Pod" => Object::Pod(serde_json::from_value(tree)?),
        "Namespace" => Object::Namespace(serde_json::from_value(tree)?),
        "Service" => Object::Service(serde_json::from_value(tree)?),
        "ReplicationController" => Object::ReplicationController(serde_json::from_value(tree)?),
        "ReplicaSet" => Object::ReplicaSet(serde_json::from_value(tree)?),
        "StatefulSet" => Object::StatefulSet(serde_json::from_value(tree)?),
        "PodDisruptionBudget" => Object::PodDisruptionBudget(serde_json::from_value(tree)?),
        "PersistentVolumeClaim" => Object::PersistentVolumeClaim(serde_json::from_value(tree)?),
        "PersistentVolume" => Object::PersistentVolume(serde_json::from_value(tree)?),
        "StorageClass" => Object::StorageClass(serde_json::from_value(tree)?),
        other => bail!("a simulation knows no {other}"),
    };
    Ok(object)
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
