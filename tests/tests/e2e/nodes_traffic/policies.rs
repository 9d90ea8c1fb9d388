//! What network policies make of traffic between nodes: a table of who still reaches whom.

use std::{collections::BTreeSet, thread};

use anyhow::{Context, Result, ensure};
use knarr_testkit::eventually;
use serde_json::{Value, json};

use super::{Answer, Site, none_of};
use crate::support::{SOON, Shell, newest};

/// Those who call. A node always reaches its own pods, and other nodes' as any other machine does.
const CALLERS: [&str; 6] = ["p1", "p2", "p3", "q", "h1", "h2"];
const CALLED: [&str; 4] = ["p1", "p2", "p3", "q"];

/// A policy, and the pairs that it keeps from each other.
struct Case {
    name: &'static str,
    spec: Value,
    /// `caller called`, each perhaps several: `p1,q p2`.
    denied: &'static str,
}

pub fn kept(site: &Site<'_>) -> Result<()> {
    let shell = Shell::new(site.cluster, newest()?, "default");
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for case in cases(site)? {
        let policy = json!({
            "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "case"}, "spec": case.spec,
        });
        shell.apply(&policy.to_string())?;
        let wanted = denied(case.denied);
        cells += CALLERS.len() * CALLED.len();
        let settled = eventually(SOON, case.name, || {
            let seen = look(site)?;
            ensure!(seen == wanted, "denied: {seen:?}, not {wanted:?}");
            Ok(())
        });
        if let Err(error) = settled {
            wrong.push(format!("{error:#}"));
        }
    }
    shell.run("delete networkpolicy case")?;
    none_of(wrong, cells)
}

fn cases(site: &Site<'_>) -> Result<Vec<Case>> {
    let p2 = json!({"matchLabels": {"name": "p2"}});
    let ingress = |from: Value| json!({"podSelector": p2, "policyTypes": ["Ingress"], "ingress": [{"from": from}]});
    let block = |name: &str| -> Result<Value> {
        Ok(json!([{"ipBlock": {"cidr": format!("{}/32", site.address(name)?)}}]))
    };
    let p1 = json!({"matchLabels": {"name": "p1"}});
    Ok(vec![
        Case {
            name: "nobody to p2",
            spec: json!({"podSelector": p2, "policyTypes": ["Ingress"]}),
            denied: "p1,p3,q,h1 p2",
        },
        Case {
            name: "p1 to p2",
            spec: ingress(json!([{"podSelector": p1}])),
            denied: "p3,q,h1 p2",
        },
        Case {
            name: "another namespace to p2",
            spec: ingress(
                json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}]),
            ),
            denied: "p1,p3,h1 p2",
        },
        Case {
            name: "the address of p3 to p2",
            spec: ingress(block("p3")?),
            denied: "p1,q,h1 p2",
        },
        Case {
            name: "the first node to p2",
            spec: ingress(block("n1")?),
            denied: "p1,p3,q p2",
        },
        Case {
            name: "a port of p2 that nobody asks for",
            spec: json!({"podSelector": p2, "policyTypes": ["Ingress"], "ingress": [{"ports": [{"port": 9}]}]}),
            denied: "p1,p3,q,h1 p2",
        },
        Case {
            name: "p1 to nobody",
            spec: json!({"podSelector": p1, "policyTypes": ["Egress"]}),
            denied: "p1 p2,p3,q",
        },
        Case {
            name: "p1 to p2 alone",
            spec: json!({"podSelector": p1, "policyTypes": ["Egress"], "egress": [{"to": [{"podSelector": p2}]}]}),
            denied: "p1 p3,q",
        },
        Case {
            name: "all pods of the namespace to each other",
            spec: json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"from": [{"podSelector": {}}]}]}),
            denied: "q p1,p2,p3;h1 p2,p3;h2 p1,p3",
        },
        Case {
            name: "all of both directions but a port",
            spec: json!({
                "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
                "ingress": [{"ports": [{"port": 8080}]}], "egress": [{"ports": [{"port": 8080}]}],
            }),
            denied: "",
        },
        Case {
            name: "nobody to nobody",
            spec: json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}),
            denied: "p1 p2,p3,q;p2 p1,p3,q;p3 p1,p2,q;q p1,p2,p3;h1 p2,p3;h2 p1,p3",
        },
    ])
}

type Pairs = BTreeSet<(String, String)>;

fn denied(text: &str) -> Pairs {
    let pairs = text.split(';').filter_map(|part| part.split_once(' '));
    pairs
        .flat_map(|(callers, called)| {
            let called: Vec<&str> = called.split(',').collect();
            callers.split(',').flat_map(move |caller| {
                let pair = |called: &&str| (caller.to_owned(), (*called).to_owned());
                called.iter().map(pair).collect::<Vec<_>>()
            })
        })
        .collect()
}

/// The pairs of which one does not reach the other. All ask at once: who is denied waits in vain.
fn look(site: &Site<'_>) -> Result<Pairs> {
    let pairs = CALLERS
        .iter()
        .flat_map(|caller| CALLED.map(|called| (*caller, called)));
    thread::scope(|scope| {
        let asked: Vec<_> = pairs
            .map(|(caller, called)| {
                (
                    caller,
                    called,
                    scope.spawn(move || reaches(site, caller, called)),
                )
            })
            .collect();
        let mut denied = Pairs::new();
        for (caller, called, answer) in asked {
            if !answer.join().ok().context("a caller panicked")?? {
                denied.insert((caller.to_owned(), called.to_owned()));
            }
        }
        Ok(denied)
    })
}

fn reaches(site: &Site<'_>, caller: &str, called: &str) -> Result<bool> {
    let url = format!("http://{}:8080/healthz", site.address(called)?);
    Ok(matches!(site.ask(caller, &url)?, Answer::Page(_)))
}
