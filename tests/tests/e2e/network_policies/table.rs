//! The truth table: every pod calls every pod on every port, all at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use knarr_testkit::{Cluster, eventually};

use super::shell;
use crate::support::SOON;

const PODS: [Pod; 4] = [
    Pod::new("x", "a"),
    Pod::new("x", "b"),
    Pod::new("y", "a"),
    Pod::new("y", "b"),
];
const PORTS: [u16; 2] = [80, 81];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pod {
    pub namespace: &'static str,
    pub pod: &'static str,
}

impl Pod {
    const fn new(namespace: &'static str, pod: &'static str) -> Self {
        Self { namespace, pod }
    }
}

/// A cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    pub from: Pod,
    pub to: Pod,
    pub port: u16,
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to, port } = self;
        write!(
            f,
            "{}/{} -> {}/{}:{port}",
            from.namespace, from.pod, to.namespace, to.pod
        )
    }
}

/// Where the pods are.
pub struct Table {
    addresses: BTreeMap<Pod, String>,
}

impl Table {
    pub fn new(cluster: &Cluster) -> Result<Self> {
        let address = |pod: Pod| {
            let what = format!("pod {}", pod.pod);
            let address = shell(cluster, pod.namespace)?.path(&what, "{.status.podIP}")?;
            Ok((pod, address))
        };
        let addresses = PODS.into_iter().map(address).collect::<Result<_>>()?;
        Ok(Self { addresses })
    }

    pub fn address(&self, namespace: &'static str, pod: &'static str) -> &str {
        self.addresses
            .get(&Pod::new(namespace, pod))
            .map_or("", String::as_str)
    }

    /// Waits until exactly those calls succeed that are `allowed`, and those of pods to themselves.
    pub fn holds(&self, cluster: &Cluster, allowed: impl Fn(&Call) -> bool) -> Result<()> {
        let wanted: BTreeSet<Call> = calls()
            .filter(|call| call.from == call.to || allowed(call))
            .collect();
        eventually(SOON, "the table of who reaches whom", || {
            let found = self.look(cluster)?;
            let shown = |calls: BTreeSet<&Call>| {
                let lines: Vec<String> = calls.iter().map(ToString::to_string).collect();
                lines.join(", ")
            };
            ensure!(
                found == wanted,
                "reached but denied: [{}]; allowed but not reached: [{}]",
                shown(found.difference(&wanted).collect()),
                shown(wanted.difference(&found).collect()),
            );
            Ok(())
        })
    }

    fn look(&self, cluster: &Cluster) -> Result<BTreeSet<Call>> {
        let looks = std::thread::scope(|scope| {
            let looks = PODS.map(|from| scope.spawn(move || self.look_from(cluster, from)));
            looks.map(|look| match look.join() {
                Ok(calls) => calls,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        });
        let mut all = BTreeSet::new();
        for look in looks {
            all.extend(look?);
        }
        Ok(all)
    }

    fn look_from(&self, cluster: &Cluster, from: Pod) -> Result<Vec<Call>> {
        let own: Vec<Call> = calls().filter(|call| call.from == from).collect();
        let mut script = String::new();
        for (number, call) in own.iter().enumerate() {
            let address = self.addresses.get(&call.to).context("an address")?;
            let url = format!("http://{address}:{}/", call.port);
            script += &format!(
                "(timeout 1 wget -q -O /dev/null {url} 2>/dev/null && echo ={number}=) & "
            );
        }
        script += "wait";
        let shell = shell(cluster, from.namespace)?;
        let told = shell.words(&["exec", from.pod, "--", "sh", "-c", &script])?;
        let reached = |number: &usize| told.contains(&format!("={number}="));
        Ok((0..own.len()).filter(reached).map(|n| own[n]).collect())
    }
}

fn calls() -> impl Iterator<Item = Call> {
    PODS.into_iter().flat_map(|from| {
        PODS.into_iter()
            .flat_map(move |to| PORTS.map(|port| Call { from, to, port }))
    })
}
