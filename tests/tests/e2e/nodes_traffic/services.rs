//! Who reaches a pod of the second node, by what, and who it takes them for.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use knarr_testkit::eventually;

use super::{Answer, Site, manifest, none_of};
use crate::support::{SOON, Shell, field, newest};

/// A caller a line, and what it is seen as at the targets of [`TARGETS`]: by the address of whom, `silent` where only other
/// nodes have an endpoint and this one may not ask them, or `-` for who has no way there at all.
///
/// A pod keeps its address on its way to pods, but not on its way through a port of a node, and never on its way to itself through a
/// Service. A Service that keeps its clients' addresses is served by its own node alone, but for clients of the cluster.
const SEEN: &str = "
           pod  web  inner    port@1 port@2 port@3 port@localhost local@1 local@2 local@3 balancer balancer-local external
    p1     p1   p1   silent   n1     n2     n3     -              p1      n1      silent  n1       p1             n1
    p2     p2   n2   n2       n1     n2     n3     -              silent  n2      silent  n2       n2             n2
    p3     p3   p3   silent   n1     n2     n3     -              silent  n3      p3      n3       p3             n3
    h1     n1   n1   silent   n1     n2     n3     n1             n1      n1      silent  n1       n1             n1
    h2     n2   n2   n2       n1     n2     n3     n2             silent  n2      silent  n2       n2             n2
    h3     n3   n3   silent   n1     n2     n3     n3             silent  n3      n3      n3       n3             n3
    client -    -    -        n1     -      -      -              silent  -       -       n1       silent         n1
";

/// Longest wait for an answer that is another one, on a machine that is busy.
const SETTLED: Duration = Duration::from_secs(15);
/// Calls that would not all meet the same of four pods by chance.
const SAME: usize = 8;

pub fn reached(site: &Site<'_>) -> Result<()> {
    let mut lines = SEEN.lines().filter(|line| !line.trim().is_empty());
    let targets: Vec<&str> = lines
        .next()
        .context("no targets")?
        .split_whitespace()
        .collect();
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for line in lines {
        let mut words = line.split_whitespace();
        let from = words.next().context("no caller")?;
        for (target, expected) in targets.iter().zip(words) {
            if expected == "-" {
                continue;
            }
            cells += 1;
            let url = format!("http://{}/clientip", target_address(site, from, target)?);
            let wanted = match expected {
                "refused" => Answer::Refused,
                "silent" => Answer::Silent,
                name => Answer::Page(site.address(name)?.to_owned()),
            };
            let seen = eventually(SETTLED, &format!("{from} to {target} ({url})"), || {
                let seen = site.ask(from, &url)?;
                ensure!(seen == wanted, "{seen:?}, not {expected} ({wanted:?})");
                Ok(())
            });
            wrong.extend(seen.err().map(|error| format!("{error:#}")));
        }
    }
    none_of(wrong, cells)
}

fn target_address(site: &Site<'_>, from: &str, target: &str) -> Result<String> {
    let (kind, node) = target.split_once('@').unwrap_or((target, ""));
    // The client knows the first node by another address.
    let node = match (from, node) {
        ("client", "1") => knarr_testkit::NODE_IP,
        (_, "") => "",
        (_, "localhost") => "127.0.0.1",
        (_, node) => site.address(&format!("n{node}"))?,
    };
    Ok(match kind {
        "pod" => format!("{}:8080", site.address("p2")?),
        "port" => format!("{node}:{}", manifest::PORT),
        "local" => format!("{node}:{}", manifest::LOCAL_PORT),
        "balancer" => manifest::BALANCERS[0].1.to_owned(),
        "balancer-local" => manifest::BALANCERS[1].1.to_owned(),
        "external" => manifest::EXTERNAL.to_owned(),
        service => site.address(service)?.to_owned(),
    })
}

/// Services that prefer what is on the caller's node, and in its zone.
pub fn near(site: &Site<'_>) -> Result<()> {
    let shell = Shell::new(site.cluster, newest()?, "default");
    for (node, zone) in [("node", "east"), ("node-2", "east"), ("node-3", "west")] {
        shell.run(&format!(
            "label node {node} topology.kubernetes.io/zone={zone}"
        ))?;
    }
    for (service, from, allowed) in [
        ("same-node", "p1", &["p1"][..]),
        ("same-node", "p3", &["p3"]),
        ("same-zone", "p1", &["p1", "p2"]),
        ("same-zone", "p3", &["p3"]),
    ] {
        let address = shell.path(&format!("service {service}"), "{.spec.clusterIP}")?;
        eventually(SOON, &format!("{from} stays near with {service}"), || {
            let met = meet(site, from, &address)?;
            let allowed: BTreeSet<String> = allowed.iter().map(|name| (*name).to_owned()).collect();
            ensure!(met.is_subset(&allowed), "{met:?}");
            Ok(())
        })?;
    }
    // There are others, if there is none near.
    let address = shell.path("service same-node", "{.spec.clusterIP}")?;
    shell.run("delete pod p1")?;
    eventually(SOON, "others answer", || {
        let Answer::Page(page) = site.ask("h1", &format!("http://{address}/"))? else {
            anyhow::bail!("nobody answers");
        };
        let host = field(&page, "host");
        ensure!(host == "p2" || host == "p3", "{host}");
        Ok(())
    })?;
    shell.apply(&manifest::text())?;
    shell.wait_ready("app=web", 3).map(drop)
}

/// Who answers.
fn meet(site: &Site<'_>, from: &str, address: &str) -> Result<BTreeSet<String>> {
    let mut met = BTreeSet::new();
    for _ in 0..SAME {
        match site.ask(from, &format!("http://{address}/"))? {
            Answer::Page(page) => met.insert(field(&page, "host").to_owned()),
            other => anyhow::bail!("{other:?}"),
        };
    }
    Ok(met)
}
