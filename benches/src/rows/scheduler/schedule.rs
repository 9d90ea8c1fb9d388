//! Pods from their creation to a node: of one kind among 1 000 and among 5 000 nodes, spread over zones, and kept apart.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join;
use serde_json::{Value, json};

use super::{
    Placed, create_pods,
    nodes::{Nodes, ZONES},
    placed, pod, remove_pods,
    watch::Bound,
};
use crate::{
    http::Endpoint,
    rows::{Effort, Measured},
    seed,
    stats::number,
    target::Target,
};

/// What a pod asks for; 40 of them fit on a node.
const CPU: &str = "100m";
const MEMORY: &str = "500Mi";
const FIT: usize = 40;
/// By how many pods zones may differ.
const SKEW: u64 = 5;

/// What pods have of rules.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    None,
    /// Zones differ by [`SKEW`] at most.
    Zones,
    /// One on a node.
    Apart,
}

struct Scenario {
    figure: &'static str,
    nodes: u32,
    pods: u64,
    rule: Rule,
}

/// Among 1 000 nodes.
pub fn few(target: &Target, effort: Effort) -> Result<Measured> {
    let scenario = Scenario {
        figure: "schedule-1000",
        nodes: effort.pick(1_000, 100),
        pods: effort.pick(15_000, 500),
        rule: Rule::None,
    };
    measure(target, &scenario)
}

/// Among 5 000 nodes.
pub fn many(target: &Target, effort: Effort) -> Result<Measured> {
    let scenario = Scenario {
        figure: "schedule-5000",
        nodes: effort.pick(5_000, 200),
        pods: effort.pick(15_000, 500),
        rule: Rule::None,
    };
    measure(target, &scenario)
}

/// Over the zones of 5 000 nodes.
pub fn zones(target: &Target, effort: Effort) -> Result<Measured> {
    let scenario = Scenario {
        figure: "schedule-zones",
        nodes: effort.pick(5_000, 200),
        pods: effort.pick(10_000, 300),
        rule: Rule::Zones,
    };
    measure(target, &scenario)
}

/// Each on a node of its own, of 5 000.
pub fn apart(target: &Target, effort: Effort) -> Result<Measured> {
    let scenario = Scenario {
        figure: "schedule-apart",
        nodes: effort.pick(5_000, 200),
        pods: effort.pick(3_000, 150),
        rule: Rule::Apart,
    };
    measure(target, &scenario)
}

fn measure(target: &Target, scenario: &Scenario) -> Result<Measured> {
    let endpoint = &target.endpoint;
    let namespace = target.block_on(|| seed::create_namespace(endpoint, "schedule"))?;
    let nodes = Nodes::new(scenario.nodes);
    let timing = target.block_on(|| async {
        nodes.create(target).await?;
        let timing = run(endpoint, &namespace, scenario).await?;
        check(
            &placed(endpoint, &namespace).await?,
            &nodes,
            scenario,
            target,
        )?;
        Ok(timing)
    });
    target.block_on(|| async {
        remove_pods(endpoint, &namespace).await?;
        nodes.remove(target).await
    })?;
    let timing = timing?;
    let mut measured = Measured::default();
    let rate = |pods: u64, time: Duration| pods as f64 / time.as_secs_f64();
    measured.value(scenario.figure, rate(scenario.pods, timing.bound));
    let left = scenario.pods.saturating_sub(timing.early);
    measured.note(format!(
        "{}: {} pods on {} nodes, from the first POST to the last that is seen bound; created at {}/s, {} bound by then, the others \
         at {}/s",
        scenario.figure,
        scenario.pods,
        scenario.nodes,
        number(rate(scenario.pods, timing.created)),
        timing.early,
        number(rate(left, timing.bound.saturating_sub(timing.created))),
    ));
    Ok(measured)
}

/// Since the first POST.
struct Timing {
    created: Duration,
    bound: Duration,
    /// Pods that were bound when the last was created.
    early: u64,
}

async fn run(endpoint: &Endpoint, namespace: &str, scenario: &Scenario) -> Result<Timing> {
    let mut bound = Bound::open(endpoint, namespace).await?;
    let seen = bound.seen();
    let make = |number: u64| ruled(pod(&format!("p-{number}"), CPU, MEMORY), scenario.rule);
    let started = Instant::now();
    let created = async {
        create_pods(endpoint, namespace, scenario.pods, make).await?;
        Ok((started.elapsed(), seen.get()))
    };
    let ((created, early), last) = try_join(created, bound.await_count(scenario.pods)).await?;
    Ok(Timing {
        created,
        bound: last.duration_since(started),
        early,
    })
}

/// Adds a rule to a pod.
fn ruled(mut pod: Value, rule: Rule) -> Value {
    let selector = json!({"matchLabels": {"app": "web"}});
    match rule {
        Rule::None => {}
        Rule::Zones => {
            pod["spec"]["topologySpreadConstraints"] = json!([{
                "maxSkew": SKEW, "topologyKey": "topology.kubernetes.io/zone",
                "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector,
            }]);
        }
        Rule::Apart => {
            pod["spec"]["affinity"] = json!({"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "kubernetes.io/hostname", "labelSelector": selector},
                ],
            }});
        }
    }
    pod
}

/// Whether all is as it was asked for.
fn check(pods: &[Placed], nodes: &Nodes, scenario: &Scenario, target: &Target) -> Result<()> {
    ensure!(
        pods.len() as u64 == scenario.pods,
        "there are {} pods where {} were created",
        pods.len(),
        scenario.pods
    );
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    let mut in_zone = vec![0; ZONES as usize];
    for Placed { metadata, spec } in pods {
        *on_node.entry(&spec.node_name).or_default() += 1;
        match nodes.number_of(&spec.node_name) {
            Some(number) => in_zone[(number % ZONES) as usize] += 1,
            // Another's cluster has nodes of its own, which are open to all.
            None => ensure!(
                target.cluster.is_none(),
                "pod {} is on {:?}",
                metadata.name,
                spec.node_name
            ),
        }
    }
    let most = on_node.values().copied().max().unwrap_or(0);
    let (least_zone, most_zone) = (in_zone.iter().min(), in_zone.iter().max());
    let skew: u64 = most_zone
        .zip(least_zone)
        .map(|(most, least)| most - least)
        .context("no zones")?;
    let (kept, found) = match scenario.rule {
        Rule::None => (most <= FIT, format!("{most} pods are on one node")),
        Rule::Zones => (skew <= SKEW, format!("zones differ by {skew} pods")),
        Rule::Apart => (most == 1, format!("{most} pods are on one node")),
    };
    ensure!(kept, "the scheduler did not as it was asked: {found}");
    Ok(())
}
